"""How rows reach a person or a program: a table on a terminal, tab-separated text in a pipe, JSON lines.

Cells hold what agents and servers wrote. Whatever could move a cursor, change a colour or reverse the
reading order is printed as an escape (ECMA-48 controls, Unicode format characters).
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence


def harmless(text: str) -> str:
    """The text with every character that does not print written as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in text)


def _escape(code: int) -> str:
    if code <= 0xFF:  # noqa: PLR2004 - two digits hold it
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four digits hold it


def as_json(row: Mapping[str, object]) -> str:
    """One JSON object on one line, all ASCII."""
    return json.dumps(row, sort_keys=True).replace("\x7f", "\\u007f")


def print_json(row: Mapping[str, object]) -> None:
    """Print one JSON object on one line, all ASCII."""
    print(as_json(row))


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """The rows as a table on a terminal, else as tab-separated lines under a line of column names."""
    if not sys.stdout.isatty():
        print("\t".join(columns))
        for row in rows:
            print("\t".join(harmless(cell) for cell in row))
        return
    # only a person needs it, and it takes long to load
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.table import Table  # noqa: PLC0415 - see above
    from rich.text import Text  # noqa: PLC0415 - see above

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(harmless(cell), overflow="fold") for cell in row))
    Console().print(table)
