"""``python -m bench [--only GROUP] [--systems A,B] [--quick]``."""

import argparse
import signal
import sys
from types import FrameType
from typing import NoReturn

from rich.console import Console

from bench import identity, policy, relay

GROUPS = {"relay": relay.run, "identity": identity.run, "policy": policy.run}


def main() -> int:
    """Run the groups; 0 if nothing failed and every target that was measured is reached, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Side-by-side runs, in one run.")
    parser.add_argument("--only", choices=sorted(GROUPS), help="run this group alone")
    parser.add_argument(
        "--systems",
        type=lambda text: text.split(","),
        default=list(relay.SYSTEMS),
        help=f"compare only these, separated by commas (of {', '.join(relay.SYSTEMS)})",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run: proves the harness, writes nothing"
    )
    asked = parser.parse_args()
    if unknown := set(asked.systems) - set(relay.SYSTEMS):
        parser.error(f"unknown system: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, _interrupted)  # so that what was started is stopped
    plain = Console()
    console = plain if plain.is_terminal else Console(width=120)
    wanted = [asked.only] if asked.only else list(GROUPS)
    outcomes = [GROUPS[group](console, asked.systems, quick=asked.quick) for group in wanted]
    return 0 if all(outcomes) else 1


def _interrupted(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit("stopped")


if __name__ == "__main__":
    sys.exit(main())
