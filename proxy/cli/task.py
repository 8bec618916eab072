"""``gatepass task``: start, end, list and show tasks; a running sidecar follows in a fraction of a second."""

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from proxy.cli import asking
from proxy.cli.config import Config, load_config
from proxy.cli.ending import NEGATIVE, stop, stop_for
from proxy.cli.environment import proxy_url, variables
from proxy.cli.rows import harmless, print_json, print_rows
from proxy.cli.serving import office, prepare, tasks_path
from proxy.cli.task_rows import COLUMNS, facts, moment, rows, used
from proxy.identity.delegation import MAX_CHAIN
from proxy.identity.principal import Task, TaskState
from proxy.problems import Problem
from proxy.settings import Listen
from proxy.store.keyring import Keyring, KeyringError
from proxy.store.tasks import StoredTask, TaskOverError, TaskStore, TaskStoreError
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
    proxy: Annotated[
        str | None, typer.Option(help="HOST:PORT where the agent reaches gatepass; default: as configured.")
    ] = None,
    rules: Annotated[Path | None, typer.Option(help="Directory of the rules.")] = None,
    config: ConfigFile = None,
    state: State = None,
    json: Json = False,
) -> None:
    """Start a task and print what its agent needs, as lines for a shell. Exit status 1 if it is revoked.

    Example: eval "$(gatepass task start --agent coder --purpose 'fix issue 7' --ttl 1h)"
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
    loaded = _config(config, state, rules)
    host, port = _address(loaded, proxy)
    prepared = prepare(loaded, observe=True)
    with _store(loaded.state, create=True) as store:
        try:
            started = start_task(store, office(prepared), asked, int(time.time()))
        except TaskOverError as error:
            asking.stop_for_order(error)
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
    """End a task, and every one delegated from it: their tokens are worthless from now on.

    Exit status 1 if there is no such task.

    Example: gatepass task end t-dplg6d76py4ulazz76gjulfwuy --reason "done"
    """
    directory = _config(config, state).state
    now = int(time.time())
    with _store(directory) as store:
        store.expire(now)
        over = store.end_all(task, reason, now, by="cli")
        after = store.get(task)
    if over is None or after is None:
        _unknown(task, directory)
    below = max(len(over) - 1, 0)
    if json:
        print_json(facts(after) | {"ended_below": below})
    elif over:
        more = "" if not below else f", and {'1 task' if below == 1 else f'{below} tasks'} delegated from it"
        print(f"ended {task}{more}")
    else:
        print(f"{task} was over already: {after.task.state.value}, {harmless(after.reason)}")


@app.command(name="list")
def list_tasks(
    only_open: Annotated[bool, typer.Option("--open", help="Only those that may still make calls.")] = False,
    config: ConfigFile = None,
    state: State = None,
    json: Json = False,
) -> None:
    """List the tasks, newest first; on a terminal each below the one that it was delegated from.

    Example: gatepass task list --open
    """
    with _store(_config(config, state).state) as store:
        store.expire(int(time.time()))
        found = store.list(TaskState.OPEN if only_open else None)
    if json:
        for stored in found:
            print_json(facts(stored))
        return
    print_rows(COLUMNS, rows(found, tree=sys.stdout.isatty()))


@app.command()
def show(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    config: ConfigFile = None,
    state: State = None,
    json: Json = False,
) -> None:
    """Show one task: what was agreed, what it has used, and the chain of tasks that it acts for.

    Exit status 1 if there is none.

    Example: gatepass task show t-dplg6d76py4ulazz76gjulfwuy
    """
    directory = _config(config, state).state
    with _store(directory) as store:
        store.expire(int(time.time()))
        found = store.get(task) or _unknown(task, directory)
        held = [holding.service for holding in store.holdings(found.task)]
        told = facts(found) | used(found.task, store.used(task)) | {"placeholders": held}
        chain = _chain(store, found.task)
    if json:
        print_json(told | {"chain": [{"task": link.id, "agent": link.agent} for link in chain]})
        return
    told["chain"] = " > ".join(f"{link.id} ({link.agent})" for link in chain)
    for name, value in told.items():
        words = " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
        print(f"{name}\t{harmless(words)}")


def _chain(store: TaskStore, task: Task) -> list[Task]:
    """The tasks that this one acts for, the first of them first, and itself last."""
    chain = [task]
    while chain[0].parent is not None and len(chain) < MAX_CHAIN:
        above = store.get(chain[0].parent)
        if above is None:
            break
        chain.insert(0, above.task)
    return chain


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
    listener = next((listener for listener in listeners if _takes_tokens(listener)), None)
    if listener is None:
        stop("no listener takes tokens on a fixed port; say with --proxy HOST:PORT where gatepass is reached")
    return _EVERYWHERE.get(listener.host, listener.host), listener.port


def _takes_tokens(listener: Listen) -> bool:
    """Whether its URL and a token are all that a client needs."""
    return listener.unix is None and listener.tls is None and listener.agent is None and listener.port != 0


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
        told = facts(StoredTask(task, None, "", opened_by="cli"))
        print_json(
            {
                **told,
                "proxy": url,
                "token": started.token,
                "placeholders": started.placeholders,
                "variables": exports,
            }
        )
        return
    print(f"# task     {task.id}")
    print(f"# agent    {harmless(task.agent)}")
    print(f"# expires  {moment(task.expires_at)}")
    print(f"# proxy    {url}")
    for name, value in exports.items():
        print(f"export {name}={shlex.quote(value)}")


def _truststore(keyring: Keyring) -> Path | None:
    try:
        return java_truststore(keyring.bundle_path)
    except (KeyringError, OSError) as error:
        stop(f"the trust store for Java cannot be written: {error}")
