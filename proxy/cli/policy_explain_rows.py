"""Which of the policies that were looked at are worth a row: who spoke, and the permits that nearly did."""

from collections.abc import Collection

from proxy.policy.conditions import Held
from proxy.policy.explain import Looked

COLUMNS = ("policy", "effect", "at", "spoke", "what does not hold")
_MOST = 160


def chosen(looked: Looked, *, allowed: bool) -> list[Held]:
    """Who spoke; unless it is allowed, also the permits that lack one thing, or as little as any does."""
    permits = [held for held in looked.held if held.policy.effect == "permit" and not held.spoke]
    near = max(min(map(_lacking, permits), default=0), 1)
    close = [] if allowed else [held for held in permits if _lacking(held) <= near]
    return ordered([*(held for held in looked.held if held.spoke), *close])


def ordered(every: Collection[Held]) -> list[Held]:
    """Who spoke, then who lacked least."""
    return sorted(every, key=lambda held: (not held.spoke, _lacking(held), held.policy.id))


def row(held: Held, files: Collection[str], *, whole: bool) -> tuple[str, str, str, str, str]:
    """One policy. ``files`` are those of the rules; unless ``whole``, long parts are cut."""
    policy = held.policy
    lacks = [part.words for part in held.fails]
    lacks += [f"cannot be evaluated: {part.words}" for part in held.errors]
    place = f"{policy.file}:{policy.line}" if policy.file in files else "gatepass itself"
    words = "; ".join(lacks if whole else map(_short, lacks))
    return policy.id, policy.effect, place, "spoke" if held.spoke else "", words


def _lacking(held: Held) -> int:
    return len(held.fails) + len(held.errors)


def _short(words: str) -> str:
    return words if len(words) <= _MOST else f"{words[:_MOST].rstrip()} ..."
