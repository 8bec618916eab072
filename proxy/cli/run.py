"""``gatepass run``: one program under one task, with a sidecar of its own for as long as it runs.

(1) the command, the rules, the keys and the task are in order, or nothing starts; (2) the sidecar listens
on a free loopback port; (3) the program runs; (4) the task ends; (5) the sidecar drains and its log is
closed; (6) what the log says is summed up. What the program prints stays alone on standard output.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from proxy.audit.record import Record, parse
from proxy.cli import asking
from proxy.cli.child import child_environment, run_child, unusable
from proxy.cli.config import load_config
from proxy.cli.ending import stop, stop_for, tell
from proxy.cli.environment import variables
from proxy.cli.rows import as_json, harmless
from proxy.cli.serving import Prepared, office, prepare, run_loop, start, tasks_path
from proxy.cli.state import state_dir
from proxy.cli.summary import Summary, format_time, print_aside, summarise, table
from proxy.control.operations import TaskAsked
from proxy.identity.principal import Task, TaskState
from proxy.policy.catalogue import Service
from proxy.problems import Problem
from proxy.settings import ControlSettings, IdentitySettings, Listen, Settings
from proxy.store.keyring import KeyringError
from proxy.store.log import LogInUse
from proxy.store.reader import since_boot
from proxy.store.tasks import TaskOverError, TaskStore, TaskStoreError
from proxy.store.truststore import java_truststore
from proxy.wiring import MAIN_LOG, Sidecar, task_event
from proxy.wiring_tasks import Started, start_task

_DRAIN_S = 2.0
_MOST_LOGS = 64
_ANYWHERE = (Listen(address="127.0.0.1:0"),)
_BANNER = (
    "OBSERVING ONLY: there are no rules.",
    "Every call is allowed and recorded, but to private and metadata addresses.",
    "The program keeps whatever credentials it has. `gatepass init` writes rules.",
)


@dataclass(slots=True)
class Ended:
    """How it ended: the program's exit status, and the directory of the log that tells of it."""

    status: int
    log: Path


def run(
    command: Annotated[list[str], typer.Argument(metavar="CMD...", help="The program and its arguments.")],
    *,
    agent: asking.Agent = None,
    purpose: asking.Purpose = "",
    ttl: asking.Ttl = "1h",
    scope: asking.Scopes = None,
    service: asking.Services = None,
    on_behalf_of: asking.OnBehalfOf = None,
    ticket: asking.Ticket = None,
    approver: asking.Approver = None,
    max_requests: asking.MaxRequests = None,
    max_octets: asking.MaxOctets = None,
    depth: asking.Depth = None,
    config: Annotated[Path | None, typer.Option(help="The configuration; default ./gatepass.yaml.")] = None,
    state: Annotated[Path | None, typer.Option(help="Directory of keys, tasks and log.")] = None,
    rules: Annotated[Path | None, typer.Option(help="Directory of the rules.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Run a program so that each of its calls passes gatepass; sum them up on standard error at its end.

    Exits with the program's status. Without rules it only observes. The control API and identities of
    foreign issuers are for `gatepass serve` alone.

    Example: gatepass run --agent coder --purpose 'fix issue 7' -- python agent.py
    """
    asked = asking.ask(
        agent=agent,
        purpose=purpose,
        ttl=ttl,
        scope=scope,
        service=service,
        on_behalf_of=on_behalf_of,
        ticket=ticket,
        approver=approver,
        max_requests=max_requests,
        max_octets=max_octets,
        depth=depth,
    )
    reason = unusable(command, os.environ)
    if reason is not None:
        stop(*reason)
    loaded = load_config(config, state=state, rules=rules)
    if isinstance(loaded, list):
        stop_for(loaded)
    prepared = prepare(replace(loaded, settings=_alone(loaded.settings)), observe=True)
    began = time.monotonic()
    started, ended = _govern(prepared, asked, command)
    elapsed = int((time.monotonic() - began) * 1_000_000)
    with contextlib.suppress(OSError):  # a terminal that has gone must not change the program's status
        _report(prepared, started.task, ended, elapsed, json=json)
    sys.exit(ended.status)


def _alone(settings: Settings) -> Settings:
    """The settings without what is not for one program: others' identities, and operators, have ``serve``."""
    own = IdentitySettings(
        revocations=settings.identity.revocations, delegation_depth=settings.identity.delegation_depth
    )
    return settings.model_copy(update={"identity": own, "control": ControlSettings()})


def _govern(prepared: Prepared, asked: TaskAsked, command: Sequence[str]) -> tuple[Started, Ended]:
    """Start the task, run the program, and end the task whatever happens."""
    services = prepared.rules.ruleset.catalogue.services if prepared.rules.ruleset else ()
    try:
        with TaskStore.open(tasks_path(prepared.config.state)) as store:
            started = _begin(store, prepared, asked)
            ended = Ended(0, prepared.config.state)
            try:
                if prepared.rules.ruleset is None:
                    _warn()
                run_loop(lambda: _run(prepared, started, services, command, ended))
            finally:
                store.end(started.task.id, "gatepass run ended", int(time.time()), by="cli")
    except (TaskStoreError, KeyringError) as error:
        stop(str(error))
    return started, ended


def _begin(store: TaskStore, prepared: Prepared, asked: TaskAsked) -> Started:
    try:
        started = start_task(store, office(prepared), asked, int(time.time()))
    except TaskOverError as error:
        asking.stop_for_order(error)
    if isinstance(started, Problem):
        stop_for([started])
    return started


async def _run(
    prepared: Prepared, started: Started, services: Sequence[Service], command: Sequence[str], ended: Ended
) -> int:
    ended.log, sidecar = await _start(prepared)
    task = started.task
    sidecar.book.on_end(lambda over: _tell_expiry(over, task))
    if ended.log.name != MAIN_LOG:  # the main one tells by itself of what is older than its sidecar
        sidecar.note("task.open", task_event(task, "cli", task.purpose))
    try:
        host, port = sidecar.addresses[0]
        bundle = prepared.keyring.bundle_path
        exports = variables(
            host,
            port,
            started.token,
            bundle=bundle,
            truststore=java_truststore(bundle),
            placeholders=started.variables,
        )
        environment, taken = child_environment(os.environ, exports, services)
        if taken:
            tell(f"kept from the program, because they hold a credential: {', '.join(taken)}")
        ended.status = await run_child(command, environment)
    finally:
        await sidecar.book.end(task.id, "the program ended", by="cli")
        await sidecar.drain(_DRAIN_S)
    return ended.status


async def _start(prepared: Prepared) -> tuple[Path, Sidecar]:
    """Start on the first log that no other sidecar writes: ``log``, ``log-2``, ``log-3`` ..."""
    state, number = prepared.config.state, 1
    while True:
        name = "log" if number == 1 else f"log-{number}"
        try:
            return state / name, await start(prepared, _ANYWHERE, {}, log_name=name)
        except LogInUse:
            number += 1
        if number > _MOST_LOGS:
            stop(f"{_MOST_LOGS} sidecars write logs under {state} already; give this one its own --state")


def _tell_expiry(over: Task, ours: Task) -> None:
    if over.id == ours.id and over.state is not TaskState.ENDED:
        why = "; see --ttl" if over.state is TaskState.EXPIRED else ""
        tell(f"the task is over ({over.state.value}): every further call of the program is refused{why}")


def _warn() -> None:
    """A banner that nobody overlooks."""
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    before, after = ("\x1b[1;30;43m", "\x1b[0m") if colour else ("", "")
    width = max(map(len, _BANNER)) + 2
    rule = "" if colour else "=" * width
    for words in (rule, *(f" {line}" for line in _BANNER), rule):
        print_aside(f"gatepass: {before}{words.ljust(width) if colour else words}{after}")


def _records(log: Path) -> Iterator[Record]:
    """The records of the run that ended last."""
    return map(parse, since_boot(log))


def _report(prepared: Prepared, task: Task, ended: Ended, elapsed: int, *, json: bool) -> None:
    summary = summarise(_records(ended.log))
    observed = prepared.rules.ruleset is None
    if json:
        hosts = {host: spent.facts() for host, spent in summary.hosts.items()}
        facts = {"task": task.id, "agent": task.agent, "status": ended.status, "observed": observed}
        facts |= {"elapsed_us": elapsed, "log": str(ended.log), "unidentified": summary.unidentified}
        print_aside(as_json({**facts, "total": summary.total.facts(), "hosts": hosts}))
        return
    for line in _lines(summary, task, elapsed):
        print_aside(line)
    state = prepared.config.state
    where = "" if state == state_dir().absolute() else f" --state {harmless(str(state))}"
    if summary.hosts:
        tell(f"each call: gatepass log trace {task.id}{where}")


def _lines(summary: Summary, task: Task, elapsed: int) -> Iterator[str]:
    total, lasted = summary.total, format_time(elapsed)
    name = f"gatepass: agent {harmless(task.agent)}, task {task.id}"
    if not summary.hosts:
        yield f"{name}: no call in {lasted}"
    else:
        calls = "1 call" if total.calls == 1 else f"{total.calls} calls"
        yield f"{name}: {calls} in {lasted}, {total.allowed} allowed, {total.refused} refused"
        yield from (f"  {line}" for line in table(summary))
    if summary.unidentified and not summary.hosts:
        yield f"gatepass: {summary.unidentified} attempts came without the task's token and got 407"
