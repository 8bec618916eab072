"""``gatepass run``: a program, its task, its end, and what is said about it."""

import asyncio
import json
import os
import signal
import stat
import sys
import textwrap
from contextlib import asynccontextmanager

import pytest

from proxy.audit.note import Vkey
from proxy.audit.record import parse
from proxy.audit.verify import Verified, verify
from proxy.identity.principal import TaskState
from proxy.store.reader import entries
from proxy.store.tasks import TaskStore
from proxy.store.tiles import Tiles
from tests.support import demo_rules
from tests.support.upstream import Upstream

SECRET = "sk-live-0123456789abcdef"
AGENT = textwrap.dedent("""
    import json, os, sys, urllib.error, urllib.request
    seen = []
    for url in sys.argv[1:]:
        request = urllib.request.Request(url, headers={"Authorization": "Bearer " + os.environ.get("API_TOKEN", "")})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                seen.append([answer.status, answer.read().decode()])
        except urllib.error.HTTPError as error:
            with error:
                seen.append([error.code, error.read().decode()])
    print(json.dumps({"seen": seen, "environment": dict(os.environ)}))
""")


@asynccontextmanager
async def api(gatepass, *policies):
    """An API, rules of one agent that may read there, and a configuration that leads to it."""
    async with Upstream("api.test") as upstream:
        directory = gatepass.cwd
        service = demo_rules.service(
            "api", "api.test", ports=[upstream.port], credential=demo_rules.from_env("API_TOKEN")
        )
        demo_rules.write_rules(
            directory / "rules", services=[service], policies=[demo_rules.permit("reads"), *policies]
        )
        upstream.write_ca(directory / "roots")
        demo_rules.write_config(
            directory / "gatepass.yaml",
            state=gatepass.state,
            rules=directory / "rules",
            roots=directory / "roots",
            hosts={"api.test": ["127.0.0.1"]},
            private=[("api.test", upstream.port)],
        )
        (directory / "agent.py").write_text(AGENT)
        yield upstream


def records(log):
    return [parse(entry) for entry in entries(log)]


def the_task(state):
    with TaskStore.open(state / "tasks.sqlite3") as store:
        (stored,) = store.list()
    return stored


async def test_an_agent_calls_with_a_credential_that_it_never_has(gatepass):
    async with api(gatepass) as upstream:
        base = f"https://api.test:{upstream.port}"
        done = await gatepass(
            *("run", "--purpose", "a test", "--scope", "s2", "--scope", "s1"),
            *("--", sys.executable, "agent.py", f"{base}/a", f"{base}/b", "http://169.254.169.254/latest"),
            API_TOKEN=SECRET,
            GITHUB_URL=f"https://x:{SECRET}@example.org",
            JAVA_TOOL_OPTIONS="-Xmx64m",
        )
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert [status for status, _ in told["seen"]] == [200, 200, 403]
    sent = [dict(json.loads(body)["headers"])["Authorization"] for _, body in told["seen"][:2]]
    assert sent == [f"Bearer {SECRET}"] * 2

    environment = told["environment"]
    assert environment["API_TOKEN"].startswith("gp_")
    assert SECRET not in json.dumps(environment)
    assert not [name for name in environment if name.startswith("GATEPASS_") or name == "GITHUB_URL"]
    assert environment["JAVA_TOOL_OPTIONS"].startswith("-Xmx64m -D")
    assert environment["no_proxy"] == environment["NO_PROXY"] == ""

    token = environment["HTTPS_PROXY"].split(":")[2].split("@")[0]
    assert SECRET not in done.err
    assert token not in done.err
    assert environment["API_TOKEN"] not in done.err
    assert "kept from the program, because they hold a credential: GITHUB_URL" in done.lines[0]

    stored = the_task(gatepass.state)
    assert (stored.task.state, stored.reason) == (TaskState.ENDED, "the program ended")
    assert (stored.task.purpose, stored.task.scopes) == ("a test", ("s1", "s2"))
    assert f"task {stored.task.id}: 3 calls" in done.lines[1]
    assert "2 allowed, 1 refused" in done.lines[1]
    rows = [line.split() for line in done.lines[3:-1]]
    assert rows[0][:5] == ["169.254.169.254", "1", "0", "1", "0"]
    assert rows[0][-1] == "dest_metadata"
    assert rows[1][:5] == [f"api.test:{upstream.port}", "2", "2", "0", "0"]
    assert rows[2][0] == "total"

    story = await gatepass("log", "trace", stored.task.id, "--json")
    kinds = [next(iter(json.loads(line))) for line in story.out.splitlines()]
    assert kinds == ["event", "decision", "decision", "decision", "event"]
    assert (await gatepass("log", "verify")).status == 0


async def test_the_summary_as_json(gatepass):
    async with api(gatepass, demo_rules.forbid("no-deletes")) as upstream:
        url = f"https://api.test:{upstream.port}/a"
        call = f"import urllib.request as u; u.urlopen(u.Request({url!r}, method='DELETE'))"
        done = await gatepass("run", "--json", "--", sys.executable, "-c", call, API_TOKEN=SECRET)
    assert done.status == 1
    told = json.loads(done.lines[-1])
    host = told["hosts"][f"api.test:{upstream.port}"]
    assert host["why"] == {"policy_deny no-deletes": 1}
    assert host["refused"] == told["total"]["refused"] == told["total"]["calls"] == 1
    assert (told["status"], told["observed"], told["agent"]) == (1, False, "tester")
    assert told["task"] == the_task(gatepass.state).task.id
    assert upstream.requests == []


async def test_without_rules_it_observes_and_says_so_loudly(gatepass):
    done = await gatepass("run", "--", "true")
    assert done.status == 0
    assert done.out == ""
    assert "OBSERVING ONLY" in done.err
    assert "\x1b" not in done.err
    assert done.lines[-1].startswith("gatepass: agent observer, task t-")
    assert ": no call in " in done.lines[-1]


async def test_rules_that_are_named_and_absent_are_not_no_rules(gatepass, tmp_path):
    done = await gatepass("run", "--rules", tmp_path / "rulse", "--", "true")
    assert (done.status, len(done.lines)) == (2, 1)
    assert "there is no such directory" in done.err
    (tmp_path / "gatepass.yaml").write_text("rules: rulse\n")
    done = await gatepass("run", "--", "true")
    assert (done.status, len(done.lines)) == (2, 1)
    assert "there is no directory rulse" in done.err
    (tmp_path / "gatepass.yaml").write_text("upstream: {roots: nowhere}\n")
    done = await gatepass("run", "--", "true")
    assert (done.status, len(done.lines)) == (2, 1)
    assert "there is no directory nowhere" in done.err


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
async def test_the_status_is_the_program_s(gatepass, script, status):
    assert (await gatepass("run", "--", "sh", "-c", script)).status == status


async def test_what_cannot_run_starts_nothing(gatepass, tmp_path):
    done = await gatepass("run", "--", "no-such-program")
    assert (done.status, done.err) == (127, "gatepass: no-such-program: command not found\n")
    plain = tmp_path / "plain"
    plain.write_text("")
    done = await gatepass("run", "--", plain)
    assert (done.status, done.err) == (126, f"gatepass: {plain} cannot be executed\n")
    assert not gatepass.state.exists()


async def test_words_after_the_program_are_the_program_s(gatepass):
    done = await gatepass("run", "echo", "--json", "-h")
    assert (done.status, done.out) == (0, "--json -h\n")


async def test_an_agent_that_is_not_registered_is_one_line(gatepass):
    async with api(gatepass):
        done = await gatepass("run", "--agent", "nobody", "--", "true")
    assert (done.status, len(done.lines)) == (2, 1)
    assert "'nobody' is not registered (registered: tester)" in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signals_reach_the_program_and_the_task_ends(gatepass, number):
    script = (
        f"trap 'echo got; exit 5' {number.name.removeprefix('SIG')}; echo ready; while :; do sleep 0.05; done"
    )
    process = await gatepass.start("run", "--", "sh", "-c", script)
    assert await process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    done = await gatepass.end(process)
    assert (done.status, done.out) == (5, "got\n")
    assert the_task(gatepass.state).task.state is TaskState.ENDED


async def test_a_task_whose_time_is_up_is_told(gatepass):
    os.mkfifo(gatepass.cwd / "fifo")
    process = await gatepass.start("run", "--ttl", "2s", "--", "sh", "-c", "read line <fifo || true")
    async with asyncio.timeout(30):
        while b"the task is over (expired)" not in (line := await process.stderr.readline()):
            assert line, "it ended without a word"
    with (gatepass.cwd / "fifo").open("w"):  # the program ends once it has met the end of the pipe
        pass
    assert (await gatepass.end(process)).status == 0


async def test_two_at_once_have_a_log_each_and_all_are_read(gatepass):
    os.mkfifo(gatepass.cwd / "fifo")
    first = await gatepass.start("run", "--", "sh", "-c", "echo ready; read line <fifo || true")
    assert await first.stdout.readline() == b"ready\n"
    second = await gatepass("run", "--json", "--", "true")
    assert json.loads(second.lines[-1])["log"] == str(gatepass.state / "log-2")
    with (gatepass.cwd / "fifo").open("w"):
        pass
    assert (await gatepass.end(first)).status == 0
    vkeys = []
    for name in ("log", "log-2"):
        tiles = Tiles(gatepass.state / name)
        vkeys.append((tiles.read("log.vkey") or b"").decode().strip())
        assert isinstance(verify(tiles, Vkey.parse(vkeys[-1])), Verified)
    assert len({vkey.split("+")[0] for vkey in vkeys}) == len({vkey.split("+")[2] for vkey in vkeys}) == 2

    shown = await gatepass("log", "show")
    assert {line.split("\t")[0] for line in shown.out.splitlines()} == {"log", "log-2"}
    told = [json.loads(line) for line in (await gatepass("log", "verify", "--json")).out.splitlines()]
    assert [(row["ok"], row["log"].rpartition("/")[2]) for row in told] == [(True, "log"), (True, "log-2")]
    assert (await gatepass("log", "verify", "--key", vkeys[1], "--key", vkeys[0])).status == 0
    alone = await gatepass("log", "verify", "--key", vkeys[0])
    assert (alone.status, alone.out) == (2, "")
    assert "no --key is for" in alone.err

    checkpoint = gatepass.state / "log-2" / "checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes().replace(b"\n", b"0\n", 2))
    broken = await gatepass("log", "verify")
    assert broken.status == 1
    assert [line.split()[0] for line in broken.out.splitlines() if line[:2] in ("OK", "BR")] == [
        "OK:",
        "BROKEN",
    ]


async def test_what_is_written_is_private(gatepass):
    assert (await gatepass("run", "--", "true")).status == 0
    for path in (gatepass.state / "keys", gatepass.state / "tasks.sqlite3", gatepass.state / "log"):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


async def test_the_task_is_what_the_words_ask_for(gatepass):
    async with api(gatepass):
        words = ("--service", "api", "--ticket", "ISSUE-7", "--approver", "grace", "--depth", "0")
        limits = ("--max-requests", "1", "--max-octets", "1000000")
        done = await gatepass("run", *words, *limits, "--", "true")
        assert done.status == 0
    with TaskStore.open(gatepass.state / "tasks.sqlite3") as store:
        (task,) = [stored.task for stored in store.list()]
    assert (task.services, task.ticket, task.approver, task.depth) == (("api",), "ISSUE-7", "grace", 0)
    assert (task.budgets.requests, task.budgets.octets) == (1, 1_000_000)


async def test_a_revoked_agent_runs_nothing(gatepass):
    async with api(gatepass):
        assert (await gatepass("revoke", "agent", "tester", "--reason", "key leaked")).status == 0
        done = await gatepass("run", "--", "touch", "ran")
    assert (done.status, len(done.lines), done.out) == (1, 1, "")
    assert "no task was started: the agent tester is revoked: key leaked" in done.err
    assert not (gatepass.cwd / "ran").exists()
