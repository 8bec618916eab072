"""The words for a new task, which ``run`` and ``task start`` both take: options, and what they come to."""

from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from proxy.cli.duration import parse_duration
from proxy.cli.ending import NEGATIVE, stop
from proxy.control.operations import TaskAsked
from proxy.identity.principal import Budgets
from proxy.identity.task import MAX_DEPTH, MAX_INTEGER
from proxy.store.tasks import TaskOverError

Agent = Annotated[str | None, typer.Option(help="The agent; not needed if only one is registered.")]
Purpose = Annotated[str, typer.Option(help="What the task is for; default: what the agent is for.")]
Ttl = Annotated[str, typer.Option(help="How long it may call: 90s, 15m, 1h, 2h30m.")]
Scopes = Annotated[
    list[str] | None, typer.Option(metavar="SCOPE", help="A scope that rules may ask for; repeatable.")
]
Services = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SERVICE", help="A service the task may use; repeatable; default: as the rules say."
    ),
]
OnBehalfOf = Annotated[str | None, typer.Option(help="The human or system the agent acts for.")]
Ticket = Annotated[str | None, typer.Option(help="The ticket this work belongs to.")]
Approver = Annotated[str | None, typer.Option(help="Who has approved the task.")]
MaxRequests = Annotated[
    int | None, typer.Option(min=1, max=MAX_INTEGER, help="How many calls it may make in all.")
]
MaxOctets = Annotated[
    int | None, typer.Option(min=1, max=MAX_INTEGER, help="How many octets it may move in all.")
]
Depth = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=MAX_DEPTH,
        help="How often it may be delegated on; default: identity.delegation_depth.",
        show_default=False,
    ),
]


def ask(
    *,
    agent: str | None,
    purpose: str,
    ttl: str,
    scope: Sequence[str] | None,
    service: Sequence[str] | None,
    on_behalf_of: str | None,
    ticket: str | None,
    approver: str | None,
    max_requests: int | None,
    max_octets: int | None,
    depth: int | None,
) -> TaskAsked:
    """The task that the options ask for; exits 2 if ``ttl`` is no duration."""
    try:
        seconds = parse_duration(ttl)
    except ValueError as error:
        stop(f"--ttl: {error}")
    return TaskAsked(
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


def stop_for_order(error: TaskOverError) -> NoReturn:
    """Say that an order keeps the task from starting, and exit 1: nothing is wrong with the words."""
    stop(f"no task was started: {error}; `gatepass revoke list` shows every order", NEGATIVE)
