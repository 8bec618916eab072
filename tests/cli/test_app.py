"""Every verb is there, explains itself, and ends in one line."""

import asyncio
import os
import re
import signal
import subprocess
import sys

import pytest

from proxy import __version__
from proxy.cli.app import Verbs, app, invoke
from proxy.store.tasks import TaskStore
from tests.cli.conftest import ROOT

VERBS = ["run", "init", "serve", "task", "revoke", "approvals", "log", "policy", "ca", "doctor"]
LEAVES = [
    ["run"],
    ["init"],
    ["serve"],
    ["doctor"],
    *(["task", verb] for verb in ("start", "end", "list", "show")),
    *(["revoke", verb] for verb in ("agent", "task", "token", "key", "issuer", "all", "list", "lift")),
    *(["approvals", verb] for verb in ("list", "show", "approve", "deny")),
    *(["log", verb] for verb in ("show", "blocked", "trace", "verify")),
    *(
        ["policy", verb]
        for verb in (
            *("check", "test", "explain", "suggest", "replay", "unused"),
            *("import-openapi", "sign", "keygen"),
        )
    ),
    ["ca", "export"],
]


def test_the_verbs_are_those_of_the_help(capsys):
    assert invoke(["--help"]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"^  ([a-z]+)  ", shown.split("Commands:")[1], re.MULTILINE) == VERBS
    assert "--install-completion" in shown
    assert "Example: gatepass run" in shown


def test_every_leaf_is_tested_here(capsys):
    for group in ("task", "revoke", "approvals", "log", "policy", "ca"):
        assert invoke([group, "--help"]) == 0
        verbs = re.findall(r"^  ([a-z-]+)  ", capsys.readouterr().out.split("Commands:")[1], re.MULTILINE)
        assert [[group, verb] for verb in verbs] == [leaf for leaf in LEAVES if leaf[0] == group]


@pytest.mark.parametrize("leaf", LEAVES, ids=" ".join)
def test_a_verb_explains_itself_with_an_example(leaf, capsys):
    assert invoke([*leaf, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: gatepass {' '.join(leaf)}" in shown
    assert f"Example: {'eval' if leaf == ['task', 'start'] else 'gatepass'}" in shown
    assert "--json" in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_shells_complete_its_verbs(gatepass, shell):
    # By itself it looks for the shell among its parents, and a test may have none.
    shown = await gatepass("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert shown.status == 0
    assert "_GATEPASS_COMPLETE" in shown.out
    words = {"COMP_WORDS": "gatepass re", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "gatepass re"}
    asked = await gatepass(
        _GATEPASS_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_FISH_ACTION="get-args", **words
    )
    assert "revoke" in asked.out


def test_version(capsys):
    assert invoke(["--version"]) == 0
    assert capsys.readouterr().out == f"gatepass {__version__}\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["serv"], "gatepass: No such command 'serv'"),
        (["serve", "--foo"], "gatepass: No such option: --foo"),
        (["run"], "gatepass: Missing argument 'CMD...'; see `gatepass run --help`"),
        (["run", "--ttl", "soon", "--", "true"], "gatepass: --ttl: 'soon' is not a duration"),
        (["task", "show"], "gatepass: Missing argument"),
        (["revoke", "agent", "coder"], "gatepass: Missing option '--reason'"),
        (["revoke", "all"], "gatepass: Missing option '--reason'"),
    ],
    ids=" ".join,
)
def test_wrong_words_are_one_line_and_status_2(words, line, capsys):
    assert invoke(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(line)
    assert len(shown.err.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["task"], ["log"]], ids=str)
def test_no_words_are_help_and_status_2(words, capsys):
    assert invoke(words) == 2
    assert "Commands:" in capsys.readouterr().err


def test_what_should_not_happen_is_one_line(capsys, monkeypatch, tmp_path):
    TaskStore.open(tmp_path / "tasks.sqlite3").close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEPASS_DEBUG", raising=False)
    words = [
        "task",
        "show",
        "--state",
        str(tmp_path),
        "t\udcff",
    ]  # how Python reads octets that are not UTF-8
    assert invoke(words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("gatepass: this should not have happened: UnicodeEncodeError: ")
    assert len(shown.splitlines()) == 1
    monkeypatch.setenv("GATEPASS_DEBUG", "1")
    assert invoke(words) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_one_line(capsys, tmp_path):
    (tmp_path / "pending").mkdir()
    assert invoke(["log", "show", "--log", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"gatepass: {tmp_path / 'pending'}: Is a directory\n"


async def test_an_interrupt_is_one_line(gatepass, tmp_path):
    slow = tmp_path / "pipe"
    os.mkfifo(slow)
    # reading a configuration from a pipe that nobody writes waits until somebody interrupts it
    process = await gatepass.start("task", "list", "--config", slow)
    writer = await asyncio.to_thread(open, slow, "wb")  # returns once the other side is reading
    ending = asyncio.ensure_future(gatepass.end(process))
    with writer:
        while not ending.done():
            # Python only notes a signal that comes just before it begins to read, and reads on: then another
            process.send_signal(signal.SIGINT)
            await asyncio.wait([ending], timeout=2)
    done = await ending
    assert (done.status, done.out, done.err) == (130, "", "gatepass: interrupted\n")


def test_serving_loads_nothing_that_only_people_or_other_engines_need():
    code = (
        "import sys, proxy.cli.serve; print(*{'rich', 'mitmproxy', 'aiohttp', 'pygments'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout == "\n"


def test_an_error_has_no_room_for_local_variables():
    assert app.pretty_exceptions_enable is False
    assert Verbs().get_command(None, "nonsense") is None


async def test_output_that_nobody_reads_is_no_error(gatepass):
    process = await gatepass.start("--help")
    process.stdout._transport.close()
    done = await gatepass.end(process)
    assert "Traceback" not in done.err
