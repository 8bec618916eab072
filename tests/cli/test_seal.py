"""What holds credentials keeps its memory to itself; what it starts is as it always was."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")

# 3 is PR_GET_DUMPABLE. The marks are read in a process of their own: they would stick to the tests'.
_CODE = """
import ctypes, subprocess, sys
from proxy.cli.seal import seal
mark = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
exec(mark)
assert seal()
exec(mark)
with open("/proc/self/fd/1"):
    pass
sys.stdout.flush()
subprocess.run([sys.executable, "-c", mark], check=True)
"""


def test_a_sealed_process_is_not_dumped_and_its_children_are_as_ever(tmp_path):
    output = tmp_path / "output"
    with output.open("w") as file:
        subprocess.run([sys.executable, "-c", _CODE], stdout=file, check=True)
    assert output.read_text().split() == ["1", "0", "1"]
