"""Progress is for a person at a terminal, and only if it takes long; so it is looked at in one."""

import os
import pty
import subprocess
import sys

from proxy.cli.progress import counted

SLOW = """\
import time
from proxy.cli.progress import counted
end = time.monotonic() + 1.3
def items():
    while time.monotonic() < end:
        yield 1
assert sum(counted(items(), "things")) > 0
"""


def test_what_is_quick_is_quiet(capsys):
    assert list(counted([1, 2], "things")) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_what_takes_long_is_told_in_a_line():
    done = subprocess.run([sys.executable, "-c", SLOW], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.startswith("gatepass: ")
    assert done.stderr.endswith(" things ...\n")


def test_on_a_terminal_the_line_is_taken_back():
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", SLOW], stderr=theirs, check=True)
    os.close(theirs)
    said = os.read(ours, 65_536)
    os.close(ours)
    assert b" things ..." in said
    assert said.endswith(b"\r\x1b[K")
