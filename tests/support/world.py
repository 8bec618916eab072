"""A whole sidecar in the test's own process: real sockets, real keys, a real log, real rules.

``world.upstream`` is the API, ``world.call`` one request through the tunnel, ``world.records`` what the
log says. Nothing is patched: the resolver and the rules are arguments.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proxy.audit.record import Record, parse
from proxy.control.operations import TaskAsked
from proxy.identity.arrival import Fixed
from proxy.ports import Resolver
from proxy.problems import Problem
from proxy.settings import Settings
from proxy.store.keyring import Keyring
from proxy.store.reader import entries
from proxy.store.tasks import TaskStore
from proxy.wiring import Rules, Sidecar, load
from proxy.wiring_rules import Source
from proxy.wiring_tasks import Office, Started, start_task
from tests.support import demo_rules
from tests.support.demo_rules import Entry
from tests.support.rawclient import RawClient, Response, basic
from tests.support.upstream import Upstream

SECRET = "sk-live-0123456789abcdef"


@dataclass
class World:
    sidecar: Sidecar
    state: Path
    rules: Rules
    keyring: Keyring
    upstream: Upstream
    store: TaskStore
    started: Started
    start: Callable[[], Awaitable[Sidecar]]
    alarms: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        return self.sidecar.addresses[0]

    @property
    def authorization(self) -> str:
        return basic("task", self.started.token)

    @property
    def placeholder(self) -> str:
        return self.started.placeholders["api"]

    @property
    def authority(self) -> str:
        return f"{self.upstream.hosts[0]}:{self.upstream.port}"

    def another_task(self, **given: object) -> Started:
        return new_task(self.store, self.keyring, self.rules, **given)

    async def restart(self) -> None:
        """Stop the sidecar, and start another one on the same state."""
        await self.sidecar.drain(2)
        self.sidecar = await self.start()

    async def client(self) -> RawClient:
        return await RawClient.connect(self.address)

    @contextlib.asynccontextmanager
    async def tunnel(self, started: Started | None = None) -> AsyncIterator[RawClient]:
        """A client inside TLS to the API, with this task's identity."""
        token = (started or self.started).token
        async with await self.client() as client:
            answer = await client.open_tunnel(self.authority, basic("task", token))
            assert answer.status == 200, answer
            await client.start_tls(self.upstream.hosts[0], cafile=self.keyring.ca_path)
            yield client

    async def call(
        self, path: str = "/", *, method: str = "GET", headers: Iterable[str] = (), body: bytes = b""
    ) -> Response:
        """One request on a tunnel of its own."""
        async with self.tunnel() as client:
            lines = [f"{method} {path} HTTP/1.1", f"Host: {self.authority}", *headers]
            if body:
                lines.append(f"Content-Length: {len(body)}")
            await client.send("\r\n".join([*lines, "", ""]).encode() + body)
            return await client.read_response(to_head=method == "HEAD")

    @property
    def records(self) -> list[Record]:
        """Everything in the log so far."""
        return [parse(entry) for entry in entries(self.state / "log")]

    @property
    def decisions(self) -> list[Record]:
        return [record for record in self.records if record.kind == "decision"]

    @property
    def outcomes(self) -> list[Record]:
        return [record for record in self.records if record.kind == "outcome"]

    async def settled(self) -> None:
        """Until every allowed call so far has its outcome on disk."""
        async with asyncio.timeout(10):
            while len(self.outcomes) < sum(record.effect == "allow" for record in self.decisions):
                await asyncio.sleep(0.005)


def office(keyring: Keyring, rules: Rules) -> Office:
    services = rules.ruleset.catalogue.services if rules.ruleset else ()
    return Office(keyring, rules.registry, tuple(services), os.urandom)


def new_task(store: TaskStore, keyring: Keyring, rules: Rules, **given: object) -> Started:
    """A task of ``tester`` for ten minutes, unless ``given`` says otherwise."""
    wanted: dict[str, object] = {"agent": "tester", "purpose": "a test", "ttl_s": 600}
    started = start_task(store, office(keyring, rules), TaskAsked(**(wanted | given)), int(time.time()))
    assert isinstance(started, Started), started
    return started


@contextlib.asynccontextmanager
async def world(
    directory: Path,
    *,
    upstream: Upstream | None = None,
    agents: Iterable[Entry] | None = None,
    services: Iterable[Entry] | Callable[[Upstream], Iterable[Entry]] | None = None,
    policies: Iterable[str] | None = None,
    environment: Mapping[str, str] | None = None,
    resolver: Resolver | None = None,
    observe: bool = False,
    private: bool = True,
    fixed: bool = False,
    hosts: Mapping[str, list[str]] | None = None,
    cidr: str = "127.0.0.0/8",
    egress: Mapping[str, object] | Callable[[Upstream], Mapping[str, object]] | None = None,
    follow: bool = False,
    **settings: object,
) -> AsyncIterator[World]:
    """A sidecar in front of ``upstream``; by default ``tester`` may read, write and delete at ``api``.

    ``private`` opens the upstream's addresses in ``cidr``; ``fixed`` gives the listener the task's identity.
    ``egress`` are further settings of ``upstream``, ``settings`` those beside it. ``follow``: the rules
    directory is followed, as ``policy`` in ``settings`` says.
    """
    async with upstream or Upstream("api.test") as up:
        scheme = "https" if up.tls else "http"
        api = demo_rules.service(
            "api", *up.hosts, ports=[up.port], schemes=[scheme], credential=demo_rules.from_env("API_TOKEN")
        )
        demo_rules.write_rules(
            directory / "rules",
            agents=agents,
            services=[api] if services is None else services(up) if callable(services) else services,
            policies=[demo_rules.permit("all", actions=("read", "write", "delete"))]
            if policies is None
            else policies,
        )
        rules = load(None if observe else demo_rules.read_rules(directory / "rules"))
        assert isinstance(rules, Rules), rules
        state = directory / "state"
        keyring = Keyring.open(state)
        store = TaskStore.open(state / "tasks.sqlite3")
        started = new_task(store, keyring, rules, **({"agent": "observer"} if observe else {}))
        alarms: list[str] = []
        given = Settings.model_validate(
            {
                "listen": [{"address": "127.0.0.1:0", **({"agent": started.task.agent} if fixed else {})}],
                **settings,
                "upstream": {
                    "hosts": {name: ["127.0.0.1"] for name in up.hosts} | dict(hosts or {}),
                    "allow_private": [{"host": name, "cidr": cidr, "port": up.port} for name in up.hosts]
                    if private
                    else [],
                    **(egress(up) if callable(egress) else egress or {}),
                },
            }
        )
        up.write_ca(directory / "roots")
        source = Source.of(directory / "rules", given.policy) if follow else None
        assert not isinstance(source, Problem), source

        async def start() -> Sidecar:
            return await Sidecar.start(
                given,
                rules,
                state=state,
                roots=directory / "roots",
                keyring=keyring,
                environment={"API_TOKEN": SECRET} if environment is None else environment,
                alarm=alarms.append,
                fixed={started.task.agent: Fixed(started.task.agent, started.task.id)} if fixed else None,
                resolver=resolver,
                source=source,
            )

        with store:
            w = World(await start(), state, rules, keyring, up, store, started, start, alarms)
            try:
                yield w
            finally:
                await w.sidecar.drain(2)
