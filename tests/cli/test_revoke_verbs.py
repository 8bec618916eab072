"""``gatepass revoke``: what a person types in a hurry, and what a script reads, with no sidecar running."""

import json
import threading
import time

import pytest
from typer.testing import CliRunner

from proxy.cli.revoke import app
from proxy.identity.principal import TaskState
from proxy.identity.revocation import EVERYTHING, Kind, Order
from proxy.store.tasks import TaskStore
from tests.store.making import begin
from tests.support.demo_rules import agent, write_rules

RUNNER = CliRunner()
NOWHERE = "no sidecar is running; it holds from the next start"


class World:
    def __init__(self, path) -> None:
        self.state = path / "state"
        write_rules(path / "rules", agents=[agent("coder"), agent("tester")])

    def run(self, *arguments: str, status: int = 0):
        result = RUNNER.invoke(app, [*arguments, "--state", str(self.state)])
        assert result.exit_code == status, result.output
        return result

    def said(self, *arguments: str) -> str:
        return self.run(*arguments).stdout

    def told(self, *arguments: str) -> dict:
        return json.loads(self.said(*arguments, "--json"))

    def refused(self, *arguments: str, status: int) -> str:
        result = self.run(*arguments, status=status)
        (line,) = result.stderr.splitlines()
        assert result.stdout == ""
        return line

    def store(self) -> TaskStore:
        self.state.mkdir(mode=0o700, exist_ok=True)
        return TaskStore.open(self.state / "tasks.sqlite3")

    @property
    def orders(self) -> list[tuple[Kind, str, str, str]]:
        with self.store() as store:
            return [(order.kind, order.id, order.reason, order.ordered_by) for order in store.orders()]


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where rules/ are, and no gatepass.yaml
    return World(tmp_path)


def test_an_agent_is_revoked_with_everything_delegated_from_its_tasks(world):
    with world.store() as store:
        parent = begin(store, 1, "coder")
        child, other = begin(store, 2, "mailer", parent), begin(store, 3, "tester")
    before = time.time_ns()
    said = world.said("agent", "coder", "--reason", "key leaked")
    assert said == f"revoked agent coder: 2 tasks ended, {NOWHERE}\n"
    assert world.orders == [(Kind.AGENT, "coder", "key leaked", "cli")]
    with world.store() as store:
        (order,) = store.orders()
        assert before <= order.ordered_at_ns <= time.time_ns()
        assert {stored.task.id for stored in store.list(TaskState.REVOKED)} == {parent.id, child.id}
        assert [stored.task.id for stored in store.list(TaskState.OPEN)] == [other.id]


def test_one_task_is_revoked(world):
    with world.store() as store:
        task, other = begin(store, 1), begin(store, 2)
    assert (
        world.said("task", task.id, "--reason", "r") == f"revoked task {task.id}: 1 task ended, {NOWHERE}\n"
    )
    assert world.said("task", task.id, "--reason", "r") == f"task {task.id} is over already\n"
    assert world.orders == []  # it is the task's end that holds
    with world.store() as store:
        assert store.get(task.id).reason == "r"
        assert store.get(other.id).task.state is TaskState.OPEN


@pytest.mark.parametrize(
    ("kind", "identity"),
    [("token", "b7c1"), ("key", "2027"), ("issuer", "https://login.example.org")],
)
def test_what_signs_and_is_signed_is_revoked(world, kind, identity):
    assert world.said(kind, identity, "--reason", "r") == f"revoked {kind} {identity}: {NOWHERE}\n"
    assert world.orders == [(Kind(kind), identity, "r", "cli")]


def test_a_digest_is_written_as_records_have_it(world):
    world.said("token", "AB" * 32, "--reason", "r")
    assert world.orders == [(Kind.TOKEN, "ab" * 32, "r", "cli")]


def test_everything_is_revoked_and_lifted(world):
    with world.store() as store:
        begin(store, 1)
    assert world.said("all", "--reason", "incident 7") == f"revoked everything: 1 task ended, {NOWHERE}\n"
    assert world.orders == [(Kind.ALL, EVERYTHING, "incident 7", "cli")]
    assert world.said("lift", "all") == "lifted: everything; tasks that have ended stay ended\n"
    assert world.orders == []
    with world.store() as store:
        assert store.list(TaskState.OPEN) == ()


def test_the_first_order_about_something_stays(world):
    world.said("agent", "coder", "--reason", "first\x1b[2J")
    said = world.said("agent", "coder", "--reason", "second")
    assert said.startswith("agent coder is revoked already, since ")
    assert said.endswith(" by cli: first\\x1b[2J\n")
    assert world.orders == [(Kind.AGENT, "coder", "first\x1b[2J", "cli")]


def test_programs_read_what_happened(world):
    with world.store() as store:
        task = begin(store, 1)
    told = world.told("agent", "coder", "--reason", "key leaked")
    assert told.pop("since").endswith("Z")
    assert told == {
        "kind": "agent",
        "id": "coder",
        "by": "cli",
        "reason": "key leaked",
        "new": True,
        "tasks_ended": 1,
        "tasks": [task.id],
        "connections_cut": 0,
        "to_last_byte_us": None,
        "sidecars": [],
    }
    assert world.told("agent", "coder", "--reason", "again")["new"] is False


def test_orders_are_listed_and_no_terminal_obeys_them(world):
    assert world.said("list").splitlines() == ["kind\tid\tsince\tby\treason"]
    world.said("agent", "coder", "--reason", "\x1b[2Jred")
    world.said("key", "k", "--reason", "blue")
    columns, first, second = world.said("list").splitlines()
    assert columns.split("\t") == ["kind", "id", "since", "by", "reason"]
    assert first.split("\t")[::2] == ["agent", first.split("\t")[2], "\\x1b[2Jred"]
    assert second.split("\t")[:2] == ["key", "k"]
    listed = [json.loads(line) for line in world.said("list", "--json").splitlines()]
    assert [(order["kind"], order["id"], order["reason"]) for order in listed] == [
        ("agent", "coder", "\x1b[2Jred"),
        ("key", "k", "blue"),
    ]


def test_an_order_is_lifted_once(world):
    world.said("agent", "coder", "--reason", "r")
    assert world.told("lift", "agent", "coder") == {"kind": "agent", "id": "coder", "lifted": True}
    assert "no order about agent coder holds" in world.refused("lift", "agent", "coder", status=1)


def test_a_lifted_order_of_a_file_is_still_in_the_file(world):
    with world.store() as store:
        store.revoke(Order(Kind.AGENT, "coder", "r", "file:/etc/orders.yaml", 1))
    assert "take it out of /etc/orders.yaml, too" in world.run("lift", "agent", "coder").stderr


def test_a_name_that_nobody_has_is_pointed_out(world):
    result = world.run("agent", "codr", "--reason", "r")
    assert result.stdout.startswith("revoked agent codr: 0 tasks ended")
    assert "there is no agent codr in " in result.stderr
    assert "(registered: coder, tester)" in result.stderr
    assert world.run("agent", "coder", "--reason", "r").stderr == ""


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("task", "t-dplg6d76py4ulazz76gjulfwuy", "--reason", "r"), 1, "there is no task"),
        (("agent", "coder", "--reason", " "), 2, "--reason"),
        (("agent", "coder", "--reason", "r" * 1025), 2, "--reason"),
        (("agent", "", "--reason", "r"), 2, "by its id"),
        (("agent", "*", "--reason", "r"), 2, "by its id"),
        (("agent", "a\nb", "--reason", "r"), 2, "by its id"),
        (("key", "k" * 2049, "--reason", "r"), 2, "by its id"),
        (("token", "eyJhbGciOiJub25lIn0.e30.", "--reason", "r"), 2, "that is a token itself"),
        (("lift", "agent", "coder"), 1, "no order about agent coder holds"),
        (("lift", "agent"), 2, "by its id"),
        (("lift", "all", "x"), 2, "no ID"),
        (("lift", "task", "t-dplg6d76py4ulazz76gjulfwuy"), 2, "stays revoked"),
    ],
)
def test_what_cannot_be_ordered_is_one_line(world, words, status, line):
    assert line in world.refused(*words, status=status)
    assert world.orders == []


def test_a_store_that_cannot_be_used_is_one_line(world):
    world.said("list")
    assert not world.state.exists()  # who only looks makes nothing
    with world.store():
        pass
    (world.state / "tasks.sqlite3").chmod(0o644)
    for words in (("list",), ("lift", "all"), ("all", "--reason", "r")):
        assert "chmod 600" in world.refused(*words, status=2)


def test_it_waits_for_every_sidecar_and_adds_up(world):
    """Two sidecars, as far as the task file knows: this process follows it twice."""

    def answer() -> None:
        with world.store() as store:
            while not store.orders():
                time.sleep(0.001)
            given = store.orders()[0].ordered_at_ns
            seq = store.changes(0, 0).seq
            store.acknowledge("a", seq, 3, given + 2_000_000, seq)
            store.acknowledge("b", seq, 4, given + 41_000_000, seq)

    with world.store() as store:
        store.follow("a")
        store.follow("b")
    answering = threading.Thread(target=answer)
    answering.start()
    said = world.said("agent", "coder", "--reason", "r")
    answering.join()
    assert said == "revoked agent coder: 0 tasks ended, 7 connections cut, last byte after 41 ms\n"
    again = world.told("agent", "coder", "--reason", "r")
    assert (again["connections_cut"], again["to_last_byte_us"]) == (7, 41_000)
    assert [each["connections_cut"] for each in again["sidecars"]] == [3, 4]
