"""What is allowed to stand in rules but is hardly meant: warnings, never a reason not to load them.

(1) a policy that can never match, because its action is none of its resource's, or by a condition that is
never true; (2) a permit that an unconditional forbid covers; (3) a policy that stands there twice;
(4) ``like`` on the name of a host; (5) a permit for which nobody answers; (6) a service that nobody may use.
Nothing here proves that a rule has an effect.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from proxy.policy import builtin
from proxy.policy.catalogue import Catalogue
from proxy.policy.cedar import RuleSet
from proxy.policy.document import canonical
from proxy.policy.scope import Homes, Scope, names_of, operations_of, scope
from proxy.policy.statement import Policy, Reference
from proxy.problems import Problem

_HOST = {".": {"left": {"Var": "resource"}, "attr": "host"}}


@dataclass(frozen=True, slots=True)
class _Reach:
    """Which actions a policy can speak of, each with the name of its service ("" for none)."""

    scope: Scope
    actions: Mapping[str, str]


class _Reaches:
    """Works out how far policies reach, by the catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._homes = Homes(catalogue)
        self._actions = [
            (operation.id, "" if service is None else service.name, names_of([operation], service))
            for service in (None, *catalogue.services)
            for operation in operations_of(service)
        ]

    def of(self, policy: Policy) -> _Reach:
        head = scope(policy)
        services = self._homes.services(head.resource)
        elsewhere = head.resource is None or self._homes.host(head.resource) is not None
        found = {
            action: service
            for action, service, names in self._actions
            if (head.actions is None or not head.actions.isdisjoint(names))
            and (elsewhere if not service else services is None or service in services)
        }
        return _Reach(head, found)


def lint(rules: RuleSet) -> list[Problem]:
    """Everything in a rule set that is probably a mistake, by file and line."""
    policies = [policy for policy in rules.policies if policy.file != builtin.FILE]
    reaches = _Reaches(rules.catalogue)
    known = {policy.id: reaches.of(policy) for policy in policies}
    found = [*_each(policies, known), *_covered(policies, known), *_twice(policies)]
    found += _unused(rules, policies, known)
    return sorted(found, key=lambda problem: (problem.file, problem.line or 0, problem.message))


def _warning(policy: Policy, words: str) -> Problem:
    return Problem(policy.file, policy.line, f"{policy.id}: {words}")


def _each(policies: list[Policy], known: Mapping[str, _Reach]) -> Iterator[Problem]:
    """(1), (4), (5): what one policy alone shows."""
    for policy in policies:
        if not known[policy.id].actions:
            yield _warning(policy, "can never match: nothing that it names is done at the resource it names")
        if _never(policy):
            yield _warning(policy, "can never match: a condition is never true")
        if _likes_host(policy.json):
            words = 'host names are compared by "like"; resource in Host::"*.example.com" cannot be fooled'
            yield _warning(policy, words)
        if policy.effect == "permit" and not policy.notes.owner:
            yield _warning(policy, 'nobody answers for this permit: add @owner("team@example.com")')


def _never(policy: Policy) -> bool:
    """Whether a condition can be seen to be never true."""
    conditions = policy.json.get("conditions")
    assert isinstance(conditions, list), "Cedar writes it so"
    return any(_constant(part["body"]) is (part["kind"] == "unless") for part in conditions)


def _constant(node: object) -> bool | None:
    """What an expression is whatever the request is, as far as its operators alone tell; None: it depends."""
    if not isinstance(node, dict) or len(node) != 1:
        return None
    operator, operands = next(iter(node.items()))
    if operator == "Value":
        return operands if isinstance(operands, bool) else None
    if operator == "!":
        inner = _constant(operands["arg"])
        return None if inner is None else not inner
    if operator not in ("&&", "||"):
        return None
    sides = {_constant(operands["left"]), _constant(operands["right"])}
    decisive: bool = operator == "||"
    if decisive in sides:
        return decisive
    return None if None in sides else not decisive


def _likes_host(node: object) -> bool:
    if isinstance(node, dict):
        like = node.get("like")
        if isinstance(like, dict) and like.get("left") == _HOST:
            return True
        return any(map(_likes_host, node.values()))
    return isinstance(node, list) and any(map(_likes_host, node))


def _covered(policies: list[Policy], known: Mapping[str, _Reach]) -> Iterator[Problem]:
    """(2): permits of which nothing is left."""
    forbids = [policy for policy in policies if policy.effect == "forbid" and not policy.json["conditions"]]
    for permit in policies:
        if permit.effect != "permit" or not known[permit.id].actions:
            continue
        over = next((forbid for forbid in forbids if _covers(forbid, permit, known)), None)
        if over is not None:
            yield _warning(permit, f"permits nothing: {over.id} ({over.file}:{over.line}) forbids all of it")


def _covers(wide: Policy, narrow: Policy, known: Mapping[str, _Reach]) -> bool:
    """Whether whatever the head of ``narrow`` matches, that of ``wide`` matches too."""
    principal = wide.json["principal"]
    if principal not in ({"op": "All"}, {"op": "is", "entity_type": "Agent"}, narrow.json["principal"]):
        return False
    outer, inner = known[wide.id], known[narrow.id]
    return all(
        action in outer.actions and _holds(outer.scope.resource, inner.scope.resource, service)
        for action, service in inner.actions.items()
    )


def _holds(wide: Reference | None, narrow: Reference | None, service: str) -> bool:
    return wide is None or wide == narrow or wide == Reference("Service", service)


def _twice(policies: list[Policy]) -> Iterator[Problem]:
    """(3): policies that differ in nothing but their words."""
    seen: dict[tuple[object, ...], Policy] = {}
    for policy in policies:
        body = {key: value for key, value in policy.json.items() if key != "annotations"}
        first = seen.setdefault((canonical(body), policy.obligations), policy)
        if first is not policy:
            yield _warning(policy, f"says the same as {first.id} ({first.file}:{first.line})")


def _unused(rules: RuleSet, policies: list[Policy], known: Mapping[str, _Reach]) -> Iterator[Problem]:
    """(6): services at which no permit could match."""
    permitted = {
        service
        for policy in policies
        if policy.effect == "permit"
        for service in known[policy.id].actions.values()
    }
    for service in rules.catalogue.services:
        if service.name not in permitted:
            words = f"no policy permits anything at the service {service.name}"
            yield Problem(rules.homes[service.name], None, words)
