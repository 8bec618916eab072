"""``gatepass approvals``: see which calls wait for a person, and approve or deny them.

The answer is durable in the approvals file, which every sidecar of the state directory looks at; a call
that is kept waiting goes on within a moment.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from proxy.cli.answering import agents_token, approver
from proxy.cli.approval_rows import COLUMNS, facts, lines, row, words
from proxy.cli.config import Config, load_config
from proxy.cli.duration import parse_duration
from proxy.cli.ending import NEGATIVE, stop, stop_for
from proxy.cli.rows import harmless, print_json, print_rows
from proxy.policy.approval import (
    MAX_GRANT_S,
    MAX_REASON,
    MAX_USES,
    Approver,
    Denial,
    Entry,
    Grant,
    Obstacle,
    State,
    Unanswered,
)
from proxy.store.approvals_file import APPROVALS
from proxy.store.approvals_table import ApprovalStore, ApprovalStoreError

app = typer.Typer(help="See, approve and deny calls that wait for a person.", no_args_is_help=True)

Request = Annotated[str, typer.Argument(metavar="ID", help="The request's id, ap-...")]
Reason = Annotated[
    str, typer.Option("--reason", help="Why; the log keeps it, and the agent is told of a no.")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="The configuration; default ./gatepass.yaml.")
]
Directory = Annotated[Path | None, typer.Option("--state", help="Directory of keys, tasks and log.")]
Rules = Annotated[Path | None, typer.Option("--rules", help="Directory of the rules.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(name="list")
def list_requests(
    everything: Annotated[bool, typer.Option("--all", help="Also those that wait no more.")] = False,
    config: ConfigFile = None,
    state: Directory = None,
    json: Json = False,
) -> None:
    """List the calls that wait for a person, the newest first.

    Example: gatepass approvals list
    """
    now, path = int(time.time()), _path(_config(config, state))
    found: tuple[Entry, ...] = ()
    if path.exists():
        with _store(path) as store:
            store.expire(now)
            found = store.list(None if everything else State.WAITING)
    if json:
        for entry in found:
            print_json(facts(entry, now))
        return
    print_rows(COLUMNS, (row(entry, now) for entry in found))


@app.command()
def show(request: Request, config: ConfigFile = None, state: Directory = None, json: Json = False) -> None:
    """Show one call: who asks, for what task, what is sent where, and which rules would permit it.

    Exit status 1 if there is none.

    Example: gatepass approvals show ap-k3x7q2mwza
    """
    now, path = int(time.time()), _path(_config(config, state))
    if not path.exists():
        _unknown(request, path)
    with _store(path) as store:
        store.expire(now)
        entry = store.get(request) or _unknown(request, path)
    if json:
        print_json(facts(entry, now))
        return
    for name, value in lines(entry, now):
        print(f"{name}\t{harmless(value)}")


@app.command()
def approve(
    request: Request,
    uses: Annotated[
        int, typer.Option("--uses", min=1, max=MAX_USES, help="How often exactly this call may be made.")
    ] = 1,
    span: Annotated[str, typer.Option("--for", help="For how long: 90s, 15m, 1h, 2h30m.")] = "1h",
    reason: Reason = "",
    config: ConfigFile = None,
    state: Directory = None,
    rules: Rules = None,
    json: Json = False,
) -> None:
    """Let exactly this call through: this content, by this agent, for this task, under these rules.

    Exit status 1 if it does not wait, or you may not approve it.

    Example: gatepass approvals approve ap-k3x7q2mwza --for 15m --reason "month end"
    """
    try:
        seconds = parse_duration(span)
    except ValueError as error:
        stop(f"--for: {error}")
    if seconds > MAX_GRANT_S:
        stop(f"--for: an approval holds for {MAX_GRANT_S // 86_400} days at most")
    _answer(request, Grant(uses, seconds, _said(reason)), _config(config, state, rules), json=json)


@app.command()
def deny(
    request: Request,
    reason: Reason = "",
    config: ConfigFile = None,
    state: Directory = None,
    rules: Rules = None,
    json: Json = False,
) -> None:
    """Refuse this call, or take back an approval that is not used up; the agent is told so, and why.

    Exit status 1 if there is nothing to deny, or you may not.

    Example: gatepass approvals deny ap-k3x7q2mwza --reason "not this account"
    """
    _answer(request, Denial(_said(reason)), _config(config, state, rules), json=json)


def _answer(request: str, said: Grant | Denial, config: Config, *, json: bool) -> None:
    who, path, now = _person(config), _path(config), int(time.time())
    if not path.exists():
        _unknown(request, path)
    with _store(path) as store:
        entry = store.answer(request, said, who, now)
    if isinstance(entry, Unanswered):
        if entry.obstacle is Obstacle.UNKNOWN:
            _unknown(request, path)
        stop(entry.words, NEGATIVE)
    if json:
        print_json(facts(entry, now))
    else:
        print(harmless(words(entry)))


def _person(config: Config) -> Approver:
    """Who answers; exits 1 if it may be an agent."""
    variable = agents_token(os.environ)
    if variable is not None:
        stop(f"{variable} holds an agent's token, and no agent approves; use a shell of your own", NEGATIVE)
    who = approver(config.rules)
    if not isinstance(who, Approver):
        stop_for(who)
    return who


def _said(reason: str) -> str:
    if len(reason) > MAX_REASON or not reason.isprintable():
        stop(f"--reason takes one line of at most {MAX_REASON} characters")
    return reason.strip()


def _config(file: Path | None, state: Path | None, rules: Path | None = None) -> Config:
    loaded = load_config(file, state=state, rules=rules)
    if isinstance(loaded, list):
        stop_for(loaded)
    return loaded


def _path(config: Config) -> Path:
    return config.state / APPROVALS


@contextmanager
def _store(path: Path) -> Iterator[ApprovalStore]:
    try:
        with ApprovalStore.open(path) as store:
            yield store
    except ApprovalStoreError as error:
        stop(str(error))


def _unknown(request: str, path: Path) -> NoReturn:
    what = f"no request {request} is known under {path.parent}"
    stop(f"{what}; `gatepass approvals list --all` shows what there is", NEGATIVE)
