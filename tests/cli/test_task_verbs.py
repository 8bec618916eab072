"""``gatepass task``: what a person types, and what a script reads."""

import json
import re
import shlex
import subprocess

import pytest
from typer.testing import CliRunner

from proxy.cli.task import app
from proxy.identity.arrival import Arrival
from proxy.identity.attribution import Attributor
from proxy.identity.presented import Presented
from proxy.identity.principal import Agent, Budgets, Principal, Task
from proxy.identity.registry import Registry
from proxy.identity.revocation import Kind, Order
from proxy.identity.task import Manifest, make_task, manifest_bytes
from proxy.store.keyring import Keyring
from proxy.store.tasks import TaskStore
from tests.support.believing import sessions_of
from tests.support.demo_rules import agent, from_env, permit, service, write_rules

RUNNER = CliRunner()
TASK = re.compile(r"t-[a-z2-7]{26}")


class World:
    def __init__(self, path) -> None:
        self.rules = path / "rules"
        self.state = path / "state"
        write_rules(
            self.rules,
            agents=[agent("coder")],
            services=[service("api", credential=from_env("API_KEY"))],
            policies=[permit("read-api", who="coder")],
        )

    def run(self, *arguments: str, status: int = 0):
        result = RUNNER.invoke(app, [*arguments, "--state", str(self.state)])
        assert result.exit_code == status, result.output
        if status:
            assert len(result.stderr.splitlines()) == 1
            assert result.stdout == ""
        return result

    def start(self, *arguments: str, status: int = 0):
        return self.run("start", "--rules", str(self.rules), *arguments, status=status)

    def started(self, *arguments: str) -> dict:
        return json.loads(self.start("--json", *arguments).stdout)

    def read(self, *arguments: str) -> list[dict]:
        return [json.loads(line) for line in self.run(*arguments, "--json").stdout.splitlines()]


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no gatepass.yaml is
    return World(tmp_path)


def test_start_prints_what_a_shell_can_take_over(world):
    output = world.start("--purpose", "fix issue 7").stdout
    task = TASK.search(output)[0]
    shell = subprocess.run(
        ["/bin/sh", "-c", f'eval {shlex.quote(output)}; echo "$API_KEY $HTTPS_PROXY"'],
        capture_output=True,
        text=True,
        check=True,
    )
    placeholder, url = shell.stdout.split()
    assert placeholder.startswith("gp_")
    assert re.fullmatch(r"http://task:[A-Za-z0-9._-]+@127\.0\.0\.1:8470", url)
    assert f"# proxy    {url}" in output
    assert re.search(r"^# expires  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", output, re.MULTILINE)
    assert shell.stderr == ""
    with TaskStore.open(world.state / "tasks.sqlite3") as store:
        assert store.get(task).task.purpose == "fix issue 7"


def test_the_token_it_prints_counts(world):
    started = world.started("--scope", "b", "--scope", "a", "--on-behalf-of", "ada", "--ttl", "2h30m")
    assert started["scopes"] == ["a", "b"]
    assert started["on_behalf_of"] == "ada"
    assert started["proxy"] == f"http://task:{started['token']}@127.0.0.1:8470"
    assert started["placeholders"]["api"] == started["variables"]["API_KEY"]
    with TaskStore.open(world.state / "tasks.sqlite3") as store:
        task = store.get(started["task"]).task
    assert task.expires_at - task.issued_at == 9000
    keys = Keyring.open(world.state)
    registry = Registry.of([Agent("coder", "development", "standard", "a", "b")])
    attributor = Attributor(sessions_of(keys), registry, {task.id: task})
    presented = Presented("basic", started["token"].encode())
    arrival = Arrival("127.0.0.1:1", "127.0.0.1")
    assert isinstance(attributor.attribute(arrival, presented, task.issued_at), Principal)


@pytest.mark.parametrize(
    ("given", "reached"),
    [("127.0.0.1:9000", "@127.0.0.1:9000"), ("0.0.0.0:9000", "@127.0.0.1:9000"), ("[::1]:80", "@[::1]:80")],
)
def test_the_proxy_s_address_can_be_said(world, given, reached):
    assert world.started("--proxy", given)["proxy"].endswith(reached)


def test_the_proxy_s_address_comes_from_the_configuration(world, tmp_path):
    (tmp_path / "gatepass.yaml").write_text(
        "listen:\n  - {address: '127.0.0.1:1', agent: coder}\n  - {address: '127.0.0.1:7000'}\n"
    )
    assert world.started()["proxy"].endswith("@127.0.0.1:7000")
    (tmp_path / "gatepass.yaml").write_text("listen:\n  - {address: '127.0.0.1:0'}\n")
    assert "--proxy" in world.start(status=2).stderr
    (tmp_path / "gatepass.yaml").write_text(
        "listen:\n  - {unix: run.sock}\n  - {address: '127.0.0.1:1', tls: {trust_domain: example.org}}\n"
    )
    assert "--proxy" in world.start(status=2).stderr  # a URL and a token do not lead there


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--agent", "nobody"), "coder"),
        (("--ttl", "soon"), "90s"),
        (("--ttl", "99d"), "30 days"),
        (("--scope", "a b"), "scope"),
        (("--proxy", "here"), "HOST:PORT"),
        (("--config", "none.yaml"), "gatepass init"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(world, arguments, words):
    assert words in world.start(*arguments, status=2).stderr


def test_end_show_and_list(world):
    first, second = world.started("--purpose", "one")["task"], world.started("--purpose", "two")["task"]
    assert {task["task"] for task in world.read("list")} == {first, second}
    (shown,) = world.read("show", first)
    assert shown["state"] == "open"
    assert shown["ended"] is None
    assert shown["services"] is None
    assert shown["placeholders"] == ["api"]
    assert f"ended {first}" in world.run("end", first, "--reason", "done").stdout
    assert "over already: ended, done" in world.run("end", first).stdout
    (shown,) = world.read("show", first)
    assert (shown["state"], shown["reason"]) == ("ended", "done")
    assert shown["ended"]
    assert [task["task"] for task in world.read("list", "--open")] == [second]
    (ended,) = world.read("end", second)
    assert (ended["task"], ended["state"], ended["reason"]) == (second, "ended", "ended by hand")


def below(store: TaskStore, parent: Task, name: str) -> Task:
    """What an agent would get from its desk: a task delegated from this one."""
    words = Manifest(
        name,
        "helps",
        (),
        parent.environment,
        parent.issued_at,
        parent.expires_at,
        parent.on_behalf_of,
        f"{parent.depth:032x}",
        services=("api",),
        budgets=Budgets(requests=5),
        parent=parent.id,
        depth=parent.depth - 1,
    )
    task = make_task(words)
    store.create(task, manifest_bytes(words), (), f"agent:{parent.agent}")
    return task


def test_what_a_task_is_narrowed_to_can_be_said(world):
    started = world.started(
        *("--service", "api", "--ticket", "ISSUE-7", "--approver", "grace", "--max-requests", "10"),
        *("--max-octets", "2000", "--depth", "1"),
    )
    with TaskStore.open(world.state / "tasks.sqlite3") as store:
        stored = store.get(started["task"])
    task = stored.task
    assert (task.services, task.ticket, task.approver) == (("api",), "ISSUE-7", "grace")
    assert (task.budgets, task.depth) == (Budgets(10, 2000), 1)
    assert stored.opened_by == "cli"
    told = {name: started[name] for name in ("services", "ticket", "approver", "requests", "octets", "depth")}
    assert told == {
        "services": ["api"],
        "ticket": "ISSUE-7",
        "approver": "grace",
        "requests": 10,
        "octets": 2000,
        "depth": 1,
    }
    assert started["placeholders"].keys() == {"api"}
    assert "there is no service 'mail'" in world.start("--service", "mail", status=2).stderr


def test_a_revoked_agent_starts_nothing(world):
    task = world.started()["task"]
    with TaskStore.open(world.state / "tasks.sqlite3") as store:
        store.revoke(Order(Kind.AGENT, "coder", "key \x1b leaked", "cli", 1))
    words = world.start(status=1).stderr
    assert words == (
        "gatepass: no task was started: the agent coder is revoked: key \\x1b leaked; "
        "`gatepass revoke list` shows every order\n"
    )
    (shown,) = world.read("show", task)
    assert (shown["state"], shown["ended_by"]) == ("revoked", "cli")


def test_delegated_tasks_are_shown_with_their_chain_and_what_they_used(world):
    task = world.started()["task"]
    with TaskStore.open(world.state / "tasks.sqlite3") as store:
        middle = below(store, store.get(task).task, "tester")
        last = below(store, middle, "mailer")
        store.keep_usage("boot", {last.id: (3, 99)})
    (shown,) = world.read("show", last.id)
    assert [(link["task"], link["agent"]) for link in shown["chain"]] == [
        (task, "coder"),
        (middle.id, "tester"),
        (last.id, "mailer"),
    ]
    assert (shown["requests"], shown["requests_used"], shown["octets_used"]) == (5, 3, 99)
    assert (shown["parent"], shown["started_by"]) == (middle.id, "agent:tester")
    (shown,) = world.read("show", middle.id)
    assert (shown["requests_used"], shown["octets_used"]) == (0, 0)
    (shown,) = world.read("show", task)
    assert (shown["requests_used"], shown["octets_used"]) == (None, None)
    output = world.run("show", last.id).stdout
    assert f"chain\t{task} (coder) > {middle.id} (tester) > {last.id} (mailer)" in output
    assert "requests_used\t3" in output
    assert "depth\t1" in output
    rows = world.run("list").stdout.splitlines()[1:]
    assert {row.split("\t")[0] for row in rows} == {task, middle.id, last.id}  # plain in a pipe


@pytest.mark.parametrize(("depth", "words"), [(0, ", and 2 tasks"), (1, ", and 1 task"), (2, "")])
def test_an_end_says_how_many_tasks_below_ended_too(world, depth, words):
    chain = [world.started()["task"]]
    with TaskStore.open(world.state / "tasks.sqlite3") as store:
        for name in ("tester", "mailer"):
            chain.append(below(store, store.get(chain[-1]).task, name).id)
    more = f"{words} delegated from it" if words else ""
    assert world.run("end", chain[depth]).stdout == f"ended {chain[depth]}{more}\n"
    assert {task["task"] for task in world.read("list", "--open")} == set(chain[:depth])
    (again,) = world.read("end", chain[depth])
    assert (again["ended_below"], again["state"], again["ended_by"]) == (0, "ended", "cli")


def test_people_get_rows_and_no_terminal_obeys_them(world):
    task = world.started()["task"]
    columns, row = world.run("list").stdout.splitlines()
    assert columns.split("\t") == ["task", "agent", "state", "started", "expires", "purpose"]
    assert row.split("\t")[:3] == [task, "coder", "open"]
    world.run("end", task, "--reason", "\x1b[2J")
    output = world.run("show", task).stdout
    assert "\x1b" not in output
    assert "reason\t\\x1b[2J" in output
    assert "placeholders\tapi" in output


def test_a_task_whose_time_is_up_is_shown_as_expired(world):
    task = world.started()["task"]
    with TaskStore.open(world.state / "tasks.sqlite3") as store:
        store.expire(2**33)
    assert world.read("list")[0]["state"] == "expired"
    assert world.run("end", task).stdout.startswith(f"{task} was over already: expired")


def test_neither_token_nor_placeholder_is_shown_again(world):
    started = world.started()
    shown = world.run("show", started["task"]).stdout + world.run("list", "--json").stdout
    assert started["token"] not in shown
    assert started["placeholders"]["api"] not in shown


@pytest.mark.parametrize("verb", [("end", "t-none"), ("show", "t-none"), ("list",)])
def test_without_any_task_the_answer_is_negative_and_makes_no_state(world, verb):
    assert "--state" in world.run(*verb, status=1).stderr
    assert not world.state.exists()


@pytest.mark.parametrize("verb", ["end", "show"])
def test_an_unknown_task_is_a_negative_answer(world, verb):
    world.started()
    assert "gatepass task list" in world.run(verb, "t-none\x1b", status=1).stderr


def test_a_store_that_cannot_be_used_is_one_line_and_status_2(world):
    world.started()
    (world.state / "tasks.sqlite3").chmod(0o644)
    assert "chmod 600" in world.run("list", status=2).stderr
    assert "chmod 600" in world.start(status=2).stderr
