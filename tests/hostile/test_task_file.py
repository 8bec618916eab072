"""Rows that no sidecar wrote: it believes of its own file what the ids commit to, and nothing else."""

import asyncio
import contextlib
import sqlite3
import time
from dataclasses import replace

import pytest

from proxy.errors import Code
from proxy.identity.claims import SessionClaims
from proxy.identity.jws import sign_session
from proxy.identity.principal import Budgets
from proxy.identity.revocation import Kind
from proxy.identity.task import Manifest, make_task, manifest_bytes, parse_manifest
from proxy.store.task_file import next_seq
from proxy.store.tasks import TaskStoreError
from tests.hostile.assertions import untouched
from tests.hostile.callers import calls, delegate, house, revoke, silent, turned_away, until
from tests.support import demo_rules
from tests.support.rawclient import basic
from tests.support.world import World

NONCES = (f"{number:032x}" for number in range(1 << 20))


def manifest(w: World, agent: str, **changes: object) -> Manifest:
    """A manifest as good as any: ten minutes, three deep."""
    now = int(time.time())
    plain = Manifest(agent, "forged", (), "development", now, now + 600, None, next(NONCES), depth=3)
    return replace(plain, **changes)


@contextlib.contextmanager
def editing(w: World):
    """The file, as whoever may write to it writes to it; changes are numbered, so that they are seen."""
    connection = sqlite3.connect(w.state / "tasks.sqlite3", isolation_level=None)
    with contextlib.closing(connection):
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            yield connection, next_seq(connection)


def insert(w: World, made: Manifest, **columns: object) -> str:
    """A row for this manifest, like one that is there but for ``columns``; returns a token for it."""
    task = make_task(made)
    with editing(w) as (connection, seq):
        cursor = connection.execute("SELECT * FROM tasks LIMIT 1")
        names = [column[0] for column in cursor.description]
        row = dict(zip(names, cursor.fetchone(), strict=True))
        row |= {name: seq for name in names if name.endswith("seq")}
        row |= {"id": task.id, "manifest": manifest_bytes(made), "parent": made.parent, "agent": made.agent}
        row |= {"issued_at": made.issued_at, "expires_at": made.expires_at, "state": "open"} | columns
        marks = ", ".join("?" * len(names))
        connection.execute(f"INSERT INTO tasks VALUES ({marks})", [row[name] for name in names])
    return token_for(w, made)


def token_for(w: World, made: Manifest) -> str:
    """A token that this sidecar's key has signed: whoever can write to the file may have it as well."""
    claims = SessionClaims(
        issuer=w.keyring.issuer,
        subject=made.agent,
        audience=w.keyring.audience,
        token_id=made.nonce,
        task=make_task(made).id,
        issued_at=made.issued_at,
        expires_at=min(made.expires_at, made.issued_at + 600),
        scopes=made.scopes,
    )
    return sign_session(claims, w.keyring.session_key)


async def connects(w: World, token: str):
    async with await w.client() as client:
        return await client.open_tunnel(w.authority, basic("task", token))


async def test_an_honest_row_of_another_process_is_a_task(tmp_path):
    """Without this the rest of the file could pass for the wrong reason."""
    async with house(tmp_path, "a", "b") as w:
        root = manifest(w, "a")
        insert(w, root)
        child = manifest(w, "b", parent=make_task(root).id, depth=2, expires_at=root.expires_at)
        assert (await connects(w, insert(w, child))).status == 200


AGENTS = ("a", "b", "c", "d", "e", "f", "g", "h", "i")


async def family(w: World, *links: dict[str, object]) -> tuple[str, str]:
    """A chain of rows, the root first, each as wrong as it says; a token of the last, and its agent."""
    token, agent, above = "", "", None
    for depth, changes in enumerate(links):
        plain = {"agent": AGENTS[depth], "depth": max(0, 7 - depth), "parent": above and make_task(above).id}
        plain |= {"expires_at": above.expires_at} if above else {}
        wanted = plain | changes
        above = manifest(w, str(wanted.pop("agent")), **wanted)
        token, agent = insert(w, above), above.agent
    return token, agent


SOON = int(time.time()) + 86_400
CHAINS = [
    pytest.param([{}] * 9, Code.CHAIN_INVALID, id="nine-links"),
    pytest.param([{"depth": 0}] * 2, Code.CHAIN_INVALID, id="handed-on-although-it-may-not"),
    pytest.param([{}, {"depth": 7}], Code.CHAIN_INVALID, id="as-deep-as-its-parent"),
    pytest.param([{}, {}, {"agent": "a"}], Code.CHAIN_INVALID, id="a-loop-of-agents"),
    pytest.param([{}, {"agent": "a"}], Code.CHAIN_INVALID, id="to-itself"),
    pytest.param([{}, {"expires_at": SOON}], Code.CHAIN_INVALID, id="longer-than-its-parent"),
    pytest.param(
        [{"on_behalf_of": "ada"}, {"on_behalf_of": "root"}], Code.CHAIN_INVALID, id="for-somebody-else"
    ),
    pytest.param([{"parent": "t-" + "a" * 26}], Code.CHAIN_INVALID, id="below-nothing"),
    pytest.param([{}, {"environment": "staging"}], Code.ENVIRONMENT_FOREIGN, id="into-another-environment"),
    pytest.param([{"environment": "staging"}, {}], Code.ENVIRONMENT_FOREIGN, id="out-of-another-environment"),
    pytest.param([{}, {"agent": "nobody"}], Code.AGENT_UNKNOWN, id="to-an-agent-that-is-not-registered"),
    pytest.param([{"agent": "nobody"}, {}], Code.AGENT_UNKNOWN, id="from-an-agent-that-is-not-registered"),
]


@pytest.mark.parametrize(("links", "code"), CHAINS)
async def test_a_chain_that_no_desk_would_make_is_refused_at_its_use(tmp_path, links, code):
    """Each row alone is what its id commits to; what is wrong is how they hang together."""
    async with house(tmp_path, *AGENTS) as w:
        token, agent = await family(w, *links)
        answer = await connects(w, token)
        agent = "" if agent == "nobody" else agent
        record = await turned_away(w, answer, code, agent=agent, token=token)
        assert "chain" not in record.raw["who"]


async def test_a_chain_that_is_wider_than_its_root_gives_no_more(tmp_path):
    """Scopes, services and budgets of every link are met anew with all above."""
    async with house(tmp_path, "a", "b") as w:
        narrow = {"services": ("elsewhere",), "budgets": Budgets(requests=1)}
        wide = {"services": ("api", "elsewhere"), "scopes": ("everything",), "budgets": Budgets(requests=9)}
        token, _ = await family(w, narrow, wide)
        async with await w.client() as client:
            assert (await client.open_tunnel(w.authority, basic("task", token))).status == 200
            await client.start_tls("api.test", cafile=w.keyring.ca_path)
            await client.send(f"GET / HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode())
            answer = await client.read_response()
        record = await turned_away(w, answer, Code.SERVICE_NOT_GRANTED, agent="b", token=token)
        right = record.raw["who"]["right"]
        assert (right["scopes"], right["services"]) == ([], ["elsewhere"])


async def test_an_agent_that_has_moved_to_another_environment(tmp_path):
    """Its tasks of before are of the old one: they stay behind."""
    async with house(tmp_path, "a") as w:
        token = w.started.token
    moved = demo_rules.agent("a", environment="staging")
    async with house(tmp_path, moved) as w:
        answer = await connects(w, token)
        await turned_away(w, answer, Code.ENVIRONMENT_FOREIGN, agent="a", token=token)


async def test_an_agent_that_was_taken_out_of_the_registry(tmp_path):
    async with house(tmp_path, "a", "b") as w:
        root, child = w.started.token, (await delegate(w, w.started.token, "b")).token
    async with house(tmp_path, "b") as w:
        assert (await connects(w, root)).json()["code"] == Code.AGENT_UNKNOWN
        assert (await connects(w, child)).json()["code"] == Code.AGENT_UNKNOWN
        assert [record.agent for record in calls(w)] == ["", "b"]
        await untouched(w)


# -- rows that were changed --


def widened(data: bytes) -> bytes:
    read = parse_manifest(data)
    assert read is not None
    return manifest_bytes(replace(read, services=None, scopes=("everything",)))


CHANGES = {
    "a wider manifest": lambda w, c, t: c.execute(
        "UPDATE tasks SET manifest = ? WHERE id = ?",
        (widened(c.execute("SELECT manifest FROM tasks WHERE id = ?", (t,)).fetchone()[0]), t),
    ),
    "no manifest": lambda w, c, t: c.execute("UPDATE tasks SET manifest = x'00' WHERE id = ?", (t,)),
    "another agent": lambda w, c, t: c.execute("UPDATE tasks SET agent = 'b' WHERE id = ?", (t,)),
    "another parent": lambda w, c, t: c.execute("UPDATE tasks SET parent = ?2 WHERE id = ?1", (t, t)),
    "a longer life": lambda w, c, t: c.execute("UPDATE tasks SET expires_at = 9999999999 WHERE id = ?", (t,)),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_row_that_was_altered_makes_the_file_a_fault_and_nobody_s_right(tmp_path, change):
    """It could be any row, and there could be missing ones: no task is known until a restart, which fails."""
    async with house(tmp_path, "a", "b") as w:
        task, token = w.started.task.id, w.started.token
        other = w.another_task(agent="b").token
        assert (await connects(w, token)).status == 200
        with editing(w) as (connection, seq):
            CHANGES[change](w, connection, task)
            connection.execute("UPDATE tasks SET seq = ? WHERE id = ?", (seq, task))
        await until(lambda: w.sidecar.book.fault is not None)
        for one in (token, other):
            answer = await connects(w, one)
            assert answer.status in {403, 500, 503}, answer
            silent(w, (answer.body,), [one])
        assert [record.effect for record in calls(w)] == ["deny", "deny"]
        assert w.upstream.connections == []
        await w.sidecar.drain(1)
        with pytest.raises(TaskStoreError, match="altered"):
            await w.start()
        with editing(w) as (connection, _):
            connection.execute("DELETE FROM holdings")
            connection.execute("DELETE FROM tasks")
        w.sidecar = await w.start()


@pytest.mark.parametrize("ending", ["revoked", "ended"])
async def test_what_is_over_does_not_open_again_while_the_sidecar_runs(tmp_path, ending):
    """Somebody sets the row back to open; the sidecar remembers what it was told."""
    async with house(tmp_path, "a") as w:
        task, token = w.started.task.id, w.started.token
        if ending == "revoked":
            await revoke(w, Kind.TASK, task)
        else:
            await w.sidecar.book.end(task, "over")
        with editing(w) as (connection, seq):
            connection.execute(
                "UPDATE tasks SET state = 'open', ended_at = NULL, seq = ? WHERE id = ?", (seq, task)
            )
        await w.sidecar.book.refresh()
        answer = await connects(w, token)
        code = Code.REVOKED if ending == "revoked" else Code.TASK_ENDED
        await turned_away(w, answer, code, agent="a", token=token)


async def test_a_file_that_was_put_in_the_place_of_ours(tmp_path):
    """A copy of yesterday, before the order: its tasks are not ours any more."""
    async with house(tmp_path, "a") as w:
        path, copy = w.state / "tasks.sqlite3", w.state / "copy"
        with (
            contextlib.closing(sqlite3.connect(path)) as source,
            contextlib.closing(sqlite3.connect(copy)) as to,
        ):
            source.backup(to)
        await revoke(w, Kind.TASK, w.started.task.id)
        await asyncio.to_thread(copy.chmod, 0o600)
        await asyncio.to_thread(copy.replace, path)
        await until(lambda: w.sidecar.book.fault is not None)
        answer = await connects(w, w.started.token)
        assert answer.status in {403, 500, 503}
        assert [record.effect for record in calls(w)] == ["deny"]
        await untouched(w)
