"""gatepass deployed as people deploy it, in front of a real API: one process, one task, one agent.

``tester`` may read and write at ``api.test`` and holds a placeholder for its credential;
``closed.test`` is a service of the same upstream that a rule forbids. The agent's programs get the
variables that ``task start`` prints, and nothing else that tells them of a proxy or a CA.
"""

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.audit.note import Vkey
from proxy.audit.record import Record, parse
from proxy.audit.verify import Verified, verify
from proxy.store.reader import entries
from proxy.store.tiles import VKEY, Tiles
from tests.support import demo_rules
from tests.support.demo_rules import Entry
from tests.support.upstream import Upstream
from tests.system.process import Finished, Sidecar, environment, gatepass, run, until

SECRET = "sk-live-0123456789abcdef"
CLOSED = "closed-to-tests"


@dataclass
class Deployed:
    """A running sidecar, its upstream, and what the agent was given."""

    directory: Path
    config: Path
    upstream: Upstream
    sidecar: Sidecar
    task: str
    variables: Mapping[str, str]

    @property
    def home(self) -> Path:
        return self.directory / "home"

    @property
    def log(self) -> Path:
        return self.directory / "state" / "log"

    @property
    def placeholder(self) -> str:
        return self.variables["API_TOKEN"]

    def url(self, path: str = "/", host: str = "api.test") -> str:
        return f"https://{host}:{self.upstream.port}{path}"

    async def agent(self, *argv: str | Path, cwd: Path | None = None, **env: str) -> Finished:
        """A program of the agent, with the agent's environment."""
        told = environment(self.home, {**self.variables, **env})
        return await run(*argv, env=told, cwd=cwd or self.home)

    async def restart(self) -> None:
        """Stop the sidecar, and start another one on the same state (and on another port)."""
        await self.sidecar.stop()
        self.sidecar = await launch(self.config, self.directory)

    @property
    def records(self) -> list[Record]:
        return read_log(self.log)

    async def settled(self) -> list[Record]:
        """The decisions on record, once every allowed call has its outcome there."""

        def is_settled() -> bool:
            records = self.records
            allowed = {record.id for record in records if record.effect == "allow"}
            return allowed <= {record.decision_id for record in records if record.kind == "outcome"}

        await until(is_settled)
        return [record for record in self.records if record.kind == "decision"]

    async def governed(self) -> list[Record]:
        """Every call that reached the API was allowed exactly once, to this agent and task; the refusals."""
        decisions = await self.settled()
        assert {(record.agent, record.task) for record in decisions} == {("tester", self.task)}
        allowed = Counter((each.method, each.host, each.path) for each in decisions if each.effect == "allow")
        assert allowed == Counter(map(_arrived, self.upstream.requests))
        return [record for record in decisions if record.effect != "allow"]

    async def refused_once(self, rule: str = CLOSED) -> Record:
        """As ``governed``, and exactly one call was refused, by this rule."""
        refusals = await self.governed()
        assert [(each.code, each.rule) for each in refusals] == [("policy_deny", rule)], refusals
        return refusals[0]


def _arrived(received) -> tuple[str, str, str]:
    host = (received.head.get("host") or b"").decode().partition(":")[0]
    return received.method, host, received.path


def read_log(log: Path) -> list[Record]:
    """Every record of a log."""
    return [parse(entry) for entry in entries(log)]


def verified(log: Path) -> Verified:
    """What verification says, which must be that it holds."""
    tiles = Tiles(log)
    result = verify(tiles, Vkey.parse((tiles.read(VKEY) or b"").decode().strip()))
    assert isinstance(result, Verified), result
    return result


def is_refusal(told: Mapping[str, object], rule: str = CLOSED) -> bool:
    """Whether a client shows the problem that gatepass answered with."""
    return told["code"] == "policy_deny" and told["rule"] == rule and bool(told["record"])


def configure(
    directory: Path, upstream: Upstream, *, place: Mapping[str, Entry] | None = None, **settings: object
) -> Path:
    """Rules, roots and ``gatepass.yaml`` for a sidecar in front of ``upstream``; ``place`` as ``from_env`` has it."""
    reached: dict[str, list[str] | list[int]] = {
        "ports": [upstream.port],
        "schemes": ["https" if upstream.tls else "http"],
    }
    credential = demo_rules.from_env("API_TOKEN", **(place or {}))
    demo_rules.write_rules(
        directory / "rules",
        services=[
            demo_rules.service("api", "api.test", credential=credential, **reached),
            demo_rules.service("closed", "closed.test", **reached),
        ],
        policies=[
            demo_rules.permit("tester-uses-api", actions=("read", "write")),
            demo_rules.forbid(CLOSED, actions=("read", "write", "delete"), on="closed"),
        ],
    )
    upstream.write_ca(directory / "roots")
    return demo_rules.write_config(
        directory / "gatepass.yaml",
        state=directory / "state",
        rules=directory / "rules",
        roots=directory / "roots",
        hosts={name: ["127.0.0.1"] for name in upstream.hosts},
        private=[(name, upstream.port) for name in upstream.hosts],
        **settings,
    )


async def launch(config: Path, directory: Path) -> Sidecar:
    """A sidecar that has the API's credential in its environment."""
    return await Sidecar.start(config, home=directory / "sidecar", API_TOKEN=SECRET)


async def start_task(config: Path, sidecar: Sidecar, home: Path) -> tuple[str, dict[str, str]]:
    """``gatepass task start``: the task's id, and the variables of its agent."""
    address = "{}:{}".format(*sidecar.address)
    done = await gatepass(
        "task", "start", "--config", config, "--agent", "tester", "--proxy", address, "--json", home=home
    )
    told = done.json()
    variables = told["variables"]
    assert isinstance(variables, dict), told
    return str(told["task"]), variables


@contextlib.asynccontextmanager
async def deployed(
    directory: Path,
    upstream: Upstream | None = None,
    *,
    place: Mapping[str, Entry] | None = None,
    **settings: object,
) -> AsyncIterator[Deployed]:
    """A deployment; on the way out the sidecar must stop with exit status 0 and leave a log that holds.

    ``place`` says where the API's credential stands, ``settings`` are further ones of ``gatepass.yaml``.
    """
    async with upstream or Upstream("api.test", "closed.test") as up:
        config = configure(directory, up, place=place, **settings)
        running = Deployed(directory, config, up, await launch(config, directory), "", {})
        try:
            running.task, running.variables = await start_task(config, running.sidecar, running.home)
            yield running
        finally:
            status = await running.sidecar.stop()
        assert status == 0, running.sidecar.stderr
        assert verified(running.log).unsigned == 0
        assert not any_file_holds(directory / "state", SECRET)
        assert SECRET not in running.sidecar.stderr


def any_file_holds(directory: Path, text: str) -> bool:
    """Whether the text stands in any file below."""
    return any(text.encode() in path.read_bytes() for path in directory.rglob("*") if path.is_file())


def seen(upstream: Upstream, path: str) -> list[Mapping[str, str]]:
    """The headers of the requests for a path, as the API got them; names in lower case."""
    return [
        {name.decode().lower(): value.decode("latin-1") for name, value in received.headers}
        for received in upstream.requests
        if received.path == path
    ]


def problem(text: str) -> dict[str, object]:
    """The problem document that a client printed."""
    told = json.loads(text)
    assert isinstance(told, dict), text
    return told
