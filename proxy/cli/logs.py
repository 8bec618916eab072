"""The logs of a state directory, read as one: ``log``, and ``log-2``, ``log-3`` ... of sidecars beside it.

Entries of several logs come by time; those of one log always in its own order.
"""

import heapq
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from proxy.audit import Malformed
from proxy.audit.record import Record, parse
from proxy.cli.config import load_config
from proxy.cli.ending import stop_for
from proxy.cli.rows import harmless
from proxy.store.reader import entries
from proxy.store.tiles import CHECKPOINT, PENDING, Tiles

LogDir = Annotated[
    Path | None,
    typer.Option("--log", help="Directory of one log.", show_default="all logs of the state directory"),
]
State = Annotated[Path | None, typer.Option("--state", help="Directory of keys, tasks and logs.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="The configuration; default ./gatepass.yaml.")
]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry with the name of its log and its leaf index; no record if it cannot be read."""

    log: str
    index: int
    record: Record | None
    problem: str


def chosen(log: Path | None, state: Path | None, config: Path | None) -> list[Path]:
    """The log that is named, else every log of the state directory; exits 2 if there is none."""
    if log is not None:
        return [log] if _is_log(log) else _none(log)
    loaded = load_config(config, state=state)
    if isinstance(loaded, list):
        stop_for(loaded)
    return logs_of(loaded.state) or _none(loaded.state / "log")


def logs_of(state: Path) -> list[Path]:
    """The logs of a state directory, in the order of their numbers."""
    numbered = {
        int(path.name.removeprefix("log-")): path
        for path in state.glob("log-*")
        if path.name.removeprefix("log-").isdecimal()
    }
    found = [state / "log", *(path for _, path in sorted(numbered.items()))]
    return [path for path in found if _is_log(path)]


def read(logs: Sequence[Path]) -> Iterator[Entry]:
    """Every entry of these logs."""
    return (entry for _, entry in heapq.merge(*map(_timed, logs), key=lambda item: item[0]))


def read_records(logs: Sequence[Path]) -> Iterator[Record]:
    """Every record; an entry that is none is pointed out on standard error."""
    for entry in read(logs):
        if entry.record is None:
            words = f"entry {entry.index} cannot be read ({entry.problem}); run `gatepass log verify`"
            where = f"in {entry.log}, " if logs[1:] else ""
            print(f"gatepass log: {harmless(where + words)}", file=sys.stderr)
        else:
            yield entry.record


def stop(message: str) -> NoReturn:
    """Say in one line what is wrong and what to do, and exit 2."""
    print(f"gatepass log: {harmless(message)}", file=sys.stderr)
    raise typer.Exit(2)


def _timed(log: Path) -> Iterator[tuple[int, Entry]]:
    """The entries of one log, each with a time that never goes back: clocks are set, order is not."""
    time = 0
    for index, data in enumerate(entries(log)):
        try:
            record = parse(data)
        except Malformed as error:
            yield time, Entry(log.name, index, None, str(error))
        else:
            time = max(time, record.time)
            yield time, Entry(log.name, index, record, "")


def _is_log(directory: Path) -> bool:
    tiles = Tiles(directory)
    return tiles.exists(CHECKPOINT) or tiles.exists(PENDING)


def _none(directory: Path) -> NoReturn:
    stop(f"there is no log in {directory}; name one with --log, or make a call through gatepass first")
