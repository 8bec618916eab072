"""Where the parts meet: from settings, rules and a state directory to a running sidecar.

The only module besides ``cli`` (and the other ``wiring_*``) that may import every part. It adds no
behaviour of its own; what it decides is which part gets which other one.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from proxy.audit.canonical import Json
from proxy.audit.record import parse, ulid
from proxy.audit.trace import unfinished
from proxy.engine.scribe import Scribe
from proxy.engine.server import Server
from proxy.identity.arrival import Fixed
from proxy.ports import Resolver
from proxy.settings import Settings
from proxy.store import bundles
from proxy.store.keyring import Keyring
from proxy.store.log import TiledLog
from proxy.store.reader import since_boot
from proxy.store.tasks import TaskBook
from proxy.wiring_approvals import APPROVALS, ApprovalBook
from proxy.wiring_assembly import TASKS, Given, Parts, assemble
from proxy.wiring_budget import recount
from proxy.wiring_parts import (
    MAIN_LOG,
    Entropy,
    SystemClock,
    log_origin,
    log_seed,
    task_event,
    upstream_context,
)
from proxy.wiring_reload import load_event
from proxy.wiring_rules import Rules, Source, load
from proxy.wiring_service_budget import recount_services

__all__ = ["MAIN_LOG", "TASKS", "Rules", "Sidecar", "load", "log_origin", "task_event"]


class Sidecar:
    """A running sidecar. Made by ``start``, ended by ``drain``."""

    def __init__(self, parts: Parts, log: TiledLog, settings: Settings) -> None:
        self.parts = parts
        self.log = log
        self._settings = settings

    @property
    def server(self) -> Server:
        """The data plane."""
        return self.parts.server

    @property
    def book(self) -> TaskBook:
        """The tasks and orders."""
        return self.parts.book

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens for TCP."""
        return self.server.addresses

    @property
    def control_port(self) -> int | None:
        """The port of the control API, if there is one."""
        return None if self.parts.control is None else self.parts.control.port

    def note(self, kind: str, body: dict[str, Json]) -> None:
        """Record an event, without waiting for the disk."""
        self.parts.scribe.note(kind, body)

    @classmethod
    async def start(
        cls,
        settings: Settings,
        rules: Rules,
        *,
        state: Path,
        keyring: Keyring,
        environment: Mapping[str, str],
        alarm: Callable[[str], None],
        roots: Path | None = None,
        fixed: Mapping[str, Fixed] | None = None,
        log_name: str = MAIN_LOG,
        resolver: Resolver | None = None,
        source: Source | None = None,
    ) -> "Sidecar":
        """Open the log, recover, load the tasks, listen.

        ``roots`` is a directory of extra roots for upstream TLS; ``fixed`` maps agents to the standing task
        they have when they name none; ``log_name`` is the log's directory under ``state``. The main log tells
        of what happened to tasks and orders while nothing ran; another one does not. ``source`` is where the
        rules came from: there they are followed.

        :raises LogInUse: another sidecar uses this state directory. :raises LogCorrupt: see ``TiledLog``.
        :raises OSError: an address cannot be bound, or a file cannot be read or written.
        :raises ValueError: a file does not hold what it should; the words say which.
        :raises TaskStoreError: the tasks cannot be read.
        """
        clock, entropy = SystemClock(), Entropy()
        origin, context = log_origin(settings, log_name), upstream_context(roots)
        boot = ulid(time.time_ns(), entropy(10))
        log, lost = _open_log(settings, rules, state, log_name, origin, log_seed(keyring, log_name))
        try:
            if rules.ruleset is not None:
                bundles.keep(state / log_name, rules.ruleset.sha256, rules.ruleset.bundle)
            book = await TaskBook.open(state / TASKS, now=time.time, boot=boot)
        except BaseException:
            log.close()  # else the next start takes this one for a crash
            raise
        try:
            approvals = await ApprovalBook.open(
                state / APPROVALS, settings.approvals, now=time.time, alarm=alarm
            )
        except BaseException:
            await book.close()
            log.close()
            raise
        mark = log_name if log_name == MAIN_LOG else None
        given = Given(
            settings, rules, state, keyring, environment, alarm, context, fixed or {}, resolver, mark,
            state / log_name, source,
        )  # fmt: skip
        scribe = Scribe(log=log, clock=clock, entropy=entropy, origin=origin, boot=boot, alarm=alarm)
        try:
            sidecar = cls(assemble(given, clock, scribe, book, approvals), log, settings)
        except BaseException:
            await approvals.close()
            await book.close()
            log.close()
            raise
        try:
            sidecar._announce(scribe, rules, lost)
            await sidecar.parts.start()
        except BaseException:
            await sidecar.drain(0)
            raise
        return sidecar

    def _announce(self, scribe: Scribe, rules: Rules, lost: list[str]) -> None:
        recovery = self.log.recovered
        for decision_id in lost:  # before ``boot``: whoever looks for them starts at the last one
            scribe.note("outcome.unknown", {"decision_id": decision_id})
        scribe.note("boot", {"unclean": recovery.unclean, "dropped_bytes": recovery.dropped_bytes})
        scribe.note("rules.load", load_event(rules))

    async def drain(self, seconds: float | None = None) -> None:
        """Stop: no new connections, running exchanges finish up to a deadline, the log is checkpointed."""
        await self.parts.stop(self._settings.drain if seconds is None else seconds)
        await self.book.close()
        await asyncio.to_thread(self.log.close)


def _open_log(
    settings: Settings, rules: Rules, state: Path, log_name: str, origin: str, seed: bytes
) -> tuple[TiledLog, list[str]]:
    """The log, started, and the decisions whose outcome was lost in a crash.

    After a crash what tasks had used is recounted from the log, before anybody can use more.
    """
    directory = state / log_name
    log = TiledLog.open(
        directory, origin=origin, signer_seed=seed, checkpoint_every=settings.log.checkpoint_every
    )
    try:
        lost: list[str] = []
        if log.recovered.unclean:
            lost = unfinished(since_boot(directory))
            recount(state / TASKS, (parse(entry) for entry in since_boot(directory)))
            recount_services(state / TASKS, (parse(entry) for entry in since_boot(directory)), rules.services)
    except BaseException:
        log.close()
        raise
    log.start()
    return log, lost
