"""``gatepass task``: start, end, list and show tasks; a running sidecar follows in a fraction of a second."""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from proxy.cli.config import Config, load_config
from proxy.cli.duration import parse_duration
from proxy.cli.ending import NEGATIVE, stop, stop_for
from proxy.cli.environment import proxy_url, variables
from proxy.cli.rows import harmless, print_json, print_rows
from proxy.cli.serving import office, prepare, tasks_path
from proxy.control.operations import TaskAsked
from proxy.identity.principal import Budgets, TaskState
from proxy.identity.task import MAX_DEPTH
from proxy.problems import Problem
from proxy.settings import Listen
from proxy.store.keyring import Keyring, KeyringError
from proxy.store.tasks import StoredTask, TaskStore, TaskStoreError
from proxy.store.truststore import java_truststore
from proxy.wiring_tasks import Started, start_task

app = typer.Typer(help="Start, end, list and show tasks.", no_args_is_help=True)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="The configuration; default ./gatepass.yaml.")
]
State = Annotated[Path | None, typer.Option("--state", help="Directory of keys, tasks and log.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an agent cannot call such an address


@app.command()
def start(
    *,
    agent: Annotated[
        str | None, typer.Option(help="The agent; not needed if only one is registered.")
    ] = None,
    purpose: Annotated[str, typer.Option(help="What the task is for; default: what the agent is for.")] = "",
    ttl: Annotated[str, typer.Option(help="How long it lives: 90s, 15m, 1h, 2h30m.")] = "1h",
    scope: Annotated[
        list[str] | None, typer.Option(help="A scope that rules may ask for; repeatable.")
    ] = None,
    service: Annotated[
        list[str] | None, typer.Option(help="A service the task may use; repeatable; default: as rules say.")
    ] = None,
    on_behalf_of: Annotated[str | None, typer.Option(help="The human or system the agent acts for.")] = None,
    ticket: Annotated[str | None, typer.Option(help="The ticket this work belongs to.")] = None,
    approver: Annotated[str | None, typer.Option(help="Who has approved the task.")] = None,
    max_requests: Annotated[
        int | None, typer.Option(min=1, help="How many calls it may make in all.")
    ] = None,
    max_octets: Annotated[int | None, typer.Option(min=1, help="How many octets it may move in all.")] = None,
    depth: Annotated[
        int | None, typer.Option(min=0, max=MAX_DEPTH, help="How often it may be delegated on; default 3.")
    ] = None,
    proxy: Annotated[
        str | None, typer.Option(help="HOST:PORT where the agent reaches gatepass; default: as configured.")
    ] = None,
    rules: Annotated[Path | None, typer.Option(help="Directory of the rules.")] = None,
    config: ConfigFile = None,
    state: State = None,
    json: Json = False,
) -> None:
    """Start a task and print what its agent needs, as lines for a shell.

    Example: eval "$(gatepass task start --agent coder --purpose 'fix issue 7' --ttl 1h)"
    """
    try:
        seconds = parse_duration(ttl)
    except ValueError as error:
        stop(f"--ttl: {error}")
    loaded = _config(config, state, rules)
    host, port = _address(loaded, proxy)
    prepared = prepare(loaded, observe=True)
    asked = TaskAsked(
        agent=agent or "",
        purpose=purpose,
        ttl_s=seconds,
        scopes=tuple(scope or ()),
        services=tuple(service) if service else None,
        budgets=Budgets(max_requests, max_octets),
        ticket=ticket,
        on_behalf_of=on_behalf_of,
        approver=approver,
        depth=depth,
    )
    with _store(loaded.state, create=True) as store:
        started = start_task(store, office(prepared), asked, int(time.time()))
    if isinstance(started, Problem):
        stop_for([started])
    _print_started(started, prepared.keyring, host, port, json=json)


@app.command()
def end(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever reads about it later.")] = "ended by hand",
    config: ConfigFile = None,
    state: State = None,
    json: Json = False,
) -> None:
    """End a task: its tokens and placeholders are worthless from now on. Exit status 1 if there is none.

    Example: gatepass task end t-dplg6d76py4ulazz76gjulfwuy --reason "done"
    """
    directory = _config(config, state).state
    now = int(time.time())
    with _store(directory) as store:
        store.expire(now)
        before = store.get(task) or _unknown(task, directory)
        after = store.end(task, reason, now) or _unknown(task, directory)
    if json:
        print_json(_facts(after))
    elif before.task.state is TaskState.OPEN:
        print(f"ended {task}")
    else:
        print(f"{task} was over already: {after.task.state.value}, {harmless(after.reason)}")


@app.command(name="list")
def list_tasks(
    only_open: Annotated[bool, typer.Option("--open", help="Only those that may still make calls.")] = False,
    config: ConfigFile = None,
    state: State = None,
    json: Json = False,
) -> None:
    """List the tasks, newest first.

    Example: gatepass task list --open
    """
    with _store(_config(config, state).state) as store:
        store.expire(int(time.time()))
        found = store.list(TaskState.OPEN if only_open else None)
    if json:
        for stored in found:
            print_json(_facts(stored))
        return
    columns = ("task", "agent", "state", "started", "expires", "purpose")
    print_rows(columns, (_row(stored) for stored in found))


@app.command()
def show(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    config: ConfigFile = None,
    state: State = None,
    json: Json = False,
) -> None:
    """Show one task and the services it holds placeholders for. Exit status 1 if there is none.

    Example: gatepass task show t-dplg6d76py4ulazz76gjulfwuy
    """
    directory = _config(config, state).state
    with _store(directory) as store:
        store.expire(int(time.time()))
        found = store.get(task) or _unknown(task, directory)
        services = [held.service for held in store.holdings(found.task)]
    facts = _facts(found) | {"services": services}
    if json:
        print_json(facts)
        return
    for name, value in facts.items():
        words = " ".join(map(str, value)) if isinstance(value, list) else str(value or "")
        print(f"{name}\t{harmless(words)}")


def _config(file: Path | None, state: Path | None, rules: Path | None = None) -> Config:
    loaded = load_config(file, state=state, rules=rules)
    if isinstance(loaded, list):
        stop_for(loaded)
    return loaded


@contextmanager
def _store(directory: Path, *, create: bool = False) -> Iterator[TaskStore]:
    path = tasks_path(directory)
    if not create and not path.exists():
        stop(
            f"there are no tasks under {directory}; name their directory with --state, or start one first",
            NEGATIVE,
        )
    try:
        with TaskStore.open(path) as store:
            yield store
    except TaskStoreError as error:
        stop(str(error))


def _unknown(task: str, directory: Path) -> NoReturn:
    stop(f"there is no task {task} under {directory}; `gatepass task list` shows what there is", NEGATIVE)


def _address(config: Config, given: str | None) -> tuple[str, int]:
    """Where the agent reaches the sidecar: as given, else the first listener that asks for a token."""
    try:
        listeners = [Listen(address=given)] if given else config.settings.listen
    except ValueError:
        stop("--proxy takes HOST:PORT, such as 127.0.0.1:8470")
    listener = next((listener for listener in listeners if listener.agent is None and listener.port), None)
    if listener is None:
        stop("no listener takes tokens on a fixed port; say with --proxy HOST:PORT where gatepass is reached")
    return _EVERYWHERE.get(listener.host, listener.host), listener.port


def _print_started(started: Started, keyring: Keyring, host: str, port: int, *, json: bool) -> None:
    task, url = started.task, proxy_url(host, port, started.token)
    exports = variables(
        host,
        port,
        started.token,
        bundle=keyring.bundle_path,
        truststore=_truststore(keyring),
        placeholders=started.variables,
    )
    if json:
        facts = _facts(StoredTask(task, None, ""))
        print_json(
            {
                **facts,
                "proxy": url,
                "token": started.token,
                "placeholders": started.placeholders,
                "variables": exports,
            }
        )
        return
    print(f"# task     {task.id}")
    print(f"# agent    {harmless(task.agent)}")
    print(f"# expires  {_time(task.expires_at)}")
    print(f"# proxy    {url}")
    for name, value in exports.items():
        print(f"export {name}={shlex.quote(value)}")


def _truststore(keyring: Keyring) -> Path | None:
    try:
        return java_truststore(keyring.bundle_path)
    except (KeyringError, OSError) as error:
        stop(f"the trust store for Java cannot be written: {error}")


def _facts(stored: StoredTask) -> dict[str, object]:
    task = stored.task
    return {
        "task": task.id,
        "agent": task.agent,
        "state": task.state.value,
        "purpose": task.purpose,
        "scopes": list(task.scopes),
        "services": None if task.services is None else list(task.services),
        "requests": task.budgets.requests,
        "octets": task.budgets.octets,
        "environment": task.environment,
        "on_behalf_of": task.on_behalf_of,
        "ticket": task.ticket,
        "approver": task.approver,
        "parent": task.parent,
        "depth": task.depth,
        "started": _time(task.issued_at),
        "expires": _time(task.expires_at),
        "ended": None if stored.ended_at is None else _time(stored.ended_at),
        "reason": stored.reason,
        "manifest_sha256": task.manifest_sha256,
    }


def _row(stored: StoredTask) -> tuple[str, ...]:
    task = stored.task
    return (
        task.id,
        task.agent,
        task.state.value,
        _time(task.issued_at),
        _time(task.expires_at),
        task.purpose,
    )


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
