"""What is recorded when recording itself is the trouble, and what an API is told of a record."""

from pathlib import Path

from proxy.identity.revocation import Kind, Order
from proxy.policy.decision import Ruling, Site
from proxy.policy.needs import NOTHING
from tests.engine.ports import YES, engine
from tests.support.world import world


class Unwritable:
    """A PDP that allows; while ``broken``, an action that is no Unicode and cannot be recorded."""

    broken = True

    def site(self, _origin):
        return Site(None, NOTHING)

    def decide(self, _question):
        action = "\ud800" if self.broken else "http.read"
        return Ruling(YES, b"{}", None, action, "0" * 64, "test", observed=False)


async def test_a_record_that_cannot_be_made_is_a_refusal_without_a_gap():
    pdp = Unwritable()
    async with engine(pdp=pdp) as e:
        assert (await e.call("/x")).status == 500
        assert not e.upstream.connections
        pdp.broken = False
        assert (await e.call("/x")).status == 200
        assert e.decisions == [("deny", "internal", 500), ("allow", "", None)]
        assert [record.seq for record in e.records] == list(range(len(e.records)))


async def test_who_was_identified_and_refused_is_named_and_numbered():
    """The numbers of an agent have no gap, whatever became of its calls: a gap reads as a deleted record."""
    async with engine() as e:
        assert (await e.call("/x")).status == 200
        for end in (
            lambda: e.book.end("one"),
            lambda: e.book.revoke(Order(Kind.AGENT, "two", "why", "cli", 1)),
        ):
            end()
            for agent in ("one", "two"):
                await e.call("/x", agent=agent)
        e.book.tasks.clear()
        await e.call("/x")
        await e.enforcer.settled()
        decisions = [record for record in e.records if record.kind == "decision"]
        assert [(record.agent, record.task, record.code) for record in decisions] == [
            ("one", "one", ""),
            ("one", "one", "task_ended"),
            ("two", "two", ""),
            ("one", "one", "task_ended"),
            ("two", "two", "revoked"),
            ("one", "", "task_unknown"),
        ]
        refused = decisions[-2].raw["who"]
        assert [evidence["method"] for evidence in refused["auth"]] == ["listener"]
        assert "right" not in refused
        assert e.consistent()


async def test_an_api_gets_no_correlation_header_unless_it_is_configured(tmp_path: Path):
    async with world(tmp_path) as w:
        answer = await w.call("/", headers=["X-Request-Id: mine"])
    assert ["X-Request-Id", "mine"] in answer.json()["headers"]


async def test_the_configured_header_names_the_record_and_replaces_the_agents(tmp_path: Path):
    async with world(tmp_path, correlation_header="X-Request-Id") as w:
        answer = await w.call("/", headers=["x-request-id: mine"])
        [decision] = w.decisions
    found = [value for name, value in answer.json()["headers"] if name.lower() == "x-request-id"]
    assert found == [decision.id]
