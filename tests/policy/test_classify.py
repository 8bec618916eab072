"""The path says what is spoken; every protocol is asked with the content it needs, and with no more."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credential.placeholder import mint
from proxy.errors import Code, Refusal
from proxy.policy.classify import classify
from proxy.policy.content import Act, Call, Classified, NeedBody, Watch
from proxy.policy.fact import Protocol
from proxy.policy.needs import NOTHING, Needs
from proxy.policy.operation import by_method
from tests.policy.worlds_catalogue import FULL, parsed

LIMIT = 500
API = parsed(FULL + "encoded_slash: false\n")
JSON = (b"Content-Type", b"application/json")
EVERY = Needs(
    frozenset(),
    frozenset({"path", "query", "body", "input", "mcp", "graphql", "grpc", "aws", "llm"}),
    approval=True,
    content=False,
)


def post(path, body=None, *headers, has_body=True):
    return Call("POST", path, (), headers or (JSON,), has_body, body)


def named(found):
    assert isinstance(found, Classified), found
    return [(act.operation.id, json.loads(act.facts)) for act in found.acts]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PROPFIND"])
def test_a_host_of_no_service_is_classed_by_method(method):
    call = Call(method, "/mcp", (("_method", "x"),), (), has_body=True, body=None)
    assert classify(call, None, EVERY, LIMIT) == Classified((Act(by_method(method)),))


MESSAGE = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search_issues","arguments":{"query":"x"}}}'
TARGET = (b"X-Amz-Target", b"DynamoDB_20120810.GetItem")
AMZ = (b"Content-Type", b"application/x-amz-json-1.0")


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        (post("/mcp", MESSAGE), "api.search"),
        (post("/graphql", b'{"query":"{ viewer { login } }"}'), "api.viewer.read"),
        (post("/v1/chat", b'{"model":"m","messages":[]}'), "api.chat"),
        (post("/shop.v1.Cart/Pay", None, (b"Content-Type", b"application/grpc")), "api.pay"),
        (post("/aws", b"{}", AMZ, TARGET), "api.items"),
        (post("/elsewhere", b"{}"), "api.http.write"),
    ],
)
def test_the_path_says_what_is_spoken(call, operation):
    assert [name for name, _ in named(classify(call, API, EVERY, LIMIT))] == [operation]


@pytest.mark.parametrize(
    ("path", "headers", "needs", "wanted"),
    [
        ("/mcp", (JSON,), NOTHING, True),
        ("/graphql", (JSON,), NOTHING, True),
        ("/shop.v1.Cart/Pay", ((b"Content-Type", b"application/grpc"),), EVERY, False),
        ("/aws", (AMZ, TARGET), NOTHING, False),
        ("/aws", (AMZ, TARGET), EVERY, True),
        ("/v1/chat", (JSON,), NOTHING, False),
        ("/v1/chat", (JSON,), EVERY, True),
        ("/elsewhere", (JSON,), EVERY, False),
    ],
)
def test_content_is_asked_for_where_it_is_needed(path, headers, needs, wanted):
    found = classify(post(path, None, *headers), API, needs, LIMIT)
    assert (found == NeedBody(LIMIT)) is wanted
    assert wanted or isinstance(found, Classified)


def test_what_has_no_content_needs_none():
    stream = Call("GET", "/mcp", (), (), has_body=False, body=None)
    assert classify(stream, API, NOTHING, LIMIT) == Classified((Act(API.builtin("mcp.session")),), Watch.MCP)
    asked = Call("GET", "/graphql", (("query", "{ viewer { login } }"),), (), has_body=False, body=None)
    assert named(classify(asked, API, NOTHING, LIMIT)) == [("api.viewer.read", {})]
    assert isinstance(classify(post("/mcp", has_body=False), API, NOTHING, LIMIT), Refusal)


def test_aws_query_needs_its_form():
    text = FULL.replace("aws-json", "aws-query").replace("DynamoDB_20120810.Get*", "Get*")
    service = parsed(text)
    form = (b"Content-Type", b"application/x-www-form-urlencoded")
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    assert service.protocol_at("/aws") is Protocol.AWS_QUERY
    assert classify(post("/aws", None, form), service, NOTHING, LIMIT) == NeedBody(LIMIT)
    assert named(classify(post("/aws", body, form), service, NOTHING, LIMIT)) == [("api.items", {})]


def test_content_over_the_limit_is_refused():
    found = classify(post("/mcp", MESSAGE.ljust(LIMIT + 1)), API, NOTHING, LIMIT)
    assert isinstance(found, Refusal)
    assert found.code is Code.BODY_TOO_LARGE
    assert isinstance(classify(post("/mcp", MESSAGE.ljust(LIMIT)), API, NOTHING, LIMIT), Classified)


def test_a_placeholder_among_facts_is_redacted():
    placeholder = mint(bytes(range(24)))
    escaped = MESSAGE.replace(b'"x"', b'"a \\u0067' + placeholder[1:].encode() + b'"')
    ((_, facts),) = named(classify(post("/mcp", escaped), API, EVERY, LIMIT))
    assert placeholder not in facts["input"]["query"]
    assert facts["input"]["query"].startswith("a gp_[sha256:")
    ((_, facts),) = named(classify(post("/mcp", MESSAGE.replace(b'"x"', b'"gp_x"')), API, EVERY, LIMIT))
    assert facts["input"] == {"query": "gp_x"}


@given(
    st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS"]),
    st.sampled_from(["/mcp", "/graphql", "/aws", "/shop.v1.Cart/Pay", "/v1/chat", "/repos/a/issues/1", "/x"]),
    st.lists(
        st.tuples(st.sampled_from(["query", "state", "acl", "in"]), st.text(max_size=3)), max_size=2
    ).map(tuple),
    st.sampled_from([(), (JSON,), (AMZ, TARGET), ((b"Content-Type", b"application/grpc"),)]),
    st.none() | st.binary(max_size=20) | st.sampled_from([MESSAGE, b'{"query":"{ a b }"}', b'{"model":"x"}']),
)
def test_a_call_whose_content_is_there_is_classified_or_refused(method, path, query, headers, body):
    call = Call(method, path, query, headers, body is not None, body)
    found = classify(call, API, EVERY, LIMIT)
    assert not isinstance(found, NeedBody)
    if isinstance(found, Classified):
        for act in found.acts:
            facts = json.loads(act.facts)
            assert set(facts) <= act.operation.fact_groups
            assert (
                json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
                == act.facts
            )


UPGRADE = (b"Upgrade", b"websocket")


@pytest.mark.parametrize(
    ("path", "query"), [("/graphql", (("query", "{ viewer { login } }"),)), ("/mcp", ()), ("/aws", ())]
)
def test_no_websocket_opens_where_each_call_has_to_be_read(path, query):
    call = Call("GET", path, query, (UPGRADE,), has_body=False, body=None)
    for needs in (NOTHING, EVERY):
        found = classify(call, API, needs, LIMIT)
        assert isinstance(found, Refusal)
        assert found.code is Code.CONTENT_UNSUPPORTED


def test_a_websocket_at_a_path_of_rest_is_what_its_method_and_path_say():
    call = Call("GET", "/elsewhere", (), (UPGRADE,), has_body=False, body=None)
    assert named(classify(call, API, EVERY, LIMIT)) == [("api.http.read", {})]
