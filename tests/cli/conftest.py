"""The real command in a process of its own, with a clean environment and a state directory of the test's."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


class Gatepass:
    """``await gatepass("run", "--", ...)``; ``state`` is its state directory, ``cwd`` where it runs."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.cwd = directory
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "GATEPASS_STATE": str(self.state),
        }

    async def start(self, *words: object, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", *map(str, words)),
            cwd=self.cwd,
            env=self.environment | environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def end(self, process: asyncio.subprocess.Process) -> Done:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return Done(process.returncode, out.decode(), err.decode())

    async def __call__(self, *words: object, **environment: str) -> Done:
        return await self.end(await self.start(*words, **environment))


@pytest.fixture
def gatepass(tmp_path):
    return Gatepass(tmp_path)
