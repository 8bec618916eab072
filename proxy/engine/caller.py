"""Who is on a downstream connection: asked of the evidence on every request, and of memory first.

What memory lacks is fetched once, and only then is there an answer: a task that another process started
a moment ago, a key that an issuer has just begun to sign with.
"""

from dataclasses import dataclass

from proxy.errors import Code, Refusal
from proxy.http.canonical import Origin
from proxy.http.message import Headers
from proxy.identity.arrival import Arrival
from proxy.identity.assertion import UNSIGNED, KeysWanted
from proxy.identity.attribution import Attributor, Unfit
from proxy.identity.presented import Presented, presented
from proxy.identity.principal import Principal
from proxy.ports import Clock, Keys, Tasks

_UNKNOWN_KEY = Refusal(Code.IDENTITY_INVALID, UNSIGNED)


@dataclass(slots=True)
class Caller:
    """One downstream connection, as far as identity and origin are concerned."""

    arrival: Arrival
    presented: Presented | None = None  # what came with CONNECT, for every request inside
    tunnel: Origin | None = None

    @property
    def peer(self) -> str:
        """Who is on the other side, for records."""
        return self.arrival.peer


class Doorman:
    """See the module."""

    def __init__(self, attributor: Attributor, keys: Keys, tasks: Tasks, clock: Clock) -> None:
        self._attributor = attributor
        self._keys = keys
        self._tasks = tasks
        self._clock = clock

    async def attribute(self, caller: Caller, headers: Headers) -> Principal | Unfit | Refusal:
        """Who makes this request; looks again, once, for a key or a task that is not known yet."""
        found = self._now(caller, headers)
        if isinstance(found, KeysWanted):
            await self._keys.want(found.issuer, found.key_id)
            found = self._now(caller, headers)
        refusal = found.refusal if isinstance(found, Unfit) else found
        if isinstance(refusal, Refusal) and refusal.code is Code.TASK_UNKNOWN:
            await self._tasks.refresh()
            found = self._now(caller, headers)
        if not isinstance(found, KeysWanted):
            return found
        return _UNKNOWN_KEY if self._keys.get(found.issuer) is not None else _no_keys(found.issuer)

    def over(self, principal: Principal) -> Refusal | None:
        """Why nothing may leave for this principal any more, although it was allowed to; or None."""
        return self._attributor.over(principal, self._clock.wall_ns() // 1_000_000_000)

    def _now(self, caller: Caller, headers: Headers) -> Principal | Unfit | Refusal | KeysWanted:
        shown = presented(headers) if caller.tunnel is None else caller.presented
        if isinstance(shown, Refusal):
            if shown.code is not Code.IDENTITY_MISSING:
                return shown
            shown = None
        return self._attributor.attribute(caller.arrival, shown, self._clock.wall_ns() // 1_000_000_000)


def _no_keys(issuer: str) -> Refusal:
    return Refusal(Code.KEYS_UNAVAILABLE, f"the keys of {issuer} cannot be obtained at the moment", None, 30)
