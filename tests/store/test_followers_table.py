"""Followers: who is told of an order, how far each has come, and who is gone."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.identity.revocation import Kind
from proxy.store.task_table import TaskStore
from proxy.store.tasks import CarriedOut, Follower
from tests.store.making import NOW, NS, Clock, begin, following, order, until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.sqlite3"


@pytest.fixture
def store(path):
    with TaskStore.open(path) as store:
        yield store


def rewrite(path: Path, statement: str, *words: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement, words)
    connection.close()


async def test_a_book_is_entered_as_it_opens_and_struck_out_as_it_closes(path, store):
    begin(store)
    seq = store.revoke(order(Kind.AGENT, "coder")).seq
    async with following(path, Clock(), boot="b"):
        assert store.followers() == (Follower("b", os.getpid(), seq, 0, 0),)
        async with following(path, Clock(), boot="a"):
            assert [each.boot for each in store.followers()] == ["a", "b"]
        assert [each.boot for each in store.followers()] == ["b"]
    assert store.followers() == ()


async def test_whoever_revokes_learns_when_it_is_carried_out(path, store):
    async with following(path, Clock()) as book:
        heard = []
        book.on_revoke(lambda *words: heard.append(words))
        seq = store.revoke(order(Kind.AGENT, "coder")).seq
        await until(lambda: heard != [])
        assert store.followers()[0].seq < seq
        await book.acknowledge(heard[0][0], 7, NOW * NS + 5)
        assert store.followers() == (Follower("one", os.getpid(), seq, 7, NOW * NS + 5),)


async def test_a_later_order_that_is_done_first_does_not_speak_for_the_earlier(path, store):
    async with following(path, Clock()) as book:
        heard = []
        book.on_revoke(lambda given, _: heard.append(given))
        first = store.revoke(order(Kind.AGENT, "coder")).seq
        last = store.revoke(order(Kind.KEY, "k")).seq
        await until(lambda: len(heard) == 2)
        await book.acknowledge(heard[1], 1, 1)
        assert store.followers()[0].seq < first
        await book.acknowledge(heard[0], 2, 2)
        assert store.followers()[0].seq == last


async def test_what_an_order_came_to_is_told_of_that_order_alone(path, store):
    async with following(path, Clock(), boot="a") as one, following(path, Clock(), boot="b") as other:
        heard: dict[str, list] = {"a": [], "b": []}
        one.on_revoke(lambda given, _: heard["a"].append(given))
        other.on_revoke(lambda given, _: heard["b"].append(given))
        first = store.revoke(order(Kind.AGENT, "coder")).seq
        last = store.revoke(order(Kind.KEY, "k")).seq
        await until(lambda: [len(each) for each in heard.values()] == [2, 2])
        assert store.carried_out(first) == ()
        await one.acknowledge(heard["a"][1], 1, 11)
        await one.acknowledge(heard["a"][0], 2, 12)
        await other.acknowledge(heard["b"][0], 3, 13)
        assert store.carried_out(first) == (CarriedOut("a", 2, 12), CarriedOut("b", 3, 13))
        assert store.carried_out(last) == (CarriedOut("a", 1, 11),)
    assert store.carried_out(first) == ()  # they have been struck out


async def test_a_follower_that_has_nobody_to_cut_yet_says_so_itself(path, store):
    async with following(path, Clock()):  # nobody has asked to be told of orders
        seq = store.revoke(order(Kind.AGENT, "coder")).seq
        await until(lambda: store.followers()[0].seq >= seq)
        assert store.carried_out(seq) == ()


async def test_the_process_that_revokes_is_a_follower_too(path, store):
    async with following(path, Clock()) as book:
        task = begin(store)
        await book.refresh()
        heard = []
        book.on_revoke(lambda given, tasks: heard.append((given, len(tasks))))
        assert await book.revoke(order(Kind.TASK, task.id))
        assert heard == [(order(Kind.TASK, task.id), 1)]  # before ``revoke`` returned
        await book.acknowledge(heard[0][0], 1, 1)
        assert store.followers()[0].seq == store.changes(0, NOW).seq


def test_a_process_that_is_gone_is_struck_out(path, store):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        store.follow("b")
        rewrite(path, "UPDATE followers SET pid = ?, started = NULL", process.pid)
        assert [each.boot for each in store.followers()] == ["b"]
    assert store.followers() == ()
    rewritten = sqlite3.connect(path)
    assert rewritten.execute("SELECT count(*) FROM followers").fetchone() == (0,)
    rewritten.close()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only /proc tells when a process started")
def test_a_process_that_took_over_the_id_of_one_that_is_gone_is_told_from_it(path, store):
    store.follow("crashed")
    rewrite(path, "UPDATE followers SET started = started - 1")
    store.follow("now")
    assert [each.boot for each in store.followers()] == ["now"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only /proc tells a zombie")
def test_a_zombie_follows_nothing(path, store):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{process.pid}/stat")
    started = int(stat.read_bytes().rpartition(b")")[2].split()[19])
    store.follow("b")
    rewrite(path, "UPDATE followers SET pid = ?, started = ?", process.pid, started)
    assert len(store.followers()) == 1
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped
    assert store.followers() == ()
    process.stdin.close()
    process.wait()


def test_a_process_of_somebody_else_is_alive(path, store):
    if os.getuid() == 0:
        pytest.skip("root may send a signal to every process")
    store.follow("b")
    rewrite(path, "UPDATE followers SET pid = 1, started = NULL")
    assert [each.boot for each in store.followers()] == ["b"]


def test_an_acknowledgement_puts_back_a_row_that_was_struck_out(store):
    store.follow("b")
    store.leave("b")
    store.acknowledge("b", 3, 1, 2)
    assert store.followers() == (Follower("b", os.getpid(), 3, 1, 2),)
    store.acknowledge("b", 2, 0, 9)
    assert store.followers()[0].seq == 3
