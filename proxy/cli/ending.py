"""How a verb ends badly: one clear line on standard error, and an exit status that scripts can read."""

import sys
from collections.abc import Iterable
from typing import NoReturn

import typer

from proxy.cli.rows import harmless
from proxy.problems import Problem

NEGATIVE, WRONG_USAGE = 1, 2


def tell(message: str) -> None:
    """One line for a person, on standard error, so that output can be piped."""
    print(f"gatepass: {harmless(message)}", file=sys.stderr, flush=True)


def stop(message: str, status: int = WRONG_USAGE) -> NoReturn:
    """Say in one line what is wrong and what to do, and exit."""
    tell(message)
    raise typer.Exit(status)


def stop_for(problems: Iterable[Problem]) -> NoReturn:
    """Print every problem on a line of its own, and exit 2."""
    for problem in problems:
        tell(str(problem))
    raise typer.Exit(WRONG_USAGE)
