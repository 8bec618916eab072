"""D15: what an agent claims about where a call belongs is written down and proves nothing (egress.md, section 5)."""

import os

import pytest

from proxy.errors import Code
from tests.hostile.callers import calls, delegate, desk_outcomes, house, silent, through, to_desk, turned_away
from tests.support.rawclient import basic

CORRELATION = "X-Gatepass-Record"
PARENT = "00-" + "a1" * 16 + "-" + "b2" * 8 + "-01"


def sent(w, name: str, number: int = -1) -> list[str]:
    """The values of a header as the API got it."""
    return [value.decode() for value in w.upstream.requests[number].head.all(name)]


async def test_d15_a_trace_of_another_task_is_the_client_s_word(tmp_path):
    """Two tasks claim one trace: both calls are on record under it, each for its own task and agent."""
    async with house(tmp_path, "a", "b", correlation_header=CORRELATION) as w:
        theirs = w.another_task(agent="b")
        for token in (w.started.token, theirs.token):
            assert (await through(w, token, "/x", f"traceparent: {PARENT}")).status == 200
            assert sent(w, "traceparent") == [PARENT]
        await w.settled()
        first, second = calls(w)
        assert [record.raw["what"]["trace"] for record in (first, second)] == [
            {"traceparent": PARENT, "trust": "client"}
        ] * 2
        assert [(record.agent, record.task) for record in (first, second)] == [
            ("a", w.started.task.id),
            ("b", theirs.task.id),
        ]
        assert first.id != second.id
        assert [sent(w, CORRELATION, number) for number in (0, 1)] == [[first.id], [second.id]]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([f"{CORRELATION}: forged"], id="once"),
        pytest.param([f"{CORRELATION}: forged", f"{CORRELATION.lower()}: forged too"], id="twice"),
        pytest.param([f"{CORRELATION.upper()}: forged"], id="in-capitals"),
    ],
)
async def test_d15_the_record_that_an_api_is_told_is_ours(tmp_path, lines):
    async with house(tmp_path, "a", correlation_header=CORRELATION) as w:
        assert (await through(w, w.started.token, "/x", *lines)).status == 200
        await w.settled()
        (record,) = calls(w)
        assert sent(w, CORRELATION) == [record.id]
        assert b"forged" not in w.upstream.received


async def test_d15_the_record_of_another_call_cannot_be_claimed(tmp_path):
    """Not even where the correlation header is not configured does a forged one become ours."""
    async with house(tmp_path, "a") as w:
        assert (await through(w, w.started.token, "/one")).status == 200
        (first,) = calls(w)
        assert (await through(w, w.started.token, "/two", f"{CORRELATION}: {first.id}")).status == 200
        await w.settled()
        assert [record.path for record in calls(w)] == ["/one", "/two"]
        assert len({record.id for record in w.records}) == len(w.records)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([f"traceparent: {PARENT}", f"traceparent: {PARENT}"], id="twice"),
        pytest.param([f"traceparent: {PARENT.upper()}"], id="in-capitals"),
        pytest.param([f"traceparent: {PARENT}-more"], id="longer"),
        pytest.param(["traceparent: t-" + "a" * 26], id="a-task"),
        pytest.param(['traceparent: ","task":{"id":"t-x"},"x":"'], id="json"),
        pytest.param(["traceparent: "], id="empty"),
    ],
)
async def test_d15_what_is_no_trace_is_not_written_down(tmp_path, lines):
    async with house(tmp_path, "a") as w:
        assert (await through(w, w.started.token, "/x", *lines)).status == 200
        (record,) = calls(w)
        assert record.raw["what"]["trace"] is None
        assert (record.agent, record.task) == ("a", w.started.task.id)


CARRIERS = ["Txn-Token", "Workload-Identity-Token", "Workload-Proof-Token", "txn-token", "DPoP"]


@pytest.mark.parametrize("name", CARRIERS)
async def test_d15_the_transaction_token_of_another_task_goes_nowhere(tmp_path, name):
    """It is one of our own, valid here, and still neither identity nor something for an API."""
    async with house(tmp_path, "a", "b") as w:
        theirs = w.another_task(agent="b")
        assert (await through(w, w.started.token, "/x", f"{name}: {theirs.token}")).status == 200
        await w.settled()
        (record,) = calls(w)
        assert (record.agent, record.task) == ("a", w.started.task.id)
        assert record.raw["what"]["headers_stripped"] == [name.lower()]
        assert theirs.token.encode() not in w.upstream.received
        silent(w, (), [theirs.token])


async def test_d15_a_task_that_is_named_in_a_header_is_not_the_task(tmp_path):
    """Neither by headers that others use for it nor by a user name that is no task's id."""
    async with house(tmp_path, "a", "b") as w:
        theirs = w.another_task(agent="b")
        claims = [f"X-Task-Id: {theirs.task.id}", "X-Agent-Id: b", f"baggage: task={theirs.task.id}"]
        assert (await through(w, w.started.token, "/x", *claims)).status == 200
        (record,) = calls(w)
        assert (record.agent, record.task) == ("a", w.started.task.id)
        assert record.raw["who"]["chain"] == [
            {"agent": "a", "task": w.started.task.id, "grant_sha256": w.started.task.manifest_sha256}
        ]


async def test_d15_the_user_name_of_another_s_task_is_a_conflict(tmp_path):
    """The user name may select a task, and the token names one: they have to agree."""
    async with house(tmp_path, "a", "b") as w:
        theirs = w.another_task(agent="b")
        async with await w.client() as client:
            answer = await client.open_tunnel(w.authority, basic(theirs.task.id, w.started.token))
        await turned_away(w, answer, Code.IDENTITY_CONFLICT, token=theirs.token)


async def test_d15_the_trace_of_a_refused_call_is_the_client_s_word_too(tmp_path):
    async with house(tmp_path, "a", policies=[]) as w:
        answer = await through(w, w.started.token, "/x", f"traceparent: {PARENT}")
        record = await turned_away(w, answer, Code.DEFAULT_DENY, agent="a")
        assert record.raw["what"]["trace"] == {"traceparent": PARENT, "trust": "client"}


async def test_d15_a_trace_at_the_desk_moves_nothing(tmp_path):
    """A delegation belongs to the task of whoever asks, whatever the request claims."""
    async with house(tmp_path, "a", "b") as w:
        theirs = w.another_task(agent="b")
        lines = [f"traceparent: {PARENT}", f"Txn-Token: {theirs.token}", f"X-Task-Id: {theirs.task.id}"]
        async with await w.client() as client:
            body = b'{"agent":"b","purpose":"on"}'
            await client.send(to_desk(w.started.token, "/delegate", *lines, method="POST", body=body))
            told = (await client.read_response()).json()
        assert w.sidecar.book.get(told["task"]).parent == w.started.task.id
        await w.settled()
        assert desk_outcomes(w) == [("complete", "")]
        assert w.decisions[0].task == w.started.task.id
        silent(w, (), [theirs.token, told["token"]])


async def test_d15_ids_are_never_taken_from_what_is_sent(tmp_path):
    """A kilobyte of random claims leaves the record's own ids alone, and the log is still one."""
    async with house(tmp_path, "a", "b") as w:
        child = await delegate(w, w.started.token, "b")
        noise = os.urandom(64).hex()
        lines = [f"{name}: {noise}" for name in ("X-Request-Id", "X-Correlation-Id", "Record", "tracestate")]
        assert (await through(w, child.token, "/x", *lines)).status == 200
        await w.settled()
        (record,) = calls(w)
        assert record.tasks == (w.started.task.id, child.task)
        assert noise not in str(record.raw)
