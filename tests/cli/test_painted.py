"""Colour is for terminals, and for those who want it."""

import os
import pty
import subprocess
import sys

from proxy.cli.painted import BAD, GOOD, paint_line, print_painted

SHOW = """\
from proxy.cli.painted import GOOD, paint_line, print_painted
print_painted(("a", "b"), [("x", "\\x1b[2J"), ("y", "")], lambda row: GOOD if row[0] == "x" else "")
print(paint_line("line", GOOD))
"""


def shown(**environment: str) -> bytes:
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    subprocess.run(
        [sys.executable, "-c", SHOW], stdout=theirs, check=True, env=kept | {"TERM": "xterm"} | environment
    )
    os.close(theirs)
    said = os.read(ours, 65_536)
    os.close(ours)
    return said


def test_in_a_pipe_there_is_none(capsys):
    print_painted(("a", "b"), [("x", "\x1b[2J")], lambda _: BAD)
    assert capsys.readouterr().out == "a\tb\nx\t\\x1b[2J\n"
    assert paint_line("line", GOOD) == "line"


def test_on_a_terminal_rows_have_one():
    said = shown()
    assert b"\x1b[32mx" in said
    assert b"\x1b[32mline\x1b[0m" in said
    assert b"\\x1b[2J" in said


def test_unless_it_is_not_wanted():
    said = shown(NO_COLOR="1")
    assert b"\x1b[32m" not in said
    assert b"line" in said
