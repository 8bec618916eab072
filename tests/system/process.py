"""Programs as processes of their own, bounded in time: clients that run to their end, and the sidecar."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
GATEPASS = (sys.executable, "-m", "proxy")
_INHERITED = ("PATH", "LANG", "TMPDIR", "JAVA_HOME")


def environment(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """What a process is told: what finds programs, a home of its own, what is ``given``, and nothing else."""
    home.mkdir(parents=True, exist_ok=True)
    told = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return told | {"HOME": str(home)} | dict(given)


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that has come to its end."""

    status: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        """Everything that it printed."""
        return self.stdout + self.stderr

    def json(self) -> dict[str, object]:
        """The last line of its output."""
        assert self.status == 0, self
        return json.loads(self.stdout.splitlines()[-1])


async def run(*argv: str | Path, env: Mapping[str, str], cwd: Path, within: float = WAIT_S) -> Finished:
    """Run a program to its end; whatever it started is killed after ``within`` seconds."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *map(str, argv),
        env=dict(env),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(within):
            out, err = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()
        raise
    assert process.returncode is not None, "it has ended"
    return Finished(process.returncode, out.decode(), err.decode())


async def gatepass(*arguments: str | Path, home: Path, within: float = WAIT_S, **env: str) -> Finished:
    """One verb of the command line."""
    told = environment(home, {"PYTHONPATH": str(ROOT), **env})
    return await run(*GATEPASS, *arguments, env=told, cwd=home, within=within)


class Sidecar:
    """``gatepass serve``: one process, from its first line of output to its exit status."""

    def __init__(self, process: asyncio.subprocess.Process, announced: Mapping[str, Any]) -> None:
        self.process = process
        self.places: list[str] = announced["listening"]
        self.control: Mapping[str, str] | None = announced.get("control")
        self._stderr = bytearray()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens for TCP, TLS or not."""
        tcp = [place.removeprefix("https://") for place in self.places if not place.startswith("unix:")]
        return [(host, int(port)) for host, _, port in (place.rpartition(":") for place in tcp)]

    @property
    def address(self) -> tuple[str, int]:
        """The first of those."""
        return self.addresses[0]

    @property
    def stderr(self) -> str:
        """What it has told people so far, as far as anybody waited for it."""
        return self._stderr.decode()

    @classmethod
    async def start(cls, config: Path, *, home: Path, **env: str) -> Self:
        """Start it, and wait until it listens."""
        process = await asyncio.create_subprocess_exec(
            *GATEPASS,
            "serve",
            "--config",
            str(config),
            "--json",
            env=environment(home, {"PYTHONPATH": str(ROOT), **env}),
            cwd=home,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(WAIT_S):
                line = await process.stdout.readline()
        except BaseException:
            process.kill()
            await process.communicate()
            raise
        if not line:
            _, err = await process.communicate()
            raise AssertionError(f"gatepass serve did not start: {err.decode()}")
        return cls(process, json.loads(line))

    async def until_said(self, words: str) -> None:
        """Wait until it has told people this."""
        assert self.process.stderr is not None
        async with asyncio.timeout(WAIT_S):
            while words not in self.stderr:
                line = await self.process.stderr.readline()
                assert line, f"it ended without saying {words!r}: {self.stderr}"
                self._stderr += line

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; its exit status (negative: the signal that ended it)."""
        try:
            async with asyncio.timeout(WAIT_S):
                _, err = await self.process.communicate()
        except BaseException:
            self.process.kill()
            await self.process.communicate()
            raise
        self._stderr += err
        assert self.process.returncode is not None, "it has ended"
        return self.process.returncode

    async def stop(self) -> int:
        """SIGTERM, and its exit status."""
        self.signal(signal.SIGTERM)
        return await self.ended()


async def until(condition: Callable[[], bool], within: float = 20) -> None:
    """Wait until what another process writes to disk is there."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)
