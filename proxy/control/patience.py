"""Wrong tokens are answered slowly, to whoever keeps sending them; nobody else waits.

``identity.burst`` says how long. Whoever sends the right token is never slowed, not even from the same
address: on loopback, agents and operators share one, and an agent must not be able to keep an operator
from revoking it. Hence nothing is refused because of its source, and there is room for a few to wait: the
next is answered at once.
"""

import asyncio
from collections.abc import Callable

from proxy.identity.burst import FIRST_DELAY_S, Burst, Bursts

MAX_WAITING = 64


class Patience:
    """Slows those who send wrong tokens. ``alarm`` hears of each burst as it begins, and its count."""

    def __init__(self, alarm: Callable[[str], None]) -> None:
        self._bursts = Bursts()
        self._waiting = 0
        self._alarm = alarm

    async def wrong(self, peer: str) -> None:
        """``peer`` has sent a wrong token: return when it may hear so."""
        now = asyncio.get_running_loop().time()
        self._tell(self._bursts.over(now))
        delay = self._bursts.failed(peer, now)
        if delay is None:
            return
        if delay == FIRST_DELAY_S:
            self._alarm(f"{peer} keeps sending wrong tokens to the control API; its answers are slowed")
        if self._waiting >= MAX_WAITING:
            return
        self._waiting += 1
        try:
            await asyncio.sleep(delay)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Tell of the bursts that have not ended yet."""
        self._tell(self._bursts.over(asyncio.get_running_loop().time(), all_of_them=True))

    def _tell(self, bursts: list[Burst]) -> None:
        for burst in bursts:
            self._alarm(f"{burst.source} sent {burst.count} wrong tokens in a row to the control API")
