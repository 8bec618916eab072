"""What every act needs: a heading, a check, and the command as a person would type it."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
GATEPASS = (sys.executable, "-m", "proxy")
WIDTH = 88


def heading(number: int, text: str) -> None:
    """One step."""
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{number}. {text}{plain}\n{'-' * WIDTH}", flush=True)


def check(holds: bool, text: str) -> None:  # noqa: FBT001 - it reads like a sentence
    """Say that something was checked, or stop."""
    if not holds:
        sys.exit(f"the demo failed: not so: {text}")
    print(f"  checked: {text}", flush=True)


def environment(key: str = "") -> dict[str, str]:
    """What the command runs with; the real key is for gatepass alone."""
    return os.environ | {"PYTHONPATH": str(HERE.parent)} | ({"ORDERS_API_KEY": key} if key else {})


def gatepass(directory: Path, *words: str, expect: int = 0, quiet: bool = False, key: str = "") -> str:
    """Run the command in the demo's directory; its output, if it is to be looked at."""
    if not quiet:
        print(f"  $ gatepass {shlex.join(words).replace(sys.executable, 'python')}\n", flush=True)
    keep = subprocess.PIPE if quiet or key else None
    done = subprocess.run(
        [*GATEPASS, *words], cwd=directory, env=environment(key), stdout=keep, text=True, check=False
    )
    if done.returncode != expect:
        sys.exit(f"the demo failed: `gatepass {words[0]}` exited {done.returncode}, expected {expect}")
    return done.stdout or ""
