"""What a policy demands, part by part, and which of its parts hold of one input.

A policy is cut into the constraints of its head and the members of its conditions: what stands between the
``&&`` of a ``when``, and between the ``||`` of an ``unless``. Each part is a policy of its own, and all are
evaluated together by the engine that decides, so nothing here has a semantics of its own.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import cedarpy
import orjson

from proxy.policy.document import canonical
from proxy.policy.expression import printed, reference
from proxy.policy.statement import Json, Policy

_HEAD = ("principal", "action", "resource")
_ANY: Json = {"op": "All"}
_SEPARATOR = "#"  # in no @id
_NAMED = re.compile(r"policy `([^`]*)`")


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a policy demands. ``where`` is principal, action, resource, when or unless.

    ``text`` is Cedar, as it holds: that of an ``unless`` is what must not be so.
    """

    where: str
    text: str
    json: Json

    @property
    def words(self) -> str:
        """The part in Cedar's words."""
        if self.where in ("when", "unless"):
            return f"{self.where} {{ {self.text} }}"
        return self.text


@dataclass(frozen=True, slots=True)
class Held:
    """A policy and how it fared: the parts that do not hold, and those that could not be evaluated.

    What follows a part that fails is often of no meaning (``has`` guards it), so an error behind a failure
    is not counted.
    """

    policy: Policy
    fails: tuple[Part, ...]
    errors: tuple[Part, ...]

    @property
    def spoke(self) -> bool:
        """Whether all parts hold."""
        return not self.fails and not self.errors


def parts(policy: Policy) -> tuple[Part, ...]:
    """Everything that a policy demands, in the order of its text; nothing if it demands nothing."""
    return tuple(_parts(policy.json))


def _parts(policy: Json) -> Iterator[Part]:
    for where in _HEAD:
        constraint = policy.get(where)
        if isinstance(constraint, dict) and constraint.get("op") != "All":
            yield Part(where, _constraint(where, constraint), _permit({where: constraint}))
    conditions = policy.get("conditions")
    for condition in conditions if isinstance(conditions, list) else []:
        kind = condition["kind"]
        for member in _members(condition["body"], "&&" if kind == "when" else "||"):
            single = {"conditions": [{"kind": kind, "body": member}]}
            yield Part(kind, printed(member), _permit(single))


def _permit(part: Mapping[str, object]) -> Json:
    return {"effect": "permit", **dict.fromkeys(_HEAD, _ANY), "conditions": [], **part}


def _members(body: object, operator: str) -> Iterator[object]:
    """The members of a chain of one operator, in order."""
    sides = body.get(operator) if isinstance(body, dict) and len(body) == 1 else None
    if isinstance(sides, dict):
        yield from _members(sides["left"], operator)
        yield from _members(sides["right"], operator)
    else:
        yield body


def _constraint(where: str, constraint: Mapping[str, object]) -> str:
    """A constraint of the head, as it stands there."""
    operator = constraint.get("op")
    if operator == "is":
        within = constraint.get("in")
        inside = f" in {_entity(within.get('entity'))}" if isinstance(within, dict) else ""
        return f"{where} is {constraint.get('entity_type')}{inside}"
    listed = constraint.get("entities")
    if isinstance(listed, list):
        return f"{where} {operator} [{', '.join(map(_entity, listed))}]"
    return f"{where} {operator} {_entity(constraint.get('entity'))}"


def _entity(node: object) -> str:
    found = node if isinstance(node, dict) else {}
    return reference(found.get("type"), found.get("id"))


def hold(policies: Iterable[Policy], document: bytes, schema: cedarpy.Schema) -> list[Held]:
    """How each of these policies fared with an input, as a ``Ruling`` holds it.

    :raises ValueError: if the input is not one.
    """
    chosen = [(policy, parts(policy)) for policy in policies]
    named = {
        f"{policy.id}{_SEPARATOR}{number}": part.json
        for policy, every in chosen
        for number, part in enumerate(every)
    }
    if not named:
        return [Held(policy, (), ()) for policy, _ in chosen]
    text = canonical({"staticPolicies": named, "templates": {}, "templateLinks": []}).decode("utf-8")
    answer = _ask(document, cedarpy.PolicySet.from_json_str(text), schema)
    held = set(answer.diagnostics.reasons)
    failed = _failed(answer.diagnostics.errors)
    return [_held(policy, every, held, failed) for policy, every in chosen]


def _ask(document: bytes, policies: cedarpy.PolicySet, schema: cedarpy.Schema) -> cedarpy.AuthzResult:
    whole = orjson.loads(document)
    if not isinstance(whole, dict):
        raise ValueError("not the input of a decision")  # noqa: TRY004 - the value is wrong, not its use
    entities = cedarpy.Entities.from_json_str(canonical(whole["entities"]).decode("utf-8"), schema)
    request = {name: whole[name] for name in ("principal", "action", "resource")}
    request["context"] = canonical(whole["context"]).decode("utf-8")
    return cedarpy.is_authorized(request, policies, entities, schema)


def _failed(errors: Iterable[str]) -> set[str]:
    """The ids of the parts that Cedar could not evaluate."""
    found = (_NAMED.search(error) for error in errors)
    return {match[1] for match in found if match is not None}


def _held(policy: Policy, every: tuple[Part, ...], held: set[str], failed: set[str]) -> Held:
    names = [f"{policy.id}{_SEPARATOR}{number}" for number in range(len(every))]
    fails = [number for number, name in enumerate(names) if name not in held and name not in failed]
    first = min(fails, default=len(every))
    return Held(
        policy,
        tuple(every[number] for number in fails),
        tuple(part for number, part in enumerate(every) if names[number] in failed and number < first),
    )
