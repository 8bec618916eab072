"""Rules that are in force no more: let go piece by piece, as soon as nobody uses them.

A thousand policies are some hundred thousand objects, and Python frees them all at once when the last one to
use them is done: nobody else gets a turn for 50 ms. So the pieces are kept until then, then dropped
one by one.
"""

import asyncio
import weakref
from collections import deque
from collections.abc import Iterator

from proxy.policy.cedar import RuleSet


class Retired:
    """See the module."""

    def __init__(self) -> None:
        self._remains: deque[Iterator[object]] = deque()

    def watch(self, ruleset: RuleSet) -> None:
        """Keep its pieces when it is gone. Calls that are being decided may use it for a while yet."""
        weakref.finalize(ruleset, self._remains.append, ruleset.remains()).atexit = False

    async def let_go(self) -> None:
        """Drop the pieces of whatever is gone; everybody else gets a turn after each."""
        while self._remains:
            for _ in self._remains.popleft():
                await asyncio.sleep(0)
