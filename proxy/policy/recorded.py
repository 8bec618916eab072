"""A decision record, read as what was asked and what was said, for whoever decides it again.

Plain JSON values in. A record tells of the caller and of everybody it acts for (links), and of each link what
was ruled on every act of the call. What a record does not hold is None here and stays unknown.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from proxy.policy.document import canonical

Json: TypeAlias = object
Object: TypeAlias = Mapping[str, Json]

NO_ENGINE = "observe"
_WAITING = frozenset({"approval_required", "approval_denied", "approvals_full"})
_DIGEST = {"len", "sha256"}
OF_RULES = frozenset({"default_deny", "policy_deny", "policy_error", "rate_limited", "service_not_granted"})
"""The codes with which rules and grants refuse; with any other the call is refused whatever rules say."""


class Said(NamedTuple):
    """One ruling. ``input`` is the document that was evaluated; ``effect`` is allow, deny or hold."""

    agent: str
    task: str
    action: str
    effect: str
    rules: tuple[str, ...]
    errors: tuple[str, ...]
    input: Object
    input_sha256: str

    @property
    def context(self) -> Object:
        """What was known of the request."""
        return obj(self.input.get("context"))

    def entity(self, kind: str) -> Object:
        """The attributes of the one entity of this type; empty if there is none."""
        entities = self.input.get("entities")
        for entity in map(obj, entities if isinstance(entities, list) else []):
            if obj(entity.get("uid")).get("type") == kind:
                return obj(entity.get("attrs"))
        return {}

    @property
    def document(self) -> bytes:
        """The canonical bytes of the input."""
        return canonical(self.input)


@dataclass(frozen=True, slots=True)
class RecordedLink:
    """One who answers for the call; its rulings, one for each act."""

    agent: str
    rulings: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call on which rules were asked. ``links``: from the root of the delegation to the caller, the last.

    ``effect`` is allow, deny or hold. ``approved``: a person had let it through. ``seconds`` is when it was
    recorded. ``has_body`` and ``upgrade`` are None in records that do not say. ``services`` None: all.
    ``chain`` are the agents and tasks that answer for the call, empty if that is not told; ``agent`` and
    ``scopes`` are those of the caller, as they were told beside the rulings.
    """

    id: str
    seconds: int
    engine: str
    ruleset_sha256: str
    effect: str
    code: str
    method: str
    scheme: str
    host: str
    port: int
    path: str
    query: bool
    query_keys: tuple[str, ...]
    has_body: bool | None
    content_type: str
    upgrade: str | None
    services: frozenset[str] | None
    approved: bool
    chain: tuple[tuple[str, str], ...]
    agent: Object
    scopes: frozenset[str] | None
    task: Object
    links: tuple[RecordedLink, ...]
    facts: Object
    obligations: Object

    @property
    def caller(self) -> RecordedLink:
        """Whoever made the call."""
        return self.links[-1]

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that decided, each once: the permits of an allow, what refuses, or what would permit."""
        if self.effect == "allow":
            return _distinct(self.caller.rulings)
        if self.code == "service_not_granted":
            return ()
        for link in (self.caller, *self.links[:-1]):
            denied = next((said for said in link.rulings if said.effect == "deny"), None)
            if denied is not None:
                return denied.rules
        holds = (
            [said for said in link.rulings if said.effect == "hold"] for link in (self.caller, *self.links)
        )
        return _distinct(next((found for found in holds if found), ()))

    @property
    def actions(self) -> tuple[str, ...]:
        """What the caller's call was classified as, each once."""
        return tuple(dict.fromkeys(said.action for said in self.caller.rulings))

    @property
    def observed(self) -> bool:
        """There were no rules."""
        return self.engine == NO_ENGINE

    @property
    def url(self) -> str:
        """Where it went, without query."""
        usual = {"http": 80, "https": 443}.get(self.scheme)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{'' if self.port == usual else f':{self.port}'}{self.path}"


def obj(value: Json) -> Object:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def shortened(value: Json) -> bool:
    """Whether something in here was too long for a record and is a digest there (``audit.shrink``)."""
    if isinstance(value, dict):
        return value.keys() == _DIGEST or any(map(shortened, value.values()))
    return isinstance(value, list) and any(map(shortened, value))


def read_call(record: Object) -> RecordedCall | None:
    """What rules were asked and said; None if the record is no decision on which any were asked.

    Parts that are missing or of another type (a value that was too long is a digest) are empty; a ruling
    without its input is one with an empty input.
    """
    who, what, why = (obj(record.get(name)) for name in ("who", "what", "why"))
    if record.get("type") != "decision" or "engine" not in why:
        return None
    links = _links(who, why)
    right = obj(who.get("right"))
    services = right.get("services")
    query_keys = what.get("query_keys")
    return RecordedCall(
        id=_text(record, "id"),
        seconds=_seconds(obj(record.get("ts"))),
        engine=_text(why, "engine"),
        ruleset_sha256=_text(why, "ruleset_sha256"),
        effect=_effect(why),
        code=_text(why, "code"),
        method=_text(what, "method"),
        scheme=_text(what, "scheme"),
        host=_text(what, "host"),
        port=port if isinstance(port := what.get("port"), int) else 0,
        path=_text(what, "path"),
        query=what.get("query_sha256") is not None,
        query_keys=tuple(map(str, query_keys)) if isinstance(query_keys, list) else (),
        has_body=has_body if isinstance(has_body := what.get("has_body"), bool) else None,
        content_type=_text(what, "content_type"),
        upgrade=_text(what, "upgrade") if "has_body" in what else None,
        services=frozenset(map(str, services)) if isinstance(services, list) else None,
        approved=bool(obj(why.get("approval"))),
        chain=tuple((_text(link, "agent"), _text(link, "task")) for link in _objects(who, "chain")),
        agent=obj(who.get("agent")),
        scopes=frozenset(map(str, scopes)) if isinstance(scopes := right.get("scopes"), list) else None,
        task=obj(who.get("task")),
        links=links,
        facts=obj(why.get("facts")),
        obligations=obj(why.get("obligations")),
    )


def _seconds(stamp: Object) -> int:
    wall = _text(stamp, "wall_ns")
    return int(wall) // 1_000_000_000 if wall.isascii() and wall.isdigit() else 0


def _text(holder: Object, name: str) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else ""


def _effect(why: Object) -> str:
    if why.get("effect") == "allow":
        return "allow"
    return "hold" if _text(why, "code") in _WAITING else "deny"


def _links(who: Object, why: Object) -> tuple[RecordedLink, ...]:
    """Those above in the order of the chain, then the caller."""
    agent, task = _text(obj(who.get("agent")), "id"), _text(obj(who.get("task")), "id")
    above: dict[tuple[str, str], list[Said]] = {}
    for entry in _objects(why, "above"):
        said = _said(entry, _text(entry, "agent"), _text(entry, "task"))
        above.setdefault((said.agent, said.task), []).append(said)
    own = [
        _said(why, agent, task)._replace(effect=_of_caller(why)),
        *(_said(entry, agent, task) for entry in _objects(why, "batch")),
    ]
    return (
        *(RecordedLink(name, tuple(rulings)) for (name, _), rulings in above.items()),
        RecordedLink(agent, tuple(own)),
    )


def _of_caller(why: Object) -> str:
    """The effect of the caller's first ruling; the record's own is that of everything together."""
    if why.get("effect") == "allow" or why.get("held") is True:
        return "hold" if why.get("held") is True else "allow"
    rules = _texts(why, "rules")
    return "deny" if not rules or _text(why, "rule") in rules else "allow"


def _distinct(rulings: Iterable[Said]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rule for said in rulings for rule in said.rules))


def _objects(holder: Object, name: str) -> Iterator[Object]:
    value = holder.get(name)
    return map(obj, value if isinstance(value, list) else [])


def _said(entry: Object, agent: str, task: str) -> Said:
    return Said(
        agent=agent,
        task=task,
        action=_text(entry, "action") or _text(obj(obj(entry.get("input")).get("action")), "id"),
        effect=_text(entry, "effect"),
        rules=_texts(entry, "rules"),
        errors=_texts(entry, "errors"),
        input=obj(entry.get("input")),
        input_sha256=_text(entry, "input_sha256"),
    )


def _texts(holder: Object, name: str) -> tuple[str, ...]:
    value = holder.get(name)
    return tuple(map(str, value)) if isinstance(value, list) else ()
