"""Keeps a process's memory to itself: prctl(2), PR_SET_DUMPABLE.

What holds live credentials leaves no core dump, and no other process of the same user, the agent that
``run`` starts among them, reads its memory or the environment it began with (/proc/PID/mem, environ).
The mark ends with the next exec, so that programs started from here are as they always were.
"""

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def seal() -> bool:
    """Seal this process; False where the system knows no such thing."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
