"""What ``serve`` and ``run`` have in common: from a configuration to a running sidecar."""

import asyncio
import gc
import os
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

from proxy.broker.workload_proto import WorkloadApiMissing
from proxy.cli.config import Config, missing, where
from proxy.cli.ending import stop, stop_for, tell
from proxy.cli.rules import source_of
from proxy.cli.seal import seal
from proxy.identity.arrival import Fixed
from proxy.problems import Problem
from proxy.settings import Listen
from proxy.store.approvals import ApprovalStoreError
from proxy.store.keyring import Keyring, KeyringError, system_roots
from proxy.store.log import LogCorrupt, LogInUse
from proxy.store.tasks import TaskStoreError
from proxy.wiring import Rules, Sidecar, load
from proxy.wiring_rules import Files, Source, read
from proxy.wiring_tasks import Office

_STORES = (TaskStoreError, ApprovalStoreError)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that can be wrong before a socket is opened has been checked."""

    config: Config
    rules: Rules
    source: Source | None
    keyring: Keyring


def prepare(config: Config, *, observe: bool) -> Prepared:
    """Read the rules and open the keys. ``observe`` decides what no rules mean; exits 2 on any problem.

    From here on there are secrets in memory, so the process is sealed.
    """
    seal()
    gone = missing(config)
    if gone is not None:
        stop_for([gone])
    source = source_of(config)
    if isinstance(source, Problem):
        stop_for([source])
    files = None if source is None else _read_rules(source)
    if (files is None or not files.any) and not observe:
        stop(
            "there are no rules, so everything would be refused; "
            "`gatepass init` writes some, --observe only records"
        )
    rules = load(files.rules, files.signed) if files is not None and files.any else load(None)
    if isinstance(rules, list):
        stop_for(rules)
    try:
        keyring = Keyring.open(config.state)
        keyring.bundle(system_roots())
    except (KeyringError, OSError) as error:
        stop(f"the keys under {config.state} cannot be used: {error}")
    return Prepared(config, rules, source, keyring)


def _read_rules(source: Source) -> Files:
    try:
        files = read(source)
    except OSError as error:
        stop(f"{error.filename} cannot be read: {error.strerror}")
    if isinstance(files, list):
        stop_for(files)
    return files


def office(prepared: Prepared) -> Office:
    """Where tasks are started."""
    rules, depth = prepared.rules, prepared.config.settings.identity.delegation_depth
    return Office(prepared.keyring, rules.registry, rules.services, os.urandom, depth)


async def start(
    prepared: Prepared, listen: tuple[Listen, ...], fixed: dict[str, Fixed], log_name: str = "log"
) -> Sidecar:
    """Start the sidecar; exits 2 in one line if it cannot."""
    config = prepared.config
    settings = config.settings.model_copy(update={"listen": listen})
    if settings.identity.workload_api is not None:
        # gRPC reads it as it is imported, with the first use, and else tells people of every reconnection.
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        sidecar = await Sidecar.start(
            settings,
            prepared.rules,
            state=config.state,
            roots=config.roots,
            keyring=prepared.keyring,
            environment=os.environ,
            alarm=tell,
            fixed=fixed,
            log_name=log_name,
            source=prepared.source,
        )
    except LogInUse:
        raise
    except LogCorrupt as error:
        stop(f"the log under {config.state / log_name} is damaged: {error}; `gatepass log verify` says where")
    except (
        TaskStoreError,
        ApprovalStoreError,
        KeyringError,
        ssl.SSLError,
        ValueError,
        WorkloadApiMissing,
    ) as error:
        stop(str(error))
    except OSError as error:
        if error.filename is not None:
            stop(f"cannot start: {error.filename}: {error.strerror}")
        places = ", ".join(where(listener) for listener in listen)
        stop(f"cannot start on {places}: {error.strerror or error}; choose another address with --listen")
    _settle_memory()
    return sidecar


def _settle_memory() -> None:
    """What was made at start stays for good: the collector need not look at it again with every call."""
    gc.collect()
    gc.freeze()


def run_loop(main: Callable[[], Coroutine[None, None, int]]) -> int:
    """Run the event loop (uvloop where there is one)."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform

        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    except ImportError:
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


def tasks_path(state: Path) -> Path:
    """Where the tasks are kept."""
    return state / "tasks.sqlite3"
