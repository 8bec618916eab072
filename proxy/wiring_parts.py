"""Small parts that only wiring hands out: clocks, randomness, upstream TLS, the log's name and key."""

import hmac
import os
import socket
import ssl
import time
from pathlib import Path

from orjson import Fragment

from proxy.audit.canonical import Json
from proxy.identity.principal import Task
from proxy.identity.task import manifest_bytes, manifest_of
from proxy.settings import Settings
from proxy.store.keyring import Keyring

MAIN_LOG = "log"


class SystemClock:
    """The machine's clocks, as ``ports.Clock``."""

    def wall_ns(self) -> int:
        """POSIX time in nanoseconds."""
        return time.time_ns()

    def mono_ns(self) -> int:
        """Monotonic time in nanoseconds."""
        return time.monotonic_ns()


class Entropy:
    """The system's randomness, fetched in pages: a system call for each record id would be felt."""

    def __init__(self) -> None:
        self._page = b""
        self._at = 0

    def __call__(self, octets: int) -> bytes:
        """That many random octets, each given out once."""
        if self._at + octets > len(self._page):
            self._page, self._at = os.urandom(max(4096, octets)), 0
        self._at += octets
        return self._page[self._at - octets : self._at]


def upstream_context(roots: Path | None) -> ssl.SSLContext:
    """TLS towards the APIs: the system's roots and every ``*.pem`` in ``roots``; 1.2 or newer, http/1.1.

    :raises ssl.SSLError: a file in ``roots`` is not a certificate. :raises OSError: it cannot be read.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if roots is not None:
        for path in sorted(roots.glob("*.pem")):
            context.load_verify_locations(path)
    return context


def log_origin(settings: Settings, log_name: str = MAIN_LOG) -> str:
    """The log's name in checkpoints: as configured, else this machine's; and which of its logs.

    Two logs never share a name: each has a key of its own (c2sp.org/tlog-checkpoint).
    """
    name = settings.log.origin or f"gatepass/{socket.gethostname()}"
    return name if log_name == MAIN_LOG else f"{name}/{log_name}"


def log_seed(keyring: Keyring, log_name: str) -> bytes:
    """Every log of a state directory has its own key, derived from the one seed."""
    return (
        keyring.log_seed
        if log_name == MAIN_LOG
        else hmac.digest(keyring.log_seed, log_name.encode(), "sha256")
    )


def task_event(task: Task, by: str, detail: str) -> dict[str, Json]:
    """What the log says of a task that starts or ends: ``by`` whom, and in words.

    With the manifest, which is canonical JSON as the record is, whoever has the log can check the digests
    that decisions give for the grants of their chain.
    """
    return {
        "task": task.id,
        "agent": task.agent,
        "purpose": task.purpose,
        "scopes": list(task.scopes),
        "services": None if task.services is None else list(task.services),
        "budgets": {"requests": task.budgets.requests, "octets": task.budgets.octets},
        "environment": task.environment,
        "on_behalf_of": task.on_behalf_of,
        "ticket": task.ticket,
        "approver": task.approver,
        "parent": task.parent,
        "depth": task.depth,
        "expires_at": task.expires_at,
        "manifest": Fragment(manifest_bytes(manifest_of(task))),
        "manifest_sha256": task.manifest_sha256,
        "state": task.state.value,
        "by": by,
        "detail": detail,
    }
