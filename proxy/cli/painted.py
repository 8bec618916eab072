"""Rows in colour on a terminal; elsewhere as ``rows`` prints them."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence

from proxy.cli.rows import harmless, print_rows

GOOD, BAD, WARNING, DIM = "green", "bold red", "yellow", "dim"


def print_painted(
    columns: Sequence[str], rows: Iterable[Sequence[str]], paint: Callable[[Sequence[str]], str]
) -> None:
    """The rows as a table; ``paint`` names the colour of a row. ``NO_COLOR`` is heard (no-color.org)."""
    if not sys.stdout.isatty():
        print_rows(columns, rows)
        return
    # only a person needs it, and it takes long to load
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.table import Table  # noqa: PLC0415 - see above
    from rich.text import Text  # noqa: PLC0415 - see above

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(harmless(cell), overflow="fold") for cell in row), style=paint(row) or None)
    Console(no_color=bool(os.environ.get("NO_COLOR"))).print(table)


def paint_line(text: str, style: str) -> str:
    """One line in a colour, if standard output is a terminal."""
    codes = {GOOD: "32", BAD: "1;31", WARNING: "33", DIM: "2"}
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{codes[style]}m{text}\x1b[0m"
