"""The keys of some issuers, the clock they live by, and what was said about them."""

import asyncio

from proxy.broker.jwks import IssuerKeys, Source


class Clock:
    """Goes when it is told to."""

    def __init__(self):
        self.at = 1_000.0
        self._sleepers = []

    def now(self):
        return self.at

    async def sleep(self, seconds):
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.at + seconds, woken))
        await woken

    def advance(self, seconds):
        self.at += seconds
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self.at]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self.at]
        for _, woken in due:
            if not woken.done():
                woken.set_result(None)

    @property
    def next(self):
        """When the first sleeper wakes up."""
        return min(until for until, woken in self._sleepers if not woken.done())

    @property
    def asleep(self):
        return any(not woken.done() for _, woken in self._sleepers)


class Desk:
    """``async with Desk(http, *sources)``: ``IssuerKeys`` that have started, until the end of the block."""

    def __init__(self, http, *sources, **options):
        self.clock = Clock()
        self.alarms, self.events = [], []
        self.keys = IssuerKeys(
            sources,
            http,
            now=self.clock.now,
            alarm=self.alarms.append,
            events=lambda kind, body: self.events.append((kind, body)),
            sleep=self.clock.sleep,
            **options,
        )

    async def __aenter__(self):
        await self.keys.start()
        return self

    async def __aexit__(self, *error):
        await self.keys.close()

    def ids(self, issuer):
        found = self.keys.get(issuer)
        return None if found is None else sorted(found.keys)

    async def pass_time(self, seconds):
        """Let the clock go, and wait until everything that was due is done."""
        async with asyncio.timeout(30):
            while not self.clock.asleep:
                await asyncio.sleep(0.001)
            self.clock.advance(seconds)
            while not self.clock.asleep:
                await asyncio.sleep(0.001)


async def refused(issuer, http=None):
    """The alarm of an issuer whose keys cannot be had from the start."""
    async with Desk(http or issuer.http(), Source(issuer.url)) as desk:
        assert desk.keys.get(issuer.url) is None
        assert desk.events == []
        (alarm,) = desk.alarms
        assert alarm.startswith(f"the keys of {issuer.url} cannot be had, nothing it signs is accepted: ")
        return alarm.partition(" is accepted: ")[2]
