"""The keys of foreign issuers, kept in memory (OpenID Connect Core 1.0, 10.1.1: rotation; RFC 7517).

A key document is fetched at start and again before it runs out; a token is never the reason for a request,
but for one: a key id that nobody knows. Even that has one look at the issuer, shared by all who wait for
it, with FORCED_S between two such looks, and a key id that was not there is not looked for again for
MISSING_S. At most one look at an issuer is under way.

When an issuer does not answer, the last good keys hold for STALE_S after they were fetched; then there
are none. Nothing the issuer signs is accepted until it answers again: fail closed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from proxy.broker.guarded_http import GuardedHttp
from proxy.broker.key_document import Document, discover, read_file
from proxy.broker.static import Stamp
from proxy.errors import Code, Refusal
from proxy.identity.keyset import KeySet

LOOK_S = 10.0  # one look, from the first look-up of a name to the last octet
FORCED_S = 30.0
FORCED_FILE_S = 1.0
MISSING_S = 60.0
MISSING_MAX = 256
STALE_S = 86_400.0
EARLY_S = 30.0  # a document is fetched again this long before it runs out,
AT_LEAST_EVERY_S = 43_200.0  # and early enough for an outage to be noticed and mended before STALE_S
FILE_S = 2.0  # whoever takes an authority out of a file means it to hold at once
RETRY_S, RETRY_MAX_S = 30.0, 300.0
TOLD_KEYS, TOLD_CHARACTERS = 32, 128  # so that a record of a change is small, whatever the issuer publishes

_NOTHING = "nothing it signs is accepted"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the keys of one issuer come from. ``issuer`` is its URL, or the name of a trust domain.

    A file if there is ``keys_file`` (``bundle``: a SPIFFE bundle, else a JWK set); discovery for an issuer
    without; a trust domain (``bundle``) without a file has what is ``put``.
    """

    issuer: str
    keys_file: str | None = None
    bundle: bool = False

    @property
    def pushed(self) -> bool:
        """Whether somebody puts the keys here, and nobody fetches them."""
        return self.bundle and self.keys_file is None


class _Entry:
    """What is known of one issuer. Times are those of the clock ``now``."""

    __slots__ = ("due", "failures", "flight", "forced", "good", "keys", "missing", "source", "stamp")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.keys: KeySet | None = None
        self.good = 0.0  # when the keys were last found good
        self.due = 0.0
        self.forced: float | None = None  # when a look was last forced
        self.failures = 0  # looks in vain since then
        self.stamp: Stamp | None = None
        self.missing: dict[str, float] = {}  # key id: when it was found missing
        self.flight: asyncio.Task[None] | None = None

    def landed(self, _: asyncio.Task[None]) -> None:
        self.flight = None

    def usable(self, now: float) -> KeySet | None:
        if self.source.pushed or now - self.good < STALE_S:
            return self.keys
        return None

    def has(self, key_id: str, now: float) -> bool:
        keys = self.usable(now)
        return keys is not None and key_id in keys.keys

    def may_look_for(self, key_id: str, now: float) -> bool:
        gap = FORCED_S if self.source.keys_file is None else FORCED_FILE_S
        if self.forced is not None and now - self.forced < gap:
            return False
        missed = self.missing.get(key_id)
        return missed is None or now - missed >= MISSING_S

    def miss(self, key_id: str, now: float) -> None:
        self.missing.pop(key_id, None)  # so that the oldest stays the first
        self.missing[key_id] = now
        while len(self.missing) > MISSING_MAX:
            del self.missing[next(iter(self.missing))]


def _nobody(kind: str, body: Mapping[str, object]) -> None:
    """Events that nobody waits for."""


class IssuerKeys:
    """Implements ``ports.Keys``. Run ``start`` before asking it, and ``close`` at the end.

    ``now`` is a monotonic clock in seconds and ``sleep`` waits on it; ``look_s`` is how long one look may
    take, in seconds of the event loop. ``alarm`` is told in one line when an issuer stops answering, when
    its keys run out, and when it is back. ``events`` is given each change of a document: ``keys.changed``
    with ``issuer``, ``sha256`` ("" if there are no keys) and ``key_ids`` (the first TOLD_KEYS, cut to
    TOLD_CHARACTERS). Neither may raise.

    :raises ValueError: if two sources are of one issuer.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        http: GuardedHttp,
        *,
        now: Callable[[], float],
        alarm: Callable[[str], None],
        events: Callable[[str, Mapping[str, object]], None] = _nobody,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        look_s: float = LOOK_S,
    ) -> None:
        self._entries: dict[str, _Entry] = {}
        for source in sources:
            if source.issuer in self._entries:
                raise ValueError(f"two sources for the keys of {source.issuer}")
            self._entries[source.issuer] = _Entry(source)
        self._http = http
        self._now = now
        self._alarm = alarm
        self._events = events
        self._sleep = sleep
        self._look_s = look_s
        self._keepers: list[asyncio.Task[None]] = []
        self._closed = False

    def get(self, issuer: str) -> KeySet | None:
        """See ``ports.Keys``."""
        entry = self._entries.get(issuer)
        return None if entry is None else entry.usable(self._now())

    async def want(self, issuer: str, key_id: str) -> None:
        """See ``ports.Keys``."""
        entry, now = self._entries.get(issuer), self._now()
        if entry is None or entry.source.pushed or self._closed or entry.has(key_id, now):
            return
        if entry.flight is None:
            if not entry.may_look_for(key_id, now):
                return
            entry.forced = now
        await asyncio.wait((self._look(entry),))
        if entry.failures == 0 and not entry.has(key_id, now):
            entry.miss(key_id, now)

    def put(self, issuer: str, keys: KeySet | None) -> bool:
        """Take the keys of a trust domain from whoever has its bundle; None takes them away at once.

        They hold until the next ``put``. False, and nothing happens, if nobody asked for them here.
        """
        entry = self._entries.get(issuer)
        if entry is None or not entry.source.pushed:
            return False
        self._replace(entry, keys)
        return True

    async def start(self) -> None:
        """Look at every source once, then keep the keys fresh. A source that is down is an alarm."""
        fetched = [entry for entry in self._entries.values() if not entry.source.pushed]
        if fetched:
            await asyncio.wait([self._look(entry) for entry in fetched])
        loop = asyncio.get_running_loop()
        self._keepers = [loop.create_task(self._keep(entry)) for entry in fetched]

    async def close(self) -> None:
        """Stop looking. What is known stays."""
        self._closed = True
        flights = [entry.flight for entry in self._entries.values() if entry.flight is not None]
        running = [*self._keepers, *flights]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _keep(self, entry: _Entry) -> None:
        while True:
            wait = entry.due - self._now()
            if wait > 0:
                await self._sleep(wait)  # and see whether somebody looked meanwhile
            else:
                await asyncio.wait((self._look(entry),))

    def _look(self, entry: _Entry) -> asyncio.Task[None]:
        """The one look that is under way, or a new one."""
        if entry.flight is None:
            entry.flight = asyncio.get_running_loop().create_task(self._fly(entry))
            entry.flight.add_done_callback(entry.landed)
        return entry.flight

    async def _fly(self, entry: _Entry) -> None:
        try:
            found = await self._document(entry)
        except Exception as error:  # noqa: BLE001 - a document of others must not end the looking
            found = Refusal(Code.INTERNAL, f"internal error: {type(error).__name__}: {error}")
        if isinstance(found, Refusal):
            self._failed(entry, found)
        else:
            self._succeeded(entry, found)

    async def _document(self, entry: _Entry) -> Document | Refusal | None:
        source = entry.source
        if source.keys_file is not None:
            return await read_file(source.keys_file, bundle=source.bundle, known=entry.stamp)
        return await discover(source.issuer, self._http, asyncio.get_running_loop().time() + self._look_s)

    def _succeeded(self, entry: _Entry, found: Document | None) -> None:
        now, failed = self._now(), entry.failures
        entry.good, entry.failures = now, 0
        if found is None or found.stamp is not None:
            entry.due = now + FILE_S
        else:
            entry.due = now + min(found.fresh_s - EARLY_S, AT_LEAST_EVERY_S)
        if found is not None:
            entry.stamp = found.stamp
            self._replace(entry, found.keys)
        if failed:
            self._alarm(f"the keys of {entry.source.issuer} are there again")

    def _failed(self, entry: _Entry, why: Refusal) -> None:
        now = self._now()
        entry.failures += 1
        pause = min(RETRY_S * 2 ** min(entry.failures - 1, 10), RETRY_MAX_S)
        entry.due = now + (pause if entry.source.keys_file is None else FILE_S)
        issuer = entry.source.issuer
        if entry.failures == 1:
            stale = entry.usable(now) is not None
            held = "the last ones are used until they are a day old" if stale else _NOTHING
            self._alarm(f"the keys of {issuer} cannot be had, {held}: {why.detail}")
        elif entry.keys is not None and entry.usable(now) is None:
            entry.stamp = None
            self._replace(entry, None)
            self._alarm(f"the keys of {issuer} ran out, {_NOTHING}: {why.detail}")

    def _replace(self, entry: _Entry, keys: KeySet | None) -> None:
        before = "" if entry.keys is None else entry.keys.sha256
        after = "" if keys is None else keys.sha256
        entry.keys = keys
        if before == after:
            return
        entry.missing.clear()
        key_ids = () if keys is None else sorted(keys.keys)
        told = [key_id[:TOLD_CHARACTERS] for key_id in key_ids[:TOLD_KEYS]]
        self._events("keys.changed", {"issuer": entry.source.issuer, "sha256": after, "key_ids": told})
