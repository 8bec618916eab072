"""Static credentials: from an environment variable of the sidecar, or from a file it can read.

A variable is read once, at start. A file is looked at off the event loop, at most every ``LOOK_NS``, and
read again when it changed, because Kubernetes and secret stores rotate credentials by replacing files.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from proxy.credential.binding import Binding
from proxy.credential.secret import Secret
from proxy.errors import Code, Refusal
from proxy.identity.principal import Task

MAX_OCTETS = 65_536
LOOK_NS = 1_000_000_000  # a hop to a thread and back costs more than deciding a call


class Stamp(NamedTuple):
    """What changes when a file does: times in nanoseconds, size in octets, and the file itself."""

    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int


ReadFile = Callable[[str, Stamp | None], tuple[Stamp, bytes] | None]


def read_if_changed(path: str, known: Stamp | None) -> tuple[Stamp, bytes] | None:
    """The content of a file and its stamp; None if its stamp is ``known``. Reads MAX_OCTETS + 1 at most.

    :raises OSError: if it cannot be read.
    """
    with Path(path).open("rb") as file:
        status = os.fstat(file.fileno())
        stamp = Stamp(status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        return None if stamp == known else (stamp, file.read(MAX_OCTETS + 1))


class StaticBroker:
    """The providers ``env`` and ``file``. Implements ``ports.Credentials``."""

    def __init__(
        self,
        environment: Mapping[str, str],
        read_file: ReadFile = read_if_changed,
        *,
        mono_ns: Callable[[], int],
    ) -> None:
        """``mono_ns`` is a monotonic clock in nanoseconds."""
        self._environment = {name: Secret.of(name, os.fsencode(value)) for name, value in environment.items()}
        self._read_file = read_file
        self._mono_ns = mono_ns
        self._files: dict[str, tuple[Stamp, Secret | Refusal]] = {}
        self._looked: dict[str, int] = {}

    async def fetch(
        self,
        binding: Binding,
        task: Task,  # noqa: ARG002 - the port's; a static credential is the same for every task
    ) -> Secret | Refusal:
        """The credential of this binding; CREDENTIAL_UNAVAILABLE names the variable or file."""
        if binding.provider == "env":
            missing = Refusal(
                Code.CREDENTIAL_UNAVAILABLE,
                f"the environment variable {binding.name} of {binding.service} is not set for gatepass",
            )
            return self._environment.get(binding.name, missing)
        known, now = self._files.get(binding.name), self._mono_ns()
        if known is not None and now - self._looked[binding.name] < LOOK_NS:
            return known[1]
        try:
            read = await asyncio.to_thread(self._read_file, binding.name, known[0] if known else None)
        except OSError as error:
            self._files.pop(binding.name, None)
            return Refusal(
                Code.CREDENTIAL_UNAVAILABLE,
                f"{binding.name}, the file of {binding.service}, cannot be read: {error.strerror}",
            )
        self._looked[binding.name] = now
        if read is None:
            assert known is not None, "a file that was not known cannot be unchanged"
            return known[1]
        stamp, content = read
        secret = _secret(binding.name, content)
        self._files[binding.name] = stamp, secret
        return secret

    async def release(self, task: Task) -> int:  # noqa: ARG002 - the port's; nothing was issued for the task
        """Nothing to revoke: a static credential was not issued for the task and outlives it."""
        return 0


def _secret(path: str, content: bytes) -> Secret | Refusal:
    if len(content) > MAX_OCTETS:
        return Refusal(Code.CREDENTIAL_UNAVAILABLE, f"the file {path} is larger than {MAX_OCTETS} octets")
    return Secret.of(path, content.removesuffix(b"\n").removesuffix(b"\r"))
