import asyncio
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from proxy.audit.note import Signer
from proxy.cli.log import app
from proxy.cli.rows import harmless
from proxy.store.log import TiledLog
from tests.audit.logs import ORIGIN, Writer

SEED = b"\x07" * 32
KEY = str(Signer(ORIGIN, SEED).vkey)
HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202ekcab\tx\ny\x9b31m\x7f"


def story():
    writer = Writer()
    entries = [writer.event("boot"), writer.event("task.open", task="t1", agent="a")]
    one, entry = writer.decide(path="/fine")
    entries += [entry, writer.end(one)]
    entries.append(writer.decide(effect="deny", code="default_deny", rule="", path="/no", detail=HOSTILE)[1])
    late, entry = writer.decide(path="/inside")
    entries += [entry, writer.end(late, result="refused", code="dest_private", status=403, detail="10.0.0.1")]
    entries.append(writer.decide(path="/open")[1])
    return entries


@pytest.fixture
def log(tmp_path):
    async def write():
        tiled = TiledLog.open(tmp_path, origin=ORIGIN, signer_seed=SEED)
        tiled.start()
        await asyncio.gather(*map(tiled.append, story()))
        tiled.close()

    asyncio.run(write())
    return tmp_path


def run(*args, **env):
    return CliRunner().invoke(app, list(map(str, args)), env=env)


def lines(result):
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.stdout.splitlines()]


def objects(result):
    assert result.exit_code == 0, result.output
    assert result.stdout.isascii()
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_show(log):
    head, *rows = lines(run("show", "--log", log))
    assert head == ["log", "index", "time", "record", "agent", "task", "verdict", "method", "url", "status"]
    assert [row[3] for row in rows] == [
        "boot",
        "task.open",
        "decision",
        "outcome",
        "decision",
        "decision",
        "outcome",
        "decision",
    ]
    assert rows[4] == [
        log.name,
        "4",
        "2025-11-22T04:18:05.000Z",
        "decision",
        "a",
        "t",
        "deny default_deny",
        "GET",
        "https://api.example.com/no",
        "403",
    ]


def test_show_json(log):
    found = objects(run("show", "--json", "--log", log))
    assert [row["index"] for row in found] == list(range(8))
    assert found[4]["record"] == json.loads(story()[4])


def test_blocked(log):
    _, *rows = lines(run("blocked", "--log", log))
    assert [row[1:] for row in rows] == [
        ["a", "t", "GET", "https://api.example.com/no", "default_deny", "", harmless(HOSTILE)],
        ["a", "t", "GET", "https://api.example.com/inside", "dest_private", "r", "10.0.0.1"],
    ]


def test_blocked_json(log):
    found = objects(run("blocked", "--json", "--log", log))
    assert [(row["code"], row["detail"]) for row in found] == [
        ("default_deny", HOSTILE),
        ("dest_private", "10.0.0.1"),
    ]
    assert found[0]["record"] == json.loads(story()[4])["id"]


def test_trace(log):
    _, *rows = lines(run("trace", "t", "--log", log))
    assert [row[1:8] for row in rows] == [
        ["call", "a", "GET", "https://api.example.com/fine", "allow", "complete", "200"],
        ["call", "a", "GET", "https://api.example.com/no", "deny default_deny", "", "403"],
        ["call", "a", "GET", "https://api.example.com/inside", "allow", "refused dest_private", "403"],
        ["call", "a", "GET", "https://api.example.com/open", "allow", "", ""],
    ]


def test_trace_json(log):
    found = objects(run("trace", "t1", "--json", "--log", log))
    assert [row["event"]["type"] for row in found] == ["task.open"]
    calls = objects(run("trace", "t", "--json", "--log", log))
    assert [(row["outcome"] or {}).get("type") for row in calls] == ["outcome", None, "outcome", None]


def test_trace_of_an_unknown_task(log):
    result = run("trace", "x\x1b[1m", "--log", log)
    assert result.exit_code == 2
    assert "knows no task x\\x1b[1m" in result.stderr


@pytest.mark.parametrize("key", [(), ("--key", KEY)])
def test_verify(log, key):
    result = run("verify", "--log", log, *key)
    assert result.exit_code == 0
    assert result.stdout.startswith("OK: all 8 entries are as they were signed\n")
    assert f"key\t{KEY}\n" in result.stdout
    assert ("found beside the log" in result.stdout) == (not key)
    shown = objects(run("verify", "--json", "--log", log, *key))[0]
    assert (shown["ok"], shown["size"], shown["origin"], shown["key_given"]) == (True, 8, ORIGIN, bool(key))


def test_verify_names_the_changed_entry(log):
    for name in ("pending", "tile/entries/000.p/8"):
        data = (log / name).read_bytes()
        (log / name).write_bytes(data.replace(b'"detail":"10.0.0.1"', b'"detail":"10.0.0.2"'))
    result = run("verify", "--log", log)
    assert result.exit_code == 1
    assert result.stdout.startswith("BROKEN at index 6: entry 6 is not what the hash tile tile/0/000 holds\n")
    shown = run("verify", "--json", "--log", log)
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["index"] == 6


def test_verify_with_another_key(log):
    result = run("verify", "--log", log, "--key", Signer(ORIGIN, b"\x08" * 32).vkey)
    assert result.exit_code == 1
    assert "BROKEN at the checkpoint" in result.stdout


def test_verify_without_a_usable_key(log):
    assert run("verify", "--log", log, "--key", "nonsense").exit_code == 2
    (log / "log.vkey").unlink()
    result = run("verify", "--log", log)
    assert result.exit_code == 2
    assert "--key" in result.stderr


@pytest.mark.parametrize("verb", [["show"], ["blocked"], ["trace", "t"], ["verify"]])
def test_no_log(tmp_path, verb):
    result = run(*verb, GATEPASS_STATE=str(tmp_path))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert (
        result.stderr
        == f"gatepass log: there is no log in {tmp_path / 'log'}; name one with --log, or make a call through gatepass first\n"
    )


def test_what_cannot_be_read_is_pointed_out(log):
    data = (log / "pending").read_bytes()
    (log / "pending").write_bytes(data.replace(b'"v":1', b'"v":7', 1))
    shown = lines(run("show", "--log", log))
    assert shown[1][3] == "(not a record of version 1)"
    assert objects(run("show", "--json", "--log", log))[0] == {
        "log": log.name,
        "index": 0,
        "problem": "not a record of version 1",
    }
    assert "entry 0 cannot be read" in run("blocked", "--log", log).stderr


def test_a_table_on_a_terminal(log):
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from proxy.cli.log import app; app()",
            "blocked",
            "--log",
            str(log),
        ],
        stdout=terminal,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "COLUMNS": "250", "TERM": "xterm"},
    ):
        os.close(terminal)
        shown = b""
        while True:
            try:
                part = os.read(controller, 65536)
            except OSError:  # how Linux says that the other side has closed
                break
            if not part:
                break
            shown += part
    os.close(controller)
    assert b"default_deny" in shown
    assert b"\\x1b[2J" in shown
    assert b"\x1b[2J" not in shown
    assert b"\x1b]0;" not in shown
    assert "\u202e".encode() not in shown


@given(st.text())
def test_what_is_harmless(text):
    shown = harmless(text)
    assert shown.isprintable()
    assert harmless(shown) == shown
    assert shown == text or not text.isprintable()


def test_escapes():
    assert harmless(HOSTILE) == r"\x1b[2J\x1b]0;owned\x07\u202ekcab\x09x\x0ay\x9b31m\x7f"
    assert harmless("\U000e0001") == r"\U000e0001"
