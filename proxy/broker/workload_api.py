"""The sidecar's own identity and its trust bundles, kept up to date (SPIFFE Workload API, 5 and 6).

Two streams stay open for as long as the sidecar runs: its X.509-SVID with the X.509 authorities, and the
keys of JWT-SVIDs. Each message is the full set and replaces the last; what is absent is redacted. How a
stream ends says what to do with what it gave:

    PERMISSION_DENIED   stop using it; ask again rarely
    INVALID_ARGUMENT    stop using it, since nobody would say when it changes; do not ask again
    anything else       keep it; ask again, with a pause that grows

An SVID is used until it expires and never longer, whatever the server does.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from proxy.broker.workload_channel import End, Ending, WorkloadChannel, target_of
from proxy.broker.workload_proto import (
    FETCH_JWT_BUNDLES,
    FETCH_X509_SVID,
    WorkloadApiMissing,
    jwt_bundles_message,
    load,
    x509_message,
)
from proxy.broker.workload_svid import (
    Authorities,
    JwtKeys,
    Svid,
    merge,
    parse_x509_svid,
    read_identity,
    read_jwt_keys,
)
from proxy.identity.keyset import KeySet
from proxy.ports import Clock

__all__ = ["BackOff", "Svid", "WorkloadApi", "WorkloadApiMissing", "parse_x509_svid"]

FIRST_PAUSE_S = 2.0
LAST_PAUSE_S = 30.0
DENIED_PAUSE_S = 60.0
LOOK_S = 60.0  # how long a timer may sleep before it looks at the clock, which may be set meanwhile
_SECOND_NS = 1_000_000_000

Sleep = Callable[[float], Awaitable[None]]


class BackOff:
    """Pauses between attempts, in seconds: doubled each time, between half and all of it by ``jitter``."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        """``jitter`` answers with a number of [0, 1)."""
        self._jitter = jitter
        self._ceiling = FIRST_PAUSE_S

    def pause(self) -> float:
        """The next pause."""
        ceiling, self._ceiling = self._ceiling, min(2 * self._ceiling, LAST_PAUSE_S)
        return self._spread(ceiling)

    def denied(self) -> float:
        """The pause after a refusal."""
        return self._spread(DENIED_PAUSE_S)

    def reset(self) -> None:
        """All is well again."""
        self._ceiling = FIRST_PAUSE_S

    def _spread(self, ceiling: float) -> float:
        return ceiling * (1 + self._jitter()) / 2


class _Stream(NamedTuple):
    """One of the two streams. ``take`` answers with what is wrong with a message, or None."""

    method: str
    take: Callable[[bytes], str | None]
    drop: Callable[[], None]


class WorkloadApi:
    """A client of the Workload API. Callbacks come on the event loop, only for what changed."""

    def __init__(
        self,
        address: str,
        *,
        clock: Clock,
        on_identity: Callable[[Svid | None], None],
        on_bundle: Callable[[str, KeySet | None], None],
        alarm: Callable[[str], None],
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``address`` as in ``SPIFFE_ENDPOINT_SOCKET``; a bundle's name is ``spiffe://trust-domain``.

        None tells that there is no identity, or no bundle, any more. ``alarm`` gets words for people.

        :raises ValueError: if the address is neither ``unix:///path`` nor ``tcp://127.0.0.1:port``.
        """
        self._target = target_of(address)
        self._clock, self._sleep, self._jitter = clock, sleep, jitter
        self._on_identity, self._on_bundle, self._alarm = on_identity, on_bundle, alarm
        self._svid: Svid | None = None
        self._authorities: Mapping[str, Authorities] = {}
        self._jwt_keys: Mapping[str, JwtKeys] = {}
        self._bundles: dict[str, KeySet] = {}
        self._channel: WorkloadChannel | None = None
        self._streams: list[asyncio.Task[None]] = []
        self._expiry: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open both streams and return; what they bring comes to the callbacks.

        :raises WorkloadApiMissing: if gatepass was installed without the extra ``spiffe``.
        """
        assert self._channel is None, "a client is started once"
        load()
        self._channel = WorkloadChannel(self._target)
        self._streams = [
            asyncio.create_task(self._run(self._channel, stream))
            for stream in (
                _Stream(FETCH_X509_SVID, self._take_x509, self._drop_x509),
                _Stream(FETCH_JWT_BUNDLES, self._take_jwt, self._drop_jwt),
            )
        ]

    async def close(self) -> None:
        """End both streams; nothing is called back any more."""
        tasks = [*self._streams, *([self._expiry] if self._expiry else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()

    async def _run(self, channel: WorkloadChannel, stream: _Stream) -> None:
        try:
            await self._keep_open(channel, stream)
        except Exception as fault:  # noqa: BLE001 - ours, or a callback's: what nobody updates is not used
            self._alarm(
                f"{stream.method} is no longer followed, by a fault of gatepass: {type(fault).__name__}"
            )
            stream.drop()

    async def _keep_open(self, channel: WorkloadChannel, stream: _Stream) -> None:
        backoff, told = BackOff(self._jitter), ""

        def hear(data: bytes) -> None:
            nonlocal told
            words = stream.take(data)
            if words is None:
                told = ""
                backoff.reset()
            else:
                self._alarm(f"a message of {stream.method} is ignored: {words}")

        while True:
            end: End = await channel.listen(stream.method, hear)
            if end.words != told:  # once, not with every attempt
                self._alarm(f"{stream.method} ended: {end.words}")
                told = end.words
            if end.ending is Ending.AWAY:
                await self._sleep(backoff.pause())
                continue
            stream.drop()
            if end.ending is Ending.INVALID:
                return
            await self._sleep(backoff.denied())

    def _take_x509(self, data: bytes) -> str | None:
        message = x509_message(data)
        if message is None:
            return "it is no X509SVIDResponse"
        identity = read_identity(message, self._now())
        if isinstance(identity, str):
            return identity
        self._authorities = identity.authorities
        self._publish()
        self._become(identity.svid)
        return None

    def _take_jwt(self, data: bytes) -> str | None:
        message = jwt_bundles_message(data)
        if message is None:
            return "it is no JWTBundlesResponse"
        keys = read_jwt_keys(message)
        if isinstance(keys, str):
            return keys
        self._jwt_keys = keys
        self._publish()
        return None

    def _drop_x509(self) -> None:
        self._authorities = {}
        self._become(None)
        self._publish()

    def _drop_jwt(self) -> None:
        self._jwt_keys = {}
        self._publish()

    def _publish(self) -> None:
        """Tell of every bundle that is not what it was; first of those that are gone."""
        names = self._authorities.keys() | self._jwt_keys.keys()
        for name in sorted(self._bundles.keys() - names):
            del self._bundles[name]
            self._on_bundle(name, None)
        for name in sorted(names):
            bundle = merge(self._authorities.get(name), self._jwt_keys.get(name))
            known = self._bundles.get(name)
            if known is None or known.sha256 != bundle.sha256:
                self._bundles[name] = bundle
                self._on_bundle(name, bundle)

    def _become(self, svid: Svid | None) -> None:
        if svid == self._svid:
            return
        self._svid = svid
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = asyncio.create_task(self._expire(svid)) if svid else None
        self._on_identity(svid)

    async def _expire(self, svid: Svid) -> None:
        while (left := svid.expires_at - self._now()) > 0:
            await self._sleep(min(left, LOOK_S))
        self._alarm(
            f"the certificate of {svid.spiffe_id} has expired, and the Workload API has sent no other"
        )
        self._expiry = None  # this task: it must not cancel itself
        self._become(None)

    def _now(self) -> int:
        return self._clock.wall_ns() // _SECOND_NS
