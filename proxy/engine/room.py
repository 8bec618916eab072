"""How much content is held at once: what rules read is whole in memory, for as long as its call runs.

One agent has room of its own, so that whoever sends much at once, or little by little on many connections,
takes it from nobody else, and never all there is.
"""

HELD = 64 * 1_048_576
"""Octets of content of one agent, unless one call may have more than half of that."""


class Room:
    """See the module. ``octets`` is for each agent."""

    def __init__(self, octets: int = HELD) -> None:
        self._octets = octets
        self._held: dict[str, int] = {}

    def held(self, agent: str) -> int:
        """How many octets of this agent are held."""
        return self._held.get(agent, 0)

    def take(self, agent: str, octets: int) -> bool:
        """Whether so much more may be held; then it is."""
        held = self.held(agent) + octets
        if held > self._octets:
            return False
        self._held[agent] = held
        return True

    def give_back(self, agent: str, octets: int) -> None:
        """Undo ``take``."""
        left = self.held(agent) - octets
        if left > 0:
            self._held[agent] = left
        else:
            self._held.pop(agent, None)
