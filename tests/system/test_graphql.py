"""A real GraphQL server and a real client, with gatepass between them: what counts is what fields do."""

from hashlib import sha256

import pytest

from tests.support import demo_rules
from tests.support.asgi import AsgiUpstream
from tests.support.graphql_server import Tracker
from tests.system.spoken import Spoken, spoken

LISTED = "query Listed { viewer { login } }"
UNLISTED = "query Unlisted { viewer { login friends { login } } }"
DIGESTS = {sha256(text.encode()).hexdigest(): text for text in (LISTED, UNLISTED)}

SERVICE = demo_rules.service(
    "tracker",
    "tracker.test",
    endpoints={"/graphql": "graphql"},
    persisted_queries={sha256(LISTED.encode()).hexdigest(): LISTED},
    operations={
        "viewer.read": {"group": "read", "graphql": "query.viewer"},
        "issues.read": {"group": "read", "graphql": "query.issue", "facts": {"input": {"number": "long"}}},
        "secrets.read": {"group": "admin", "graphql": "query.secrets"},
        "issues.create": {"group": "write", "graphql": "mutation.createIssue"},
    },
)
READS = demo_rules.permit("reads", actions=("read",), on="tracker")
WRITES = demo_rules.permit("creates", actions=("tracker.issues.create",), on="tracker")
ONE_ISSUE = """@id("one-issue")
forbid(principal, action == Action::"tracker.issues.read", resource) unless { context.facts.input.number == 7 };
"""
SHALLOW = """@id("shallow")
forbid(principal, action in Action::"tracker", resource)
when { context.facts has graphql && context.facts.graphql.depth > 3 };
"""
BLIND = """@id("no-introspection")
forbid(principal, action in Action::"tracker.graphql.query", resource)
when { context.facts.graphql.fields.containsAny(["__schema", "__type"]) };
"""

# ``ask`` gives the data, or the message and the extensions of the first error.
START = """
import json, sys
from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.requests import RequestsHTTPTransport
def client(**more):
    return Client(transport=RequestsHTTPTransport(url=sys.argv[1]), **more)
def ask(query, **variables):
    request = gql(query)
    request.variable_values = variables
    try:
        return client().execute(request)
    except TransportQueryError as error:
        return error.errors[0]
"""


def tracker_at(tmp_path, tracker: Tracker, *policies: str):
    up = AsgiUpstream(tracker.app(), "tracker.test")
    return spoken(tmp_path, up, [SERVICE], [READS, *policies])


async def actions(w: Spoken) -> list[list[str]]:
    """Of each decision the actions of all acts, the deciding one first."""
    found = []
    for one in await w.decided():
        why = one.raw["why"]
        found.append([why.get("action"), *(act["action"] for act in why.get("batch", ()))])
    return found


FIELDS = """
print(json.dumps([
    ask("{ viewer { login } }"),
    ask("query($n: Int!) { issue(number: $n) }", n=7),
    ask("mutation { createIssue(title: \\"tea\\") }"),
    ask("mutation { deleteRepository(name: \\"all\\") }"),
    ask("{ secrets }"),
    ask("query($n: Int!) { issue(number: $n) }", n=8),
]))
"""


async def test_fields_are_allowed_and_refused_one_by_one(tmp_path):
    tracker = Tracker()
    async with tracker_at(tmp_path, tracker, WRITES, ONE_ISSUE) as w:
        viewer, issue, created, *refused = await w.program(START + FIELDS, w.at("/graphql"))

        assert (viewer, issue, created) == (
            {"viewer": {"login": "ada"}},
            {"issue": "issue 7"},
            {"createIssue": "tea"},
        )
        assert tracker.done == ["viewer", "issue 7", "create tea"]
        refusals = await w.refused()
        assert [one.raw["why"]["action"] for one in refusals] == [
            "tracker.graphql.mutation",
            "tracker.secrets.read",
            "tracker.issues.read",
        ]
        assert [one.rule for one in refusals] == ["", "", "one-issue"]
        assert all(error["message"].startswith("gatepass: ") for error in refused)
        assert [error["extensions"]["record"] for error in refused] == [one.id for one in refusals]


TRICKS = """
print(json.dumps([ask(query) for query in (
    "{ viewer: secrets }",
    "query($yes: Boolean = true) { viewer { login } ... @include(if: $yes) { v: secrets } }",
    "query A { ...F } fragment F on Query { ...G } fragment G on Query { innocent: secrets }",
    "{ secrets: viewer { login } }",
    "fragment F on Query { secrets } query { viewer { login } }",
)]))
"""


async def test_neither_aliases_nor_fragments_hide_a_field(tmp_path):
    tracker = Tracker()
    async with tracker_at(tmp_path, tracker) as w:
        *refused, renamed, unused = await w.program(START + TRICKS, w.at("/graphql"))

        assert {error["extensions"]["code"] for error in refused} == {"default_deny"}
        assert renamed == {"secrets": {"login": "ada"}}
        assert "data" not in unused  # the server's own error: a fragment that nothing uses
        assert "secrets" not in tracker.done
        assert await actions(w) == [
            ["tracker.secrets.read"],
            ["tracker.secrets.read", "tracker.viewer.read"],
            ["tracker.secrets.read"],
            ["tracker.viewer.read"],
            ["tracker.viewer.read"],
        ]
        await w.refused()


PERSISTED = """
import requests
def persisted(**more):
    return requests.post(sys.argv[1], json=more).json()
def apollo(digest):
    return {"persistedQuery": {"version": 1, "sha256Hash": digest}}
listed, unlisted = sys.argv[2:]
print(json.dumps([
    persisted(extensions=apollo(listed)),
    persisted(extensions=apollo(unlisted)),
    persisted(query="{ secrets }", extensions=apollo(listed)),
]))
"""


async def test_a_persisted_query_is_known_or_refused(tmp_path):
    tracker = Tracker(DIGESTS)
    async with tracker_at(tmp_path, tracker) as w:
        listed, unlisted, lied = await w.program(START + PERSISTED, w.at("/graphql"), *DIGESTS)

        assert listed["data"] == {"viewer": {"login": "ada"}}
        assert (unlisted["code"], unlisted["status"]) == ("persisted_query_unknown", 403)
        assert (lied["code"], lied["status"]) == ("ambiguous_input", 400)
        assert tracker.done == ["viewer"]
        assert (await actions(w))[0] == ["tracker.viewer.read"]
        assert [one.code for one in await w.refused()] == ["persisted_query_unknown", "ambiguous_input"]


INTROSPECTS = """
try:
    with client(fetch_schema_from_transport=True) as session:
        known = sorted(session.client.schema.mutation_type.fields)
except TransportQueryError as error:
    known = error.errors[0]["extensions"]
print(json.dumps([known, ask("{ __typename viewer { login } }")]))
"""


@pytest.mark.parametrize("policies", [(), (BLIND,)], ids=["allowed", "forbidden"])
async def test_introspection_is_a_read_that_a_rule_may_forbid(tmp_path, policies):
    async with tracker_at(tmp_path, Tracker(), *policies) as w:
        known, named = await w.program(START + INTROSPECTS, w.at("/graphql"))

        assert named == {"__typename": "Query", "viewer": {"login": "ada"}}
        rules = [one.rule for one in await w.refused()]
        if policies:
            assert (known["code"], known["rule"], rules) == (
                "policy_deny",
                "no-introspection",
                [known["rule"]],
            )
        else:
            assert (known, rules) == (["createIssue", "deleteRepository"], [])


DEEP = """
friends = "login"
said = []
for depth in range(3):
    said.append(ask("{ viewer { " + friends + " } }"))
    friends = "friends { " + friends + " }"
print(json.dumps(said))
"""


async def test_a_rule_may_limit_how_deep_a_query_goes(tmp_path):
    tracker = Tracker()
    async with tracker_at(tmp_path, tracker, SHALLOW) as w:
        flat, one, two = await w.program(START + DEEP, w.at("/graphql"))

        assert flat == {"viewer": {"login": "ada"}}
        assert one == {"viewer": {"friends": [{"login": "ada's friend"}]}}
        assert two["extensions"]["rule"] == "shallow"
        assert tracker.done == ["viewer", "viewer"]


BATCH = """
from gql.transport.exceptions import TransportServerError
def batch(*queries):
    try:
        return client().execute_batch([gql(query) for query in queries])
    except TransportServerError as error:
        return error.code
"""


@pytest.mark.parametrize("last", ["{ secrets }", "{ issue(number: 7) }"])
async def test_a_batch_is_allowed_as_a_whole_or_not_at_all(tmp_path, last):
    tracker = Tracker()
    async with tracker_at(tmp_path, tracker) as w:
        script = f"print(json.dumps(batch('{{ viewer {{ login }} }}', {last!r})))"
        said = await w.program(START + BATCH + script, w.at("/graphql"))
        if "secrets" in last:
            assert said == 403
            assert tracker.done == []
            assert await actions(w) == [["tracker.secrets.read", "tracker.viewer.read"]]
        else:
            assert said == [{"viewer": {"login": "ada"}}, {"issue": "issue 7"}]
            assert await actions(w) == [["tracker.viewer.read", "tracker.issues.read"]]
        await w.refused()
