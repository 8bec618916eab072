"""A client of the Workload API at a server, and what it has told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proxy.broker.workload_api import Svid, WorkloadApi
from proxy.identity.keyset import KeySet
from tests.support.workload_api import START, TrustDomain, WorkloadApiServer

HOME, ABROAD = TrustDomain("example.org"), TrustDomain("abroad.example")
HOME.add_jwt_key("h1")
ABROAD.add_jwt_key("a1")
FIRST = HOME.svid("/egress/1")


@dataclass
class Heard:
    """What a client has told, and its clock, which the test sets. Its pauses are short and recorded."""

    now: int = int(START.timestamp()) + 60
    identities: list[Svid | None] = field(default_factory=list)
    bundles: list[tuple[str, KeySet | None]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    fail: bool = False

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()

    def wall_ns(self) -> int:
        return self.now * 1_000_000_000

    def mono_ns(self) -> int:
        return self.wall_ns()

    def identity(self, svid: Svid | None) -> None:
        self.identities.append(svid)
        self._changed.set()

    def bundle(self, name: str, bundle: KeySet | None) -> None:
        if self.fail:
            raise LookupError(name)
        self.bundles.append((name, bundle))
        self._changed.set()

    def alarm(self, words: str) -> None:
        self.alarms.append(words)
        self._changed.set()

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0.02)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def standing(self) -> dict[str, KeySet]:
        """The bundles as they are now."""
        return {name: bundle for name, bundle in dict(self.bundles).items() if bundle is not None}

    async def until_alarm(self, words: str) -> None:
        await self.until(lambda: any(words in alarm for alarm in self.alarms))

    async def until_identity(self, count: int) -> Svid | None:
        await self.until(lambda: len(self.identities) >= count)
        return self.identities[count - 1]

    async def until_bundle(self, name: str, keys: set[str], authorities: int) -> KeySet:
        await self.until(
            lambda: (
                (bundle := self.standing().get(name)) is not None
                and set(bundle.keys) == keys
                and len(bundle.authorities) == authorities
            )
        )
        return self.standing()[name]


@dataclass
class Scene:
    """A client at a server."""

    server: WorkloadApiServer
    heard: Heard
    api: WorkloadApi


def client(heard: Heard, address: str) -> WorkloadApi:
    return WorkloadApi(
        address,
        clock=heard,
        on_identity=heard.identity,
        on_bundle=heard.bundle,
        alarm=heard.alarm,
        sleep=heard.sleep,
        jitter=lambda: 0.0,
    )


@asynccontextmanager
async def scene_in(folder: Path) -> AsyncIterator[Scene]:
    heard = Heard()
    async with WorkloadApiServer(f"unix:{folder}/s") as server:
        api = client(heard, f"unix://{folder}/s")
        await api.start()
        try:
            yield Scene(server, heard, api)
        finally:
            await api.close()
