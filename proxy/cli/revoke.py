"""``gatepass revoke``: take identity away at once, in every sidecar of this state directory.

(1) The order is durable in the task file; the tasks that it reaches have ended in the same step. (2) Every
sidecar that follows the file carries it out and says so there. (3) Only then is the command done: no byte of
what the order reaches is under way any more. A sidecar that says nothing for ``PATIENCE_S`` is named.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.config import Config, load_config
from proxy.cli.ending import NEGATIVE, stop, stop_for, tell
from proxy.cli.revoke_rows import COLUMNS, Told, facts, order_facts, row, words
from proxy.cli.rows import harmless, print_json, print_rows
from proxy.cli.serving import tasks_path
from proxy.identity.registry import Registry, parse_agents
from proxy.identity.revocation import EVERYTHING, Kind, Order
from proxy.store.tasks import Follower, Revoked, TaskStore, TaskStoreError

app = typer.Typer(help="Revoke agents, tasks, tokens, keys, issuers, or everything.", no_args_is_help=True)

PATIENCE_S = 5.0
_LOOK_S = 0.01
_MAX_ID, _MAX_REASON = 2048, 1024  # as in the revocation file
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_WHOLE_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")

Identity = Annotated[str, typer.Argument(metavar="ID")]
Reason = Annotated[
    str, typer.Option("--reason", help="Why; whoever is cut off, and the log, is told.", show_default=False)
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="The configuration; default ./gatepass.yaml.")
]
State = Annotated[Path | None, typer.Option("--state", help="Directory of keys, tasks and log.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_ABOUT = {
    Kind.AGENT: "an agent, by its id: its tasks end, with every task delegated from them",
    Kind.TASK: "one task, by its id, and every task delegated from it; this is never lifted",
    Kind.TOKEN: "one token, by its id (jti) or its SHA-256, as records name it",
    Kind.KEY: "a key that signs tokens, by its key id (kid)",
    Kind.ISSUER: "an issuer of tokens, by its URL, or a trust domain (spiffe://example.org)",
}
_EXAMPLES = {
    Kind.AGENT: "coder",
    Kind.TASK: "t-dplg6d76py4ulazz76gjulfwuy",
    Kind.TOKEN: "b7c1d0aa",
    Kind.KEY: "2027-01",
    Kind.ISSUER: "https://login.example.org",
}


@app.callback()
def revoke() -> None:
    """Take identity away at once: calls are refused, connections cut, and so it stays after a restart."""


def _verb(kind: Kind) -> Callable[..., None]:
    def order(
        identity: Identity,
        *,
        reason: Reason,
        config: ConfigFile = None,
        state: State = None,
        json: Json = False,
    ) -> None:
        _revoke(kind, identity, reason, _config(config, state), json=json)

    order.__doc__ = (
        f"Revoke {_ABOUT[kind]}.\n\nExit status 1 if a sidecar does not answer.\n\n"
        f"Example: gatepass revoke {kind} {_EXAMPLES[kind]} --reason 'key leaked'"
    )
    return order


for _kind in _ABOUT:
    app.command(_kind.value)(_verb(_kind))


@app.command(Kind.ALL.value)
def everything(*, reason: Reason, config: ConfigFile = None, state: State = None, json: Json = False) -> None:
    """Revoke everything: every task ends, and no call is served until this is lifted.

    Exit status 1 if a sidecar does not answer.

    Example: gatepass revoke all --reason 'incident 7'
    """
    _revoke(Kind.ALL, EVERYTHING, reason, _config(config, state), json=json)


@app.command(name="list")
def list_orders(config: ConfigFile = None, state: State = None, json: Json = False) -> None:
    """List the orders that hold, the oldest first. Revoked tasks are in `gatepass task list`.

    Example: gatepass revoke list
    """
    path = tasks_path(_config(config, state).state)
    orders: tuple[Order, ...] = ()
    if path.exists():
        try:
            with TaskStore.open(path) as store:
                orders = store.orders()
        except TaskStoreError as error:
            stop(str(error))
    if not json:
        return print_rows(COLUMNS, map(row, orders))
    for order in orders:
        print_json(order_facts(order))
    return None


@app.command()
def lift(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="agent, token, key, issuer or all.")],
    identity: Annotated[
        str, typer.Argument(metavar="ID", help="As it was revoked.", show_default=False)
    ] = EVERYTHING,
    config: ConfigFile = None,
    state: State = None,
    json: Json = False,
) -> None:
    """Let an order hold no longer. Exit status 1 if there is no such order.

    Tasks that it ended stay ended: start new ones; agents of listeners get theirs when `serve` restarts.

    Example: gatepass revoke lift agent coder
    """
    if kind is Kind.TASK:
        stop("a task that was revoked stays revoked; start another one with `gatepass task start`")
    subject = _subject(kind, identity)
    path = tasks_path(_config(config, state).state)
    try:
        lifted = _lift(path, kind, subject) if path.exists() else None
    except TaskStoreError as error:
        stop(str(error))
    if lifted is None:
        stop(
            f"no order about {_named(kind, subject)} holds; `gatepass revoke list` shows those that do",
            NEGATIVE,
        )
    if json:
        print_json({"kind": kind.value, "id": subject, "lifted": True})
    else:
        print(harmless(f"lifted: {_named(kind, subject)}; tasks that have ended stay ended"))
    if lifted.ordered_by.startswith("file:"):
        file = lifted.ordered_by.removeprefix("file:")
        tell(f"take it out of {file}, too: else it holds again from the next start")


def _lift(path: Path, kind: Kind, identity: str) -> Order | None:
    """The order that holds no longer; None if none did."""
    with TaskStore.open(path) as store:
        held = next((order for order in store.orders() if (order.kind, order.id) == (kind, identity)), None)
        return held if held is not None and store.lift(kind, identity, "cli") else None


def _config(file: Path | None, state: Path | None) -> Config:
    loaded = load_config(file, state=state)
    if isinstance(loaded, list):
        stop_for(loaded)
    return loaded


def _subject(kind: Kind, identity: str) -> str:
    """The id as orders have it; exits 2 if it cannot be one."""
    if kind is Kind.ALL:
        return identity if identity == EVERYTHING else stop("an order about everything has no ID")
    if identity == EVERYTHING or not 0 < len(identity) <= _MAX_ID or not identity.isprintable():
        stop(f"name the {kind} by its id; `gatepass revoke {kind} --help` shows one")
    if kind is Kind.TOKEN and _WHOLE_TOKEN.fullmatch(identity):
        stop("that is a token itself, and orders are written down; name it by its id (jti) or its SHA-256")
    return identity.lower() if kind is Kind.TOKEN and _DIGEST.fullmatch(identity) else identity


def _named(kind: Kind, identity: str) -> str:
    return "everything" if kind is Kind.ALL else f"{kind} {identity}"


def _revoke(kind: Kind, identity: str, reason: str, config: Config, *, json: bool) -> None:
    """Give the order, see it carried out, and tell."""
    if not reason.strip() or len(reason) > _MAX_REASON:
        stop(f"--reason takes 1 to {_MAX_REASON} characters: whoever is cut off is told why")
    order = Order(kind, _subject(kind, identity), reason, "cli", time.time_ns())
    try:
        config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TaskStore.open(tasks_path(config.state)) as store:
            kept = store.revoke(order)
            if kept is None:
                stop(f"there is no task {identity}; `gatepass task list` shows what there is", NEGATIVE)
            told = _await(store, kept)
    except TaskStoreError as error:
        stop(str(error))
    except OSError as error:
        stop(f"{config.state} cannot be made: {error.strerror}")
    if json:
        print_json(facts(told))
    else:
        print(harmless(words(told)))
    _doubt(order, config)
    if told.silent:
        _stop_for_silence(told.silent)


def _await(store: TaskStore, kept: Revoked) -> Told:
    """Wait until every sidecar has carried the order out, and add up what it came to."""
    until = time.monotonic() + PATIENCE_S
    while True:
        followers = store.followers()
        silent = tuple(follower for follower in followers if follower.seq < kept.seq)
        if not silent or time.monotonic() >= until:
            return Told(kept, followers, silent, store.carried_out(kept.seq))
        time.sleep(_LOOK_S)  # sidecars answer through the file, which calls nobody back


def _stop_for_silence(silent: tuple[Follower, ...]) -> None:
    pids = ", ".join(str(follower.pid) for follower in silent)
    words = (
        f"no answer within {PATIENCE_S:g} s from the sidecar with pid {pids}: it may serve what was revoked"
    )
    stop(f"{words}; `kill -9 {pids.replace(',', '')}` ends it", NEGATIVE)


def _doubt(order: Order, config: Config) -> None:
    """Point out an agent that nobody has registered: in a hurry, names are misspelt."""
    if order.kind is not Kind.AGENT or config.rules is None:
        return
    try:
        registry = parse_agents((config.rules / "agents.yaml").read_bytes(), "agents.yaml")
    except OSError:
        return  # rules that cannot be read are no reason to say more than what is known
    if isinstance(registry, Registry) and registry.get(order.id) is None:
        known = ", ".join(agent.id for agent in registry) or "none"
        words = f"there is no agent {order.id} in {config.rules} (registered: {known})"
        tell(f"{words}; the order holds all the same")
