"""The PEP fails closed: whatever breaks, one decision is recorded, nothing leaves before it, and one outcome after it."""

import asyncio

import pytest

from proxy.errors import Code, Refusal
from proxy.identity.burst import FREE
from proxy.identity.principal import Budgets
from proxy.policy.decision import Deny
from proxy.wiring import SystemClock
from tests.engine.lines import until
from tests.engine.ports import AGENTS, BEARER, HELD, YES, Explodes, Journal, Says, engine

FAILURES = [
    ZeroDivisionError("division by zero"),
    RuntimeError(),
    KeyError("x"),
    TimeoutError("late"),
    OSError(5, "I/O"),
]


def untouched(e) -> bool:
    return not e.upstream.connections


@pytest.mark.parametrize("error", FAILURES, ids=repr)
async def test_a_pdp_that_fails_denies(error):
    async with engine(pdp=Explodes(error)) as e:
        answer = await e.call("/x")
        assert (answer.status, answer.json()["code"]) == (500, "internal")
        assert e.decisions == [("deny", "internal", 500)]
        assert answer.json()["record"] == e.records[0].id
        assert e.outcomes == []
        assert untouched(e)
        assert len(e.alarms) == 1
        assert type(error).__name__ in e.alarms[0]


@pytest.mark.parametrize("error", FAILURES, ids=repr)
async def test_a_broker_that_fails_sends_nothing(error):
    async with engine(pdp=Says(YES), credentials=Explodes(error), holdings=[HELD]) as e:
        answer = await e.call("/x", BEARER)
        assert (answer.status, answer.json()["code"]) == (500, "internal")
        assert e.decisions == [("allow", "", None)]
        assert e.outcomes == [("refused", "internal", 500)]
        assert untouched(e)


async def test_a_broker_that_has_nothing_sends_nothing():
    class Empty:
        async def fetch(self, binding, task):
            return Refusal(Code.CREDENTIAL_UNAVAILABLE, "the purse is empty")

    async with engine(pdp=Says(YES), credentials=Empty(), holdings=[HELD]) as e:
        assert (await e.call("/x", BEARER)).status == 503
        assert e.decisions == [("allow", "", None)]
        assert e.outcomes == [("refused", "credential_unavailable", 503)]
        assert untouched(e)


@pytest.mark.parametrize("error", FAILURES, ids=repr)
async def test_a_resolver_that_fails_sends_nothing(error):
    async with engine(resolver=Explodes(error)) as e:
        assert (await e.call("/x")).status == 500
        assert e.decisions == [("allow", "", None)]
        assert e.outcomes == [("cut", "internal", 500)]
        assert untouched(e)


async def test_a_task_book_that_fails_denies():
    async with engine() as e:
        e.book.tasks.clear()

        async def fails():
            raise OSError(5, "I/O")

        e.book.refresh = fails
        assert (await e.call("/x")).status == 500
        assert e.decisions == [("deny", "internal", 500)]
        assert untouched(e)


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
async def test_who_is_stopped_while_a_task_is_looked_for_has_a_record(method):
    async with engine() as e:
        e.book.tasks.clear()
        looking = asyncio.Event()

        async def looks():
            looking.set()
            await asyncio.Event().wait()

        e.book.refresh = looks
        async with await e.client() as client:
            where = f"{e.upstream.hosts[0]}:{e.upstream.port}"
            connect = f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode()
            await client.send(connect if method == "CONNECT" else e.head("/x"))
            await looking.wait()
            await e.server.drain(0)
        assert e.decisions == [("deny", "draining", 503)]
        assert [record.raw["what"]["method"] for record in e.records] == [method]
        assert untouched(e)


async def test_a_pdp_is_not_asked_about_what_is_refused_before():
    pdp = Says(YES)
    async with engine(pdp=pdp) as e:
        assert (await e.call("/x", "Content-Length: 1", "Transfer-Encoding: chunked")).status == 400
        assert pdp.asked == 0
        assert e.decisions == [("deny", "malformed", 400)]


async def test_a_denial_keeps_the_broker_out_of_it():
    denied = Deny(Refusal(Code.POLICY_DENY, "no", "rule"), ("rule",), ())
    broker = Explodes(AssertionError("asked"))
    async with engine(pdp=Says(denied), credentials=broker, resolver=broker, holdings=[HELD]) as e:
        assert (await e.call("/x", BEARER)).status == 403
        assert e.decisions == [("deny", "policy_deny", 403)]
        assert untouched(e)


# -- the log --


async def test_without_a_log_nothing_leaves_and_nobody_is_asked():
    journal = Journal()
    journal.broken = True
    broker = Explodes(AssertionError("asked"))
    async with engine(
        pdp=Says(YES), journal=journal, credentials=broker, resolver=broker, holdings=[HELD]
    ) as e:
        answer = await e.call("/x", BEARER)
        assert (answer.status, answer.json()["code"]) == (503, "log_unavailable")
        assert e.records == []
        assert untouched(e)


async def test_without_a_log_nothing_is_taken_from_a_budget():
    journal = Journal()
    async with engine(pdp=Says(YES), journal=journal, budgets=Budgets(requests=1)) as e:
        journal.broken = True
        assert (await e.call("/x")).status == 503
        journal.broken = False
        assert (await e.call("/x")).status == 200
        assert (await e.call("/x")).status == 429


async def test_without_a_log_a_denial_is_a_503_too():
    journal = Journal()
    journal.broken = True
    denied = Deny(Refusal(Code.POLICY_DENY, "no", "rule"), ("rule",), ())
    async with engine(pdp=Says(denied), journal=journal) as e:
        assert (await e.call("/x")).status == 503
        assert (await e.call("/" + "a" * 9000)).status == 503
        assert e.records == []


@pytest.mark.parametrize("error", [ValueError("too long"), OSError(28, "No space left on device")], ids=repr)
async def test_a_log_that_fails_in_another_way_is_no_log(error):
    class Fails:
        def append(self, entry, *, urgent=True):
            raise error

    async with engine(log=Fails()) as e:
        assert (await e.call("/x")).status == 503
        assert untouched(e)
        assert e.alarms


async def test_nothing_happens_before_the_record_is_durable():
    journal = Journal()
    journal.held = asyncio.Event()
    asked = []

    class Notes:
        async def fetch(self, binding, task):
            asked.append("credential")
            return Refusal(Code.CREDENTIAL_UNAVAILABLE, "none")

        async def resolve(self, name):
            asked.append("name")
            return ("127.0.0.1",)

    pdp = Says(YES)
    async with engine(pdp=pdp, journal=journal, credentials=Notes(), resolver=Notes(), holdings=[HELD]) as e:
        async with await e.client() as client:
            await client.send(e.head("/x", BEARER))
            await until(lambda: pdp.asked == 1)
            # The whole loop turns many times; the call does not move.
            for _ in range(50):
                await asyncio.sleep(0)
            assert (asked, untouched(e)) == ([], True)
            journal.held.set()
            assert (await client.read_response()).status == 503
        assert asked == ["credential"]


async def test_an_outcome_that_cannot_be_recorded_is_told_to_the_operator():
    class Full(Journal):
        async def append(self, entry: bytes, *, urgent: bool = True) -> int:
            self.broken = b'"type":"outcome"' in entry
            return await super().append(entry, urgent=urgent)

    async with engine(journal=Full()) as e:
        assert (await e.call("/x")).status == 200
        await e.enforcer.settled()
        assert [alarm for alarm in e.alarms if "outcome" in alarm]


async def test_events_of_the_sidecar_are_numbered_apart_from_the_agents_calls():
    async with engine() as e:
        for agent in AGENTS:
            for _ in range(2):
                await e.call("/x", agent=agent)
        e.scribe.note("shutdown", {})
        await e.enforcer.settled()
        seen: dict[str, list[int]] = {}
        agents = {record.id: record.agent for record in e.records}
        for record in e.records:
            seen.setdefault(agents.get(record.decision_id, ""), []).append(record.seq)
        assert seen == {"one": [0, 1, 2, 3], "two": [0, 1, 2, 3], "": [0]}


# -- bad credentials --


class Ahead(SystemClock):
    """The machine's clocks, and what a test puts them forward by."""

    seconds = 0

    def mono_ns(self) -> int:
        return super().mono_ns() + self.seconds * 10**9


BAD = "Proxy-Authorization: Bearer a.b.c"


async def test_a_burst_of_bad_credentials_is_slowed_counted_and_told_once():
    clock = Ahead()
    async with engine(clock=clock) as e:
        async with await e.client() as client:
            answers = []
            for _ in range(FREE + 3):
                await client.send(e.head("/x", BAD))
                answers.append(await client.read_response())
            assert {(answer.status, answer.json()["code"]) for answer in answers} == {
                (407, "identity_invalid")
            }
            records = [answer.json()["record"] for answer in answers]
            assert records == [record.id for record in e.records] + [e.records[-1].id] * 3
            assert [answer.get("retry-after") for answer in answers] == [None] * FREE + ["60"] * 3
            # whoever has something valid is not slowed, from the same source
            assert (await e.call("/x")).status == 200
        clock.seconds = 10
        await until(lambda: e.records[-1].kind == "identity.burst")
        burst = e.records[-1].raw["body"]
        assert (burst["source"], burst["count"], burst["decision_id"]) == ("127.0.0.1", 3, records[-1])
        assert [record.kind for record in e.records].count("identity.burst") == 1
        assert e.decisions == [("deny", "identity_invalid", 407)] * FREE + [("allow", "", None)]
        assert e.consistent()


async def test_a_burst_that_the_drain_interrupts_is_told_as_well():
    async with engine() as e:
        for _ in range(FREE + 1):
            await e.call("/x", BAD)
        await e.server.drain(1)
        await e.enforcer.settled()
        assert e.records[-1].kind == "identity.burst"
        assert untouched(e)


async def test_a_missing_credential_is_no_bad_one():
    async with engine() as e:
        for _ in range(FREE + 3):
            assert (
                await e.call("/x", "Proxy-Authorization: Basic Og==")
            ).status == 200  # the listener says who
        assert len(e.decisions) == FREE + 3


async def test_many_guesses_at_once_refer_to_a_record():
    async with engine() as e:
        answers = await asyncio.gather(*(e.call("/x", BAD) for _ in range(FREE + 5)))
        known = {record.id for record in e.records}
        assert {answer.json()["record"] for answer in answers} <= known
        assert len(known) == FREE
