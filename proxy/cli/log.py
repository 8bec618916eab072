"""``gatepass log``: read and verify the audit log (records: ``proxy.audit.record``)."""

import base64
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from proxy.audit import Malformed
from proxy.audit.note import Vkey
from proxy.audit.record import Record, parse
from proxy.audit.trace import Call, chain, refused
from proxy.audit.verify import Broken, verify
from proxy.cli.rows import harmless, print_json, print_rows
from proxy.cli.state import default_log_dir
from proxy.store.reader import entries
from proxy.store.tiles import CHECKPOINT, PENDING, VKEY, Tiles

app = typer.Typer(help="Read and verify the audit log.", no_args_is_help=True)

LogDir = Annotated[
    Path | None, typer.Option("--log", help="Directory of the log.", show_default="the state directory's log")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry with its leaf index; no record if it cannot be read."""

    index: int
    record: Record | None
    problem: str


@app.command()
def show(log: LogDir = None, json: Json = False) -> None:
    """Show every record."""
    found = _read(_directory(log))
    if json:
        for entry in found:
            record = entry.record
            print_json(
                {"index": entry.index, **({"record": record.raw} if record else {"problem": entry.problem})}
            )
        return
    columns = ("index", "time", "record", "agent", "task", "verdict", "method", "url", "status")
    print_rows(columns, (_show_row(entry) for entry in found))


@app.command()
def blocked(log: LogDir = None, json: Json = False) -> None:
    """List the calls that were refused, and why."""
    columns = ("time", "agent", "task", "method", "url", "code", "rule", "detail")
    readable = _readable(_read(_directory(log)))
    found = refused(readable)
    rows = [
        (
            *(_time(decision), decision.agent, decision.task, decision.method, decision.url),
            *(why.code, why.rule or decision.rule, why.detail),
        )
        for decision, why in found
    ]
    if not json:
        return print_rows(columns, rows)
    for (decision, _), row in zip(found, rows, strict=True):
        print_json({**dict(zip(columns, row, strict=True)), "record": decision.id})
    return None


@app.command()
def trace(task: str, log: LogDir = None, json: Json = False) -> None:
    """Tell the story of one task: its events, its calls, what came of them."""
    directory = _directory(log)
    story = chain(_readable(_read(directory)), task)
    if not story:
        _stop(
            f"the log in {directory} knows no task {harmless(task)}; `gatepass log show` lists what there is"
        )
    if json:
        for item in story:
            if isinstance(item, Call):
                outcome = item.outcome.raw if item.outcome else None
                print_json({"decision": item.decision.raw, "outcome": outcome})
            else:
                print_json({"event": item.raw})
        return
    columns = ("time", "what", "method", "url", "verdict", "outcome", "status", "detail")
    print_rows(columns, map(_trace_row, story))


@app.command(name="verify")
def verify_log(
    log: LogDir = None,
    key: Annotated[
        str | None, typer.Option("--key", help="The verifier key you trust (name+id+key).")
    ] = None,
    json: Json = False,
) -> None:
    """Verify signature, hashes and order of the whole log. Exit status 1 if it does not hold."""
    directory = _directory(log)
    tiles = Tiles(directory)
    vkey, trusted = _key(tiles, key), key is not None
    result = verify(tiles, vkey)
    if isinstance(result, Broken):
        verdict = {"ok": False, "index": result.index, "what": result.what, "key": str(vkey)}
        place = "the checkpoint" if result.index is None else f"index {result.index}"
        line = f"BROKEN at {place}: {result.what}"
    else:
        root = base64.b64encode(result.root).decode()
        verdict = {"ok": True, "origin": result.origin, "size": result.size, "root": root}
        verdict |= {"unsigned": result.unsigned, "key": result.key, "key_given": trusted}
        line = f"OK: all {result.size} entries are as they were signed"
    if json:
        print_json(verdict)
    else:
        print(harmless(line))
        for name in ("origin", "size", "unsigned", "root", "key"):
            if name in verdict:
                print(f"{name}\t{harmless(str(verdict[name]))}")
        if not trusted:
            print(f"note\tthe key was found beside the log ({VKEY}); give the one you trust with --key")
    if isinstance(result, Broken):
        raise typer.Exit(1)


def _directory(log: Path | None) -> Path:
    directory = log or default_log_dir()
    tiles = Tiles(directory)
    if not tiles.exists(CHECKPOINT) and not tiles.exists(PENDING):
        _stop(f"there is no log in {directory}; name one with --log, or make a call through gatepass first")
    return directory


def _key(tiles: Tiles, given: str | None) -> Vkey:
    text = given if given is not None else (tiles.read(VKEY) or b"").decode(errors="replace")
    try:
        return Vkey.parse(text.strip())
    except Malformed as error:
        if given is not None:
            _stop(f"--key: {error}; it looks like the line in the log's file {VKEY}")
        _stop(f"there is no usable key in {tiles.directory / VKEY}; give the one you trust with --key")


def _stop(message: str) -> NoReturn:
    print(f"gatepass log: {message}", file=sys.stderr)
    raise typer.Exit(2)


def _read(directory: Path) -> Iterator[Entry]:
    for index, entry in enumerate(entries(directory)):
        try:
            yield Entry(index, parse(entry), "")
        except Malformed as error:
            yield Entry(index, None, str(error))


def _readable(found: Iterator[Entry]) -> Iterator[Record]:
    for entry in found:
        if entry.record is None:
            message = f"entry {entry.index} cannot be read ({entry.problem}); run `gatepass log verify`"
            print(f"gatepass log: {message}", file=sys.stderr)
        else:
            yield entry.record


def _time(record: Record) -> str:
    seconds, rest = divmod(record.time, 1_000_000_000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03}Z"
    except (OverflowError, ValueError):  # no clock says so, but a tampered record may
        return f"{seconds}s"


def _verdict(record: Record) -> str:
    return " ".join(filter(None, (record.effect or record.result, record.code)))


def _status(record: Record) -> str:
    return "" if record.status is None else str(record.status)


def _show_row(entry: Entry) -> tuple[str, ...]:
    record = entry.record
    if record is None:
        return (str(entry.index), "", f"({entry.problem})", "", "", "", "", "", "")
    head = (str(entry.index), _time(record), record.kind, record.agent, record.task)
    return (*head, _verdict(record), record.method, record.url, _status(record))


def _trace_row(item: Record | Call) -> tuple[str, ...]:
    if isinstance(item, Record):
        return (_time(item), item.kind, "", "", _verdict(item), "", "", item.detail)
    decision, outcome = item.decision, item.outcome
    head = (_time(decision), "call", decision.method, decision.url, _verdict(decision))
    if outcome is None:
        return (*head, "", _status(decision), decision.detail)
    how = _verdict(outcome) or "unknown"
    return (*head, how, _status(outcome), outcome.detail or decision.detail)
