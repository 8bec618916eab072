"""What of ``context`` a policy can read, told from its JSON form (Cedar's EST); conservatively.

An access is a chain of attributes from ``context``; a test for an attribute (``has``) is one too. Where a
part of the context is used as a whole value, all of it counts as read.
"""

from collections.abc import Iterable, Iterator

from proxy.policy.needs import FACTS, REQUEST, Needs
from proxy.policy.statement import Policy

Path = tuple[str, ...]

_ACCESS = (".", "has")
_CONTEXT = {"Var": "context"}


def reads(policy: Policy) -> frozenset[Path]:
    """The paths below ``context`` that the policy's conditions name; ``()`` is all of it."""
    return frozenset(_paths(policy.json.get("conditions")))


def _paths(node: object) -> Iterator[Path]:
    path = _chain(node)
    if path is not None:
        yield path
    elif isinstance(node, dict):
        for child in node.values():
            yield from _paths(child)
    elif isinstance(node, list):
        for child in node:
            yield from _paths(child)


def _chain(node: object) -> Path | None:
    """The attributes of an access that begins at ``context``, outermost first."""
    if node == _CONTEXT:
        return ()
    if not isinstance(node, dict) or len(node) != 1:
        return None
    operator, operands = next(iter(node.items()))
    if operator not in _ACCESS or not isinstance(operands, dict) or operands.keys() != {"left", "attr"}:
        return None
    left = _chain(operands["left"])
    return None if left is None else (*left, str(operands["attr"]))


def needs(policies: Iterable[Policy]) -> Needs:
    """What has to be known of a call to decide on it by these policies."""
    chosen = tuple(policies)
    paths = frozenset[Path]().union(*map(reads, chosen))
    return Needs(
        request=_members(paths, "request", REQUEST),
        facts=_members(paths, "facts", FACTS),
        approval=() in paths or ("approved",) in paths,
        content=any(policy.obligations.content for policy in chosen),
    )


def _members(paths: frozenset[Path], part: str, every: frozenset[str]) -> frozenset[str]:
    if () in paths or (part,) in paths:
        return every
    return every & {path[1] for path in paths if len(path) > 1 and path[0] == part}
