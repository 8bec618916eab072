"""gatepass served as people deploy it, with agents, issuers and listeners of the test's own choosing.

The upstream is ``api.test``, where every agent may read and write unless ``policies`` says otherwise. An
agent's program is given the trust bundle, and a proxy with whatever identity the test gives it.
"""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from proxy.audit.record import Record
from proxy.cli.environment import BUNDLE, NO_PROXY, PROXY
from tests.support import demo_rules
from tests.support.demo_rules import Entry
from tests.support.issuer import SmallIssuer
from tests.support.rawclient import RawClient, Response
from tests.support.upstream import Upstream
from tests.system.deployed import SECRET, Deployed, any_file_holds, launch, verified
from tests.system.process import gatepass

SHOWN = "\n%{http_connect} %{http_code}"


class Answered(NamedTuple):
    """What curl got: the status of the tunnel (0: there was none), that of the answer inside, its body."""

    tunnel: int
    status: int
    body: str


@dataclass
class Served(Deployed):
    """A running sidecar, its upstream, and who it may be called by."""

    @property
    def ca(self) -> Path:
        """The sidecar's own CA."""
        return self.directory / "state" / "ca.pem"

    @property
    def authority(self) -> str:
        return f"api.test:{self.upstream.port}"

    async def started(self, agent: str, *options: str) -> Mapping[str, Any]:
        """``gatepass task start``, as JSON."""
        return await self.verb(
            "task", "start", "--agent", agent, "--proxy", "127.0.0.1:1", "--json", *options
        )

    async def verb(self, *arguments: str) -> Mapping[str, Any]:
        """One verb of the command line that answers in JSON."""
        done = await gatepass(*arguments, "--config", self.config, home=self.home)
        return done.json()

    def through(
        self, user: str = "", password: str = "", *, scheme: str = "http", place: int = 0
    ) -> dict[str, str]:
        """The variables of a program that proves who it is with this user name and password."""
        host, port = self.sidecar.addresses[place]
        identity = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
        trust = dict.fromkeys(BUNDLE, str(self.directory / "state" / "ca-bundle.pem"))
        return (
            trust | dict.fromkeys(NO_PROXY, "") | dict.fromkeys(PROXY, f"{scheme}://{identity}{host}:{port}")
        )

    async def curl(self, proxy: Mapping[str, str], path: str, *options: str | Path) -> Answered:
        """One call of curl, of a path at the API or of a whole URL."""
        url = self.url(path) if path.startswith("/") else path
        done = await self.agent("curl", "-sS", "-w", SHOWN, *options, url, **proxy)
        body, _, statuses = done.stdout.rpartition("\n")
        assert statuses, done
        tunnel, status = statuses.split()
        return Answered(int(tunnel), int(status), body)

    @contextlib.asynccontextmanager
    async def tunnel(
        self, authorization: str | None, place: int = 0, over: RawClient | None = None
    ) -> AsyncIterator[RawClient]:
        """A raw client inside TLS to the API; ``over`` a connection of the test's own making."""
        async with over or await RawClient.connect(self.sidecar.addresses[place]) as client:
            answer = await client.open_tunnel(self.authority, authorization)
            assert answer.status == 200, answer
            await client.start_tls("api.test", cafile=self.ca)
            yield client

    async def get(self, client: RawClient, path: str) -> Response:
        """One request in a tunnel that stands."""
        await client.send(f"GET {path} HTTP/1.1\r\nHost: {self.authority}\r\n\r\n".encode())
        return await client.read_response()

    async def ask(self, path: str, authorization: str | None, place: int = 0) -> Response:
        """One raw request on a connection of its own; the answer to its CONNECT if that is refused."""
        async with await RawClient.connect(self.sidecar.addresses[place]) as client:
            return await self.ask_over(client, path, authorization)

    async def ask_over(self, client: RawClient, path: str, authorization: str | None) -> Response:
        """The same on a connection of the test's own making."""
        answer = await client.open_tunnel(self.authority, authorization)
        if answer.status != 200:
            return answer
        await client.start_tls("api.test", cafile=self.ca)
        return await self.get(client, path)

    def decision(self, path: str) -> Record:
        """The one decision about a path."""
        (found,) = (each for each in self.records if each.kind == "decision" and each.path == path)
        return found

    def events(self, kind: str) -> list[Record]:
        """The records of this kind."""
        return [record for record in self.records if record.kind == kind]

    def evidence(self, path: str) -> list[Mapping[str, Any]]:
        """What the record says of how the caller of a path proved who it was."""
        return self.decision(path).raw["who"]["auth"]


def agent(name: str, *ways: Entry, **more: object) -> Entry:
    """An agent, and how it may prove who it is."""
    return {**demo_rules.agent(name), "authenticate": list(ways), **more}


def session() -> Entry:
    return {"method": "session"}


def issuer(name: str, url: str, *audiences: str, keys: Path | None = None, **more: object) -> Entry:
    """An issuer, as ``gatepass.yaml`` has it; ``keys`` is a file."""
    made: dict[str, object] = {"name": name, "issuer": url, "audiences": list(audiences), **more}
    return made if keys is None else {**made, "keys": str(keys)}


def small_issuer(url: str, audience: str, subject: str, algorithm: str = "ES256") -> SmallIssuer:
    """An issuer whose clock is right."""
    return SmallIssuer(url, audience, subject, int(time.time()), algorithm)


@contextlib.asynccontextmanager
async def served(
    directory: Path,
    agents: Iterable[Entry],
    *,
    upstream: Upstream | None = None,
    services: Iterable[Entry] = (),
    private: Iterable[tuple[str, int]] = (),
    hosts: Mapping[str, Iterable[str]] | None = None,
    **settings: object,
) -> AsyncIterator[Served]:
    """A deployment; on the way out the sidecar must stop with exit status 0 and leave a log that holds.

    ``services`` are further ones, open to every agent; ``private`` are further (host, port) on this machine that may be reached; ``settings`` are further ones
    of ``gatepass.yaml``.
    """
    async with upstream or Upstream("api.test") as up:
        config = _configure(
            directory, up, list(agents), list(services), [*private], dict(hosts or {}), settings
        )
        running = Served(directory, config, up, await launch(config, directory), "", {})
        try:
            yield running
        finally:
            status = await running.sidecar.stop()
        assert status == 0, running.sidecar.stderr
        assert verified(running.log).unsigned == 0
        assert not any_file_holds(directory / "state", SECRET)
        assert "a connection failed" not in running.sidecar.stderr, running.sidecar.stderr


def _configure(
    directory: Path,
    up: Upstream,
    agents: list[Entry],
    services: list[Entry],
    private: list[tuple[str, int]],
    hosts: dict[str, Iterable[str]],
    settings: dict[str, object],
) -> Path:
    reached = {"ports": [up.port], "credential": demo_rules.from_env("API_TOKEN")}
    demo_rules.write_rules(
        directory / "rules",
        agents=agents,
        services=[demo_rules.service("api", "api.test", **reached), *services],
        policies=[
            demo_rules.permit(f"{on}-{number}", who=str(each["id"]), actions=("read", "write"), on=on)
            for number, each in enumerate(agents)
            for on in ("api", *(str(service["name"]) for service in services))
        ],
    )
    up.write_ca(directory / "roots")
    return demo_rules.write_config(
        directory / "gatepass.yaml",
        state=directory / "state",
        rules=directory / "rules",
        roots=directory / "roots",
        hosts={"api.test": ["127.0.0.1"], **hosts},
        private=[("api.test", up.port), *private],
        **settings,
    )


async def refuses_to_start(config: Path, directory: Path) -> str:
    """What a sidecar says that does not start."""
    done = await gatepass("serve", "--config", config, "--json", home=directory / "sidecar", API_TOKEN=SECRET)
    assert (done.status, done.stdout) == (2, ""), done
    return done.stderr


def told(answer: Response | Answered) -> Mapping[str, Any]:
    """The problem document in an answer."""
    body = answer.body if isinstance(answer, Answered) else answer.body.decode()
    found: Mapping[str, Any] = json.loads(body)
    return found
