"""The least rules that let everything happen again that was allowed, out of recorded calls.

A permit names one agent, the operations it used at one service, the environment, and the scopes that its
tasks had every time: what is not seen is not permitted. What the present permit demands of the call stays
demanded, what a person had to approve is permitted only with an approval again, and what a call was obliged
to stays obliged. Forbids are left as they are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from proxy.policy.catalogue import Catalogue, Service
from proxy.policy.decision import Site
from proxy.policy.expression import quoted, reference
from proxy.policy.import_openapi import UNNAMED
from proxy.policy.needs import NOTHING
from proxy.policy.path_shape import unique
from proxy.policy.rebuilt_act import Lacking, operations
from proxy.policy.recorded import Object, RecordedCall, RecordedLink, Said
from proxy.policy.service_file import parse_service
from proxy.policy.service_text import one_line
from proxy.policy.statement import Policy, parse_policies
from proxy.policy.suggest_agents import with_agents
from proxy.policy.suggest_conditions import Clauses, beyond, clauses, demands_approval
from proxy.policy.suggest_services import PastOf, extend, origin_of

FILE = "policies/suggested.cedar"
PREFIX = "suggested"
_SUGGESTED = FILE.removesuffix(".cedar")
_HEAD = """\
// Suggested from the log: what was allowed and used, and nothing else. Review it as you would a change of
// your own; `gatepass policy replay --rules DIR` shows what it changes.
"""
Seen = tuple[RecordedCall, Said]
_LISTS = ("drop_headers", "redact_headers", "drop_fields", "redact_fields")


class _Key(NamedTuple):
    """What the uses of one permit have in common."""

    agent: str
    service: str
    environment: str
    approved: bool
    obligations: tuple[tuple[str, str], ...]
    demanded: Clauses


@dataclass(slots=True)
class _Use:
    """One operation as one agent used it. ``scopes`` are those that the task had every time."""

    count: int
    scopes: frozenset[str]
    owner: str
    example: str


@dataclass(frozen=True, slots=True)
class Permit:
    """One permit as it is suggested. ``actions`` are the operations, each with its calls."""

    id: str
    agent: str
    service: str
    actions: tuple[tuple[str, int], ...]
    scopes: tuple[str, ...]
    environment: str
    approved: bool
    text: str

    @property
    def calls(self) -> int:
        """How many uses it stands for."""
        return sum(count for _, count in self.actions)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A whole set of files. ``added`` are new operations with their calls; ``left_out`` found no place.

    ``seen`` is one use of each operation by each agent.
    """

    files: Mapping[str, bytes]
    permits: tuple[Permit, ...]
    added: Mapping[str, int]
    left_out: tuple[str, ...]
    seen: Mapping[tuple[str, str], Seen]


def suggest(
    calls: Iterable[RecordedCall], past: PastOf, files: Mapping[str, bytes], *, replace: bool
) -> Suggestion:
    """Rules that allow these calls again. ``files`` are the present ones; ``replace``: their permits go."""
    allowed = [call for call in calls if call.effect == "allow"]
    extended = extend(allowed, past, files)
    extended = extended._replace(files=with_agents(extended.files, allowed))
    kept = _without_permits(extended.files) if replace else dict(extended.files)
    catalogue = _catalogue(extended.files)
    permitted = {policy.id: policy for _, policy in _policies(files) if policy.effect == "permit"}
    seen: dict[tuple[str, str], Seen] = {}
    uses, left_out = _uses(allowed, past, catalogue, permitted, seen)
    taken = {policy.id for _, policy in _policies(kept)}
    permits = list(_permits(uses, taken))
    if permits:
        name = FILE
        while name in kept:
            name = name.replace(".cedar", "_more.cedar")
        text = _HEAD + "".join(f"\n{permit.text}" for permit in permits)
        kept[name] = text.encode("utf-8")
    return Suggestion(kept, tuple(permits), extended.added, left_out, seen)


# -- what was used --


def _catalogue(files: Mapping[str, bytes]) -> Catalogue:
    read = (parse_service(data, name) for name, data in files.items() if name.startswith("services/"))
    return Catalogue(service for service in read if isinstance(service, Service))


def _uses(
    calls: Iterable[RecordedCall],
    past: PastOf,
    catalogue: Catalogue,
    permitted: Mapping[str, Policy],
    seen: dict[tuple[str, str], Seen],
) -> tuple[dict[_Key, dict[str, _Use]], tuple[str, ...]]:
    uses: dict[_Key, dict[str, _Use]] = {}
    left_out: dict[str, int] = {}
    for call in calls:
        for link in call.links:
            found = _operations(call, link, past, catalogue)
            if isinstance(found, Lacking):
                words = f"{call.method} {call.url}: the record does not hold {found.what}"
                left_out[words] = left_out.get(words, 0) + 1
                continue
            for said, (service, action) in zip(link.rulings, found, strict=True):
                key = _key(call, said, service, permitted)
                _use(uses.setdefault(key, {}), action, call, said)
                seen.setdefault((said.agent, action), (call, said))
    return uses, tuple(f"{words} ({count} times)" for words, count in left_out.items())


def _operations(
    call: RecordedCall, link: RecordedLink, past: PastOf, catalogue: Catalogue
) -> list[tuple[str, str]] | Lacking:
    """The service and the operation of each act, by the catalogue that is suggested."""
    origin = origin_of(call)
    if origin is None:
        return Lacking("where it went")
    known, service = past(call).catalogue, catalogue.find(origin)
    before = None if known is None else known.find(origin)
    found = operations(call, link.rulings, call.path, before, Site(service, NOTHING))
    if isinstance(found, Lacking):
        return found
    return [("" if service is None else service.name, operation.id) for operation in found]


def _key(call: RecordedCall, said: Said, service: str, permitted: Mapping[str, Policy]) -> _Key:
    environment = str(said.entity("Task").get("environment") or "")
    duties = _obligations(call.obligations)
    key = _Key(said.agent, service or call.host, environment, call.approved, duties, ())
    implied = [_resource(key.service, host=not service), *_conditions(key._replace(approved=False), ())]
    demanded = beyond(clauses(said.rules, permitted), _scopes(said), implied)
    approved = call.approved and not demands_approval(demanded)
    return key._replace(approved=approved, demanded=demanded)


def _scopes(said: Said) -> frozenset[str]:
    scopes = said.entity("Task").get("scopes")
    return frozenset(map(str, scopes)) if isinstance(scopes, list) else frozenset()


def _resource(service: str, *, host: bool) -> str:
    return f"resource in {reference('Host' if host else 'Service', service)}"


def _obligations(duties: Object) -> tuple[tuple[str, str], ...]:
    """The annotations that oblige to what the call was obliged to."""
    found = [
        (name, ", ".join(map(str, listed)))
        for name in _LISTS
        if isinstance(listed := duties.get(name), list) and listed
    ]
    if isinstance(size := duties.get("max_response"), int):
        found.append(("max_response", str(size)))
    if duties.get("interception") is True:
        found.append(("require", "interception"))
    return tuple(found)


def _use(here: dict[str, _Use], action: str, call: RecordedCall, said: Said) -> None:
    have, use = _scopes(said), here.get(action)
    if use is None:
        owner = one_line(str(said.entity("Agent").get("business_owner") or "")) or UNNAMED
        here[action] = _Use(1, have, owner, call.id)
        return
    use.count += 1
    use.scopes &= have


# -- permits --


def _permits(uses: Mapping[_Key, Mapping[str, _Use]], taken: set[str]) -> Iterator[Permit]:
    """One permit for those operations of a key whose tasks had the same scopes."""
    for key, actions in sorted(uses.items()):
        groups: dict[frozenset[str], dict[str, _Use]] = {}
        for action, use in sorted(actions.items()):
            groups.setdefault(use.scopes, {})[action] = use
        for scopes, group in sorted(groups.items(), key=lambda item: sorted(item[0])):
            name = unique(f"{PREFIX}.{_slug(key.agent)}.{_slug(key.service)}", taken)
            taken.add(name)
            yield _permit(name, key, tuple(sorted(scopes)), group)


def _slug(text: str) -> str:
    return "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in text)[
        -50:
    ]


def _permit(name: str, key: _Key, scopes: Sequence[str], group: Mapping[str, _Use]) -> Permit:
    some = next(iter(group.values()))
    host = next(iter(group)).startswith("http.")
    lines = [f"// {_calls(sum(use.count for use in group.values()))}, for example record {some.example}"]
    notes = [("id", name), ("owner", some.owner), *key.obligations]
    lines += [f"@{note}({quoted(text)})" for note, text in notes]
    lines += ["permit (", f"  principal == {reference('Agent', key.agent)},", "  action in ["]
    lines += [f"    {reference('Action', action)}, // {_calls(use.count)}" for action, use in group.items()]
    lines[-1] = lines[-1].replace(", //", "  //", 1)
    lines += ["  ],", f"  {_resource(key.service, host=host)}", ")"]
    lines += [f"when {{ {' && '.join(_conditions(key, scopes))} }}", *key.demanded]
    lines[-1] += ";"
    actions = tuple((action, use.count) for action, use in group.items())
    text = "\n".join(lines) + "\n"
    return Permit(name, key.agent, key.service, actions, tuple(scopes), key.environment, key.approved, text)


def _conditions(key: _Key, scopes: Sequence[str]) -> Iterator[str]:
    yield f"context.task.environment == {quoted(key.environment)}"
    if len(scopes) == 1:
        yield f"context.task.scopes.contains({quoted(scopes[0])})"
    elif scopes:
        yield f"context.task.scopes.containsAll([{', '.join(map(quoted, scopes))}])"
    if key.approved:
        yield "context.approved"


def _calls(count: int) -> str:
    return f"{count} {'call' if count == 1 else 'calls'}"


# -- the present rules --


def _policies(files: Mapping[str, bytes]) -> Iterator[tuple[str, Policy]]:
    for name, data in files.items():
        if name.startswith("policies/"):
            for policy in parse_policies(data, name):
                if isinstance(policy, Policy):
                    yield name, policy


def _without_permits(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files without their permits, and without the comment that stands directly above one."""
    kept = dict(files)
    for name, policy in _policies(files):
        if policy.effect == "permit":
            kept[name] = _cut(kept[name].decode("utf-8"), policy.text).encode("utf-8")
    return {name: data for name, data in kept.items() if not _empty(name, data)}


def _empty(name: str, data: bytes) -> bool:
    """Whether nothing is left of a file of policies; in one suggested before, comments are nothing."""
    if name.startswith(_SUGGESTED):
        return not parse_policies(data, name)
    return name.startswith("policies/") and not data.strip()


def _cut(text: str, statement: str) -> str:
    before, _, after = text.partition(statement)
    *lines, last = before.split("\n")
    if not last.strip():  # it begins its line
        while lines and lines[-1].lstrip().startswith("//"):
            lines.pop()
    return ("\n".join([*lines, last.rstrip()]) + after.removeprefix("\n")).lstrip("\n")
