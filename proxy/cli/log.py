"""``gatepass log``: read and verify the audit log (records: ``proxy.audit.record``)."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from proxy.audit import Malformed
from proxy.audit.note import Vkey
from proxy.audit.record import Record
from proxy.audit.trace import Call, chain, refused
from proxy.audit.verify import Broken, Verified, verify
from proxy.cli.ending import NEGATIVE
from proxy.cli.logs import ConfigFile, Entry, LogDir, State, chosen, read, read_records, stop
from proxy.cli.rows import harmless, print_json, print_rows
from proxy.store.tiles import CHECKPOINT, VKEY, Tiles

app = typer.Typer(help="Read and verify the audit log.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]


@app.command()
def show(log: LogDir = None, state: State = None, config: ConfigFile = None, json: Json = False) -> None:
    """Show every record.

    Example: gatepass log show --json
    """
    found = read(chosen(log, state, config))
    if json:
        for entry in found:
            said = {"record": entry.record.raw} if entry.record else {"problem": entry.problem}
            print_json({"log": entry.log, "index": entry.index, **said})
        return
    columns = ("log", "index", "time", "record", "agent", "task", "verdict", "method", "url", "status")
    print_rows(columns, (_show_row(entry) for entry in found))


@app.command()
def blocked(log: LogDir = None, state: State = None, config: ConfigFile = None, json: Json = False) -> None:
    """List the calls that were refused, and why.

    Example: gatepass log blocked
    """
    columns = ("time", "agent", "task", "method", "url", "code", "rule", "detail")
    found = refused(read_records(chosen(log, state, config)))
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
def trace(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    log: LogDir = None,
    state: State = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Tell the story of one task: its events, its calls, what came of them.

    Example: gatepass log trace t-dplg6d76py4ulazz76gjulfwuy
    """
    logs = chosen(log, state, config)
    story = chain(read_records(logs), task)
    if not story:
        where = logs[0] if not logs[1:] else f"{logs[0]} and the {len(logs) - 1} beside it"
        stop(f"the log in {where} knows no task {task}; `gatepass log show` lists what there is")
    if json:
        for item in story:
            if isinstance(item, Call):
                outcome = item.outcome.raw if item.outcome else None
                print_json({"decision": item.decision.raw, "outcome": outcome})
            else:
                print_json({"event": item.raw})
        return
    columns = ("time", "what", "agent", "method", "url", "verdict", "outcome", "status", "detail")
    print_rows(columns, map(_trace_row, story))


@app.command(name="verify")
def verify_log(
    log: LogDir = None,
    state: State = None,
    config: ConfigFile = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar="VKEY", help="A verifier key you trust (name+id+key); one for each log."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Verify signature, hashes and order of each whole log. Exit status 1 if one does not hold.

    Example: gatepass log verify --key "$(cat trusted.vkey)"
    """
    logs = chosen(log, state, config)
    keys = _keys(logs, key or [])
    results = [(directory, vkey, verify(Tiles(directory), vkey)) for directory, vkey in keys]
    for directory, vkey, result in results:
        verdict = _verdict_of(result, vkey, trusted=bool(key)) | {"log": str(directory)}
        if json:
            print_json(verdict)
        else:
            _print_verdict(result, verdict, trusted=bool(key))
    if any(isinstance(result, Broken) for _, _, result in results):
        raise typer.Exit(NEGATIVE)


def _verdict_of(result: Verified | Broken, vkey: Vkey, *, trusted: bool) -> dict[str, object]:
    if isinstance(result, Broken):
        return {"ok": False, "index": result.index, "what": result.what, "key": str(vkey)}
    root = base64.b64encode(result.root).decode()
    verdict: dict[str, object] = {"ok": True, "origin": result.origin, "size": result.size, "root": root}
    return verdict | {"unsigned": result.unsigned, "key": result.key, "key_given": trusted}


def _print_verdict(result: Verified | Broken, verdict: dict[str, object], *, trusted: bool) -> None:
    if isinstance(result, Broken):
        place = "the checkpoint" if result.index is None else f"index {result.index}"
        print(harmless(f"BROKEN at {place}: {result.what}"))
    else:
        print(f"OK: all {result.size} entries are as they were signed")
    for name in ("log", "origin", "size", "unsigned", "root", "key"):
        if name in verdict:
            print(f"{name}\t{harmless(str(verdict[name]))}")
    if not trusted:
        print(f"note\tthe key was found beside the log ({VKEY}); give the one you trust with --key")


def _keys(logs: Sequence[Path], given: Sequence[str]) -> list[tuple[Path, Vkey]]:
    """The key that each log is to be verified with: one of those given, else the one beside it.

    With keys given none is taken from beside a log: it would prove nothing, and look as if it did.
    """
    if not given:
        return [(directory, _key_beside(Tiles(directory))) for directory in logs]
    try:
        keys = [Vkey.parse(text.strip()) for text in given]
    except Malformed as error:
        stop(f"--key: {error}; it looks like the line in the log's file {VKEY}")
    if not logs[1:] and not keys[1:]:
        return [(logs[0], keys[0])]
    found = []
    for directory in logs:
        name = _origin(Tiles(directory))
        vkey = next((vkey for vkey in keys if vkey.name == name), None)
        if vkey is None:
            stop(f"no --key is for {name}, the log in {directory}; give it too, or name one log with --log")
        found.append((directory, vkey))
    return found


def _origin(tiles: Tiles) -> str:
    """What the log calls itself, in its checkpoint or beside it; only to choose a key by."""
    text = tiles.read(CHECKPOINT) or tiles.read(VKEY) or b""
    line = text.decode(errors="replace").partition("\n")[0]
    return line if tiles.exists(CHECKPOINT) else line.partition("+")[0]


def _key_beside(tiles: Tiles) -> Vkey:
    try:
        return Vkey.parse((tiles.read(VKEY) or b"").decode(errors="replace").strip())
    except Malformed:
        stop(f"there is no usable key in {tiles.directory / VKEY}; give the one you trust with --key")


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
        return (entry.log, str(entry.index), "", f"({entry.problem})", "", "", "", "", "", "")
    head = (entry.log, str(entry.index), _time(record), record.kind, record.agent, record.task)
    return (*head, _verdict(record), record.method, record.url, _status(record))


def _trace_row(item: Record | Call) -> tuple[str, ...]:
    if isinstance(item, Record):
        return (_time(item), item.kind, item.agent, "", "", _verdict(item), "", "", item.detail)
    decision, outcome = item.decision, item.outcome
    head = (_time(decision), "call", decision.agent, decision.method, decision.url, _verdict(decision))
    if outcome is None:
        return (*head, "", _status(decision), decision.detail)
    how = _verdict(outcome) or "unknown"
    return (*head, how, _status(outcome), outcome.detail or decision.detail)
