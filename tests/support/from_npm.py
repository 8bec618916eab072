"""Programs of Node with packages from npm, each pinned in a folder of its own beside this file."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

WAIT_S = 60.0
_INSTALL = ("npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts")


def missing() -> str | None:
    """Why no such program can run on this machine, or None."""
    found = [name for name in ("node", "npm") if shutil.which(name) is None]
    return f"there is no {' and no '.join(found)} on this machine" if found else None


def installed(factory: pytest.TempPathFactory, source: Path) -> Path:
    """Where the program of the folder ``source`` is installed: once for the whole run, whatever its workers.

    :raises subprocess.SubprocessError: if npm does not get its packages.
    """
    base = factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"npm-{source.name}"
    home.mkdir(exist_ok=True)
    done = home / "installed"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            for file in source.iterdir():
                shutil.copy(file, home)
            subprocess.run(_INSTALL, cwd=home, check=True, stdout=subprocess.DEVNULL, timeout=WAIT_S)
            done.touch()
    return home
