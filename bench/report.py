"""The table on the terminal, and ``latest.json``: ``{GROUP: {ROW: {SYSTEM: number}}}``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.targets import Numbers, Target

LATEST = Path(__file__).with_name("latest.json")


def table(
    console: Console, title: str, rows: Mapping[str, str], systems: Sequence[str], numbers: Numbers
) -> None:
    """Print every number, and in brackets how many times the number of ``direct`` (or of the first) it is."""
    shown = Table(title=title, caption="in brackets: times the first system that has the row")
    shown.add_column("row", no_wrap=True)
    for system in systems:
        shown.add_column(system, justify="right", no_wrap=True)
    for row in rows:
        measured = numbers.get(row, {})
        base = next((measured[system] for system in systems if system in measured), None)
        shown.add_row(row, *(_cell(measured.get(system), base) for system in systems))
    console.print(shown)
    for row, says in rows.items():
        console.print(f"  {row:18} {says}", highlight=False)


def _cell(number: float | None, base: float | None) -> str:
    if number is None:
        return "-"
    digits = 0 if number >= 100 else 1 if number >= 10 else 2
    ratio = "" if not base or number == base else f" ({number / base:.2f})"
    return f"{number:,.{digits}f}{ratio}"


def verdicts(console: Console, targets: Sequence[Target], numbers: Numbers) -> bool:
    """Print the must-reach list; False if a line is missed. A line that was not measured is not a miss."""
    missed = False
    console.print("\n[bold]Must reach[/bold]")
    for target in targets:
        measured, reached = target.judge(numbers)
        word = {True: "[green]pass[/green]", False: "[red]FAIL[/red]", None: "[yellow]----[/yellow]"}[reached]
        console.print(f"  {word}  {target.says}: {measured}", highlight=False)
        missed = missed or reached is False
    return not missed


def write(group: str, numbers: Numbers) -> None:
    """Replace this group in the file and keep the others."""
    known = json.loads(LATEST.read_text()) if LATEST.exists() else {}
    known[group] = {
        row: {system: round(n, 3) for system, n in named.items()} for row, named in numbers.items()
    }
    LATEST.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
