"""Whether a sidecar has a log open right now (flock(2)): asked by those who do not want it themselves."""

import fcntl
import os
from pathlib import Path

from proxy.store.tiles import LOCK


def in_use(directory: Path) -> bool:
    """Whether the log in ``directory`` is being written. False if there is none.

    :raises OSError: if that cannot be found out.
    """
    try:
        descriptor = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
