"""gatepass in front of servers that other projects wrote, with services and rules of the test's own choosing.

``tester`` holds a placeholder for every credential that the services name; its programs get what
``task start`` prints.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.audit.record import Record
from tests.support import demo_rules
from tests.support.asgi import Arrived, AsgiUpstream
from tests.support.demo_rules import Entry
from tests.system.deployed import Deployed, any_file_holds, start_task, verified
from tests.system.process import Finished, Sidecar, gatepass


@dataclass
class Spoken(Deployed):
    """A running sidecar, its upstream, and what the agent was given. ``secrets`` are real credentials."""

    up: AsgiUpstream = field(kw_only=True)
    secrets: Mapping[str, str] = field(kw_only=True)

    def at(self, path: str = "", host: str = "") -> str:
        """A URL of the upstream, by its first name unless told otherwise."""
        return self.url(path, host or self.up.hosts[0])

    async def program(self, script: str, *arguments: str, **env: str) -> Any:
        """What a Python program of the agent prints last, as JSON."""
        done = await self.agent(sys.executable, "-c", script, *arguments, **env)
        return done.json()

    @property
    def arrived(self) -> list[Arrived]:
        """What reached the server, in order."""
        return self.up.arrived

    async def decided(self) -> list[Record]:
        """The decisions, once every allowed call has its outcome."""
        return await self.settled()

    def outcome(self, decision: Record) -> Mapping[str, Any]:
        """How an allowed call ended."""
        (found,) = (one for one in self.records if one.kind == "outcome" and one.decision_id == decision.id)
        return found.raw["what"]

    async def refused(self) -> list[Record]:
        """The refusals; and whatever was allowed, and nothing else, reached the server."""
        decisions = await self.decided()
        allowed = [(one.method, one.path) for one in decisions if one.effect == "allow"]
        assert sorted(allowed) == sorted((one.method, one.path) for one in self.arrived)
        return [one for one in decisions if one.effect != "allow"]

    async def waiting(self) -> Mapping[str, Any]:
        """The one call that waits for a person, once there is one."""
        async with asyncio.timeout(30):
            while True:
                done = await self._approvals("list")
                if done.stdout:
                    return done.json()

    async def answer(self, word: str, *options: str) -> Mapping[str, Any]:
        """``gatepass approvals approve`` or ``deny`` for the one call that waits; what was asked."""
        asked = await self.waiting()
        done = await self._approvals(word, str(asked["id"]), *options)
        assert done.status == 0, done
        return asked

    async def _approvals(self, *arguments: str) -> Finished:
        told = ("approvals", *arguments, "--config", self.config, "--json")
        return await gatepass(*told, home=self.directory / "person")


@contextlib.asynccontextmanager
async def spoken(
    directory: Path,
    upstream: AsgiUpstream,
    services: Iterable[Entry],
    policies: Iterable[str],
    secrets: Mapping[str, str] | None = None,
    **settings: object,
) -> AsyncIterator[Spoken]:
    """A deployment; on the way out the sidecar must stop with exit status 0 and leave a log that holds."""
    async with upstream as up:
        secrets = secrets or {}
        demo_rules.write_rules(
            directory / "rules",
            services=[{**one, "ports": [up.port]} for one in services],
            policies=policies,
        )
        up.write_ca(directory / "roots")
        config = demo_rules.write_config(
            directory / "gatepass.yaml",
            state=directory / "state",
            rules=directory / "rules",
            roots=directory / "roots",
            hosts={name: ["127.0.0.1"] for name in up.hosts},
            private=[(name, up.port) for name in up.hosts],
            **settings,
        )
        sidecar = await Sidecar.start(config, home=directory / "sidecar", **secrets)
        w = Spoken(directory, config, up, sidecar, "", {}, up=up, secrets=secrets)
        try:
            w.task, w.variables = await start_task(config, sidecar, w.home)
            yield w
        finally:
            status = await sidecar.stop()
        assert status == 0, sidecar.stderr
        assert verified(w.log).unsigned == 0
        for secret in secrets.values():
            assert not any_file_holds(directory / "state", secret)
            assert secret not in sidecar.stderr
