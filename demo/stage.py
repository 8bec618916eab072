"""What every act needs: headings, checks, the command as a person would type it, a sidecar that stays."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GATEPASS = (sys.executable, "-m", "proxy")
WIDTH = 88
_BOLD, _DIM, _GOOD, _BAD = "1", "2", "32", "31"
_ANSWER = re.compile(r"^ {9}([1-5][0-9]{2}|error)\b")


def heading(number: int, text: str) -> None:
    """One step."""
    print(f"\n{_painted(f'{number}. {text}', _BOLD)}\n{'-' * WIDTH}", flush=True)


def check(holds: bool, text: str) -> None:  # noqa: FBT001 - it reads like a sentence
    """Say that something was checked, or stop."""
    if not holds:
        sys.exit(f"the demo failed: not so: {text}")
    print(_painted(f"  checked: {text}", _GOOD), flush=True)


def told(lines: str) -> None:
    """Print what an agent says; the status of each answer stands out."""
    for line in lines.splitlines():
        found = _ANSWER.match(line)
        colour = None if found is None else _GOOD if found[1].startswith("2") else _BAD
        print(line if colour is None else _painted(line, colour), flush=True)


def quoted(text: str) -> None:
    """Print a piece of a file."""
    for line in text.strip().splitlines():
        print(_painted(f"  | {line}", _DIM), flush=True)


def environment(key: str = "") -> dict[str, str]:
    """What the command runs with; the real key is for gatepass alone."""
    return os.environ | {"PYTHONPATH": str(HERE.parent)} | ({"ORDERS_API_KEY": key} if key else {})


def gatepass(
    directory: Path, *words: str, expect: int = 0, quiet: bool = False, keep: bool = False, key: str = ""
) -> str:
    """Run the command in the demo's directory; what it prints, if that is kept and so not shown.

    ``quiet``: the command is not shown either.
    """
    if not quiet:
        command(*words)
    output = subprocess.PIPE if quiet or keep else None
    done = subprocess.run(
        [*GATEPASS, *words], cwd=directory, env=environment(key), stdout=output, text=True, check=False
    )
    if done.returncode != expect:
        sys.exit(f"the demo failed: `gatepass {words[0]}` exited {done.returncode}, expected {expect}")
    return done.stdout or ""


def command(*words: str) -> None:
    """Show a command as a person would type it."""
    print(f"  $ gatepass {shlex.join(words).replace(sys.executable, 'python')}\n", flush=True)


@contextlib.contextmanager
def serving(directory: Path, key: str) -> Iterator[str]:
    """A sidecar that stays; where it listens."""
    words = [*GATEPASS, "serve", "--json", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        words,
        cwd=directory,
        env=environment(key),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as sidecar:
        try:
            assert sidecar.stdout is not None
            line = sidecar.stdout.readline()
            if not line:
                sys.exit("the demo failed: gatepass serve did not start")
            yield json.loads(line)["listening"][0]
        finally:
            sidecar.terminate()


def records(directory: Path) -> list[dict[str, Any]]:
    """Everything in the log."""
    lines = gatepass(directory, "log", "show", "--json", "--log", "state/log", quiet=True).splitlines()
    return [json.loads(line)["record"] for line in lines]


def _painted(text: str, colour: str) -> str:
    """The text in a colour, where there are any (https://no-color.org)."""
    shown = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return f"\033[{colour}m{text}\033[0m" if shown else text
