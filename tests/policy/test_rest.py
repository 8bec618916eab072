"""Which operation a REST call is, what is read of it, and when its content is needed at all."""

import json
from dataclasses import replace
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.policy.content import Act, Call, Classified, NeedBody, Watch
from proxy.policy.fact import Condition, Dialect, FactField, FactType, Place
from proxy.policy.needs import NOTHING, Needs
from proxy.policy.operation import Group, Operation
from proxy.policy.rest import classify
from proxy.policy.service_budget import Per, Price, ServiceBudget, Unit
from proxy.policy.template import parse_template
from tests.policy.worlds_calls import service

LIMIT = 1000
EVERY = frozenset({"path", "query", "body", "llm"})
FORM = "application/x-www-form-urlencoded"


def needs(*groups):
    return Needs(frozenset(), frozenset(groups or EVERY), approval=False, content=False)


def when(place, name, *values):
    return Condition(place, tuple(name.split(".")), values)


def field(place, name, kind=FactType.STRING, *, required=True):
    return FactField(place, tuple(name.split(".")), kind, required)


def op(name, method, path, **more):
    return Operation(f"s.{name}", Group.WRITE, (method,), parse_template(path), **more)


SERVICE = service(
    op("issues.list", "GET", "/issues", facts=(field(Place.QUERY, "state", required=False),)),
    op("acl.get", "GET", "/b/{key*}", when=(when(Place.QUERY, "acl"),)),
    op("tags.get", "GET", "/b/{key*}", when=(when(Place.QUERY, "tagging"),)),
    op("get", "GET", "/b/{key*}"),
    op("issues.close", "PATCH", "/issues/{number}", when=(when(Place.BODY, "action", "close", "1"),)),
    op(
        "issues.lock",
        "PATCH",
        "/issues/{number}",
        when=(when(Place.BODY, "action", "lock"), when(Place.QUERY, "force", "true")),
    ),
    op("issues.update", "PATCH", "/issues/{number}"),
    op("issues.open", "POST", "/issues", facts=(
        field(Place.BODY, "title"), field(Place.BODY, "user.login", required=False),
        field(Place.BODY, "n", FactType.LONG, required=False),
    )),
    op("chat", "POST", "/chat", llm=Dialect.OPENAI),
    op("talk", "POST", "/talk", llm=Dialect.ANTHROPIC),
    op("only", "POST", "/only", when=(when(Place.BODY, "a", "x"),), facts=(field(Place.BODY, "b"),)),
)  # fmt: skip


def call(method, path, *query, body=None, kind="application/json", read=True, headers=()):
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    sent = () if body is None else ((b"Content-Type", kind.encode()),)
    return Call(method, path, query, (*sent, *headers), body is not None, body if read else None)


def named(found):
    assert isinstance(found, Classified), found
    (act,) = found.acts
    return act.operation.id, json.loads(act.facts)


def said(made, *groups):
    return named(classify(made, SERVICE, needs(*groups), LIMIT))


def refused(found, *words, code=Code.AMBIGUOUS_INPUT):
    assert isinstance(found, Refusal), found
    assert found.code is code
    assert all(word in found.detail for word in words), found.detail
    return True


def test_no_operation_is_the_group_of_the_method():
    for method, group in {"GET": "read", "POST": "write", "DELETE": "delete", "TRACE": "admin"}.items():
        assert said(call(method, "/nowhere", body={"a": 1}, read=False)) == (f"s.http.{group}", {})


def test_a_condition_on_the_query_chooses():
    assert said(call("GET", "/b/x", ("acl", ""))) == ("s.acl.get", {"path": {"key": "x"}})
    assert said(call("GET", "/b/x/y", ("versions", ""))) == ("s.get", {"path": {"key": "x/y"}})
    assert said(call("HEAD", "/b/x", ("acl", "1")), "query") == ("s.acl.get", {})
    assert refused(classify(call("GET", "/b/x", ("ACL", "")), SERVICE, NOTHING, LIMIT), "ACL")
    assert refused(classify(call("GET", "/b/x", ("acl", ""), ("acl", "")), SERVICE, NOTHING, LIMIT), "acl")


def test_a_query_that_asks_for_two_operations_is_refused():
    assert said(call("GET", "/b/x", ("tagging", ""), ("versionId", "7"))) == (
        "s.tags.get",
        {"path": {"key": "x"}},
    )
    for query in ((("acl", ""), ("tagging", "")), (("tagging", ""), ("acl", ""))):
        found = classify(call("GET", "/b/x", *query), SERVICE, NOTHING, LIMIT)
        assert refused(found, "s.acl.get and s.tags.get")


@pytest.mark.parametrize(
    ("query", "body", "operation"),
    [
        ((), {"action": "close"}, "s.issues.close"),
        ((), {"action": 1}, "s.issues.close"),
        ((), {"action": "open"}, "s.issues.update"),
        ((), {}, "s.issues.update"),
        ((), {"action": "lock"}, "s.issues.update"),
        ((("force", "true"),), {"action": "lock"}, "s.issues.lock"),
        ((("force", "false"),), {"action": "lock"}, "s.issues.update"),
    ],
)
def test_a_condition_on_the_content_chooses(query, body, operation):
    unread = call("PATCH", "/issues/7", *query, body=body, read=False)
    assert classify(unread, SERVICE, NOTHING, LIMIT) == NeedBody(LIMIT)
    assert said(call("PATCH", "/issues/7", *query, body=body)) == (operation, {"path": {"number": "7"}})
    if body:
        pairs = "&".join(f"{name}={value}" for name, value in body.items()).encode()
        assert said(call("PATCH", "/issues/7", *query, body=pairs, kind=FORM))[0] == operation


def test_without_content_its_conditions_do_not_hold():
    assert said(call("PATCH", "/issues/7"))[0] == "s.issues.update"
    assert said(call("PATCH", "/issues/7", body=b"", kind="text/plain"))[0] == "s.issues.update"
    assert said(call("POST", "/only")) == ("s.http.write", {})
    assert said(call("POST", "/only", body={"a": "y"})) == ("s.http.write", {})
    assert said(call("POST", "/only", body={"a": "x", "b": "y"})) == ("s.only", {"body": {"b": "y"}})


@pytest.mark.parametrize(
    "body",
    [
        b'{"action":"open","action":"close"}',
        b'{"action":"open","Action":"close"}',
        b'{"action":["close"]}',
        b'{"action":{"a":1}}',
        b'{"action":1.0}',
        b'[{"action":"close"}]',
        b'{"action":"open"} {"action":"close"}',
        b'{"action":"open","_method":"DELETE"}',
        b'{"action":"open","_Method":"DELETE"}',
        b"not JSON",
    ],
)
def test_content_that_could_be_another_operation_is_refused(body):
    assert refused(classify(call("PATCH", "/issues/7", body=body), SERVICE, NOTHING, LIMIT))


@pytest.mark.parametrize(
    "body",
    [
        b"action=open&action=close",
        b"action=open&Action=close",
        b"action=open&action[]=close",
        b"action=open&%61ction=close",
        b"action=open&_method=delete",
        b"action=op en",
        b"action=%zz",
        b"action=%ff",
        b"_%6dethod=DELETE",
    ],
)
def test_a_form_that_could_be_another_operation_is_refused(body):
    assert refused(classify(call("PATCH", "/issues/7", body=body, kind=FORM), SERVICE, NOTHING, LIMIT))


@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        ("text/plain", ()),
        ("multipart/form-data; boundary=x", ()),
        ("application/json; charset=utf-16", ()),
        ("application/jsonx", ()),
        ("+json; charset=latin-1", ()),
        ("application/json", ((b"content-encoding", b"gzip"),)),
        ("application/json", ((b"content-encoding", b"identity, br"),)),
        ("application/json", ((b"content-type", b"application/json"),)),
    ],
)
def test_another_kind_of_content_is_refused(kind, headers):
    made = call("PATCH", "/issues/7", body={}, kind=kind, headers=headers)
    assert refused(classify(made, SERVICE, NOTHING, LIMIT), code=Code.CONTENT_UNSUPPORTED)
    bare = made._replace(headers=())
    assert refused(classify(bare, SERVICE, NOTHING, LIMIT), code=Code.CONTENT_UNSUPPORTED)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON;charset=UTF-8",
        "application/merge-patch+json",
        "application/vnd.x+json",
    ],
)
def test_json_has_many_names(kind):
    assert said(call("PATCH", "/issues/7", body={"action": "close"}, kind=kind))[0] == "s.issues.close"
    coded = call("PATCH", "/issues/7", body={}, kind=kind, headers=((b"Content-Encoding", b"identity"),))
    assert said(coded)[0] == "s.issues.update"


def test_facts_of_the_query():
    assert said(call("GET", "/issues", ("state", "open"), ("page", "1"), ("page", "2"))) == (
        "s.issues.list",
        {"query": {"state": "open"}},
    )
    assert said(call("GET", "/issues")) == ("s.issues.list", {"query": {}})
    twice = call("GET", "/issues", ("state", "open"), ("state", "all"))
    assert refused(classify(twice, SERVICE, needs("query"), LIMIT), "state")
    assert said(twice, "path") == ("s.issues.list", {})  # nobody reads it


def test_facts_of_the_content():
    body = {"title": "t", "user": {"login": "ada", "x": 1}, "n": 5, "z": []}
    expected = {"body": {"title": "t", "user": {"login": "ada"}, "n": 5}}
    assert classify(
        call("POST", "/issues", body=body, read=False), SERVICE, needs("body"), LIMIT
    ) == NeedBody(LIMIT)
    assert said(call("POST", "/issues", body=body)) == ("s.issues.open", expected)
    form = call("POST", "/issues", body=b"title=t&user.login=ada&n=5&z=", kind=FORM)
    assert said(form) == ("s.issues.open", expected)


def test_content_that_nobody_reads_is_not_asked_for():
    unread = call("POST", "/issues", body=b"anything", kind="image/png", read=False)
    assert classify(unread, SERVICE, needs("path", "query", "llm"), LIMIT) == Classified(
        (Act(SERVICE.rest_candidates("POST", "/issues").candidates[0].operation),)
    )


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (call("POST", "/issues"), "title"),
        (call("POST", "/issues", body=b""), "title"),
        (call("POST", "/issues", body={}), "title"),
        (call("POST", "/issues", body=b"{"), "JSON"),
        (call("POST", "/issues", body={"title": 1}), "title"),
        (call("POST", "/issues", body={"title": "t", "n": "5"}), "n has"),
        (call("POST", "/issues", body={"title": "t", "user": "ada"}), "user.login"),
        (call("POST", "/issues", body=b"title=t&n=five", kind=FORM), "n has"),
    ],
)
def test_a_field_that_is_missing_or_of_another_type_is_named(made, word):
    assert refused(classify(made, SERVICE, needs("body"), LIMIT), word)


def test_a_call_to_a_language_model():
    asked = {"model": "gpt-4o", "messages": [], "max_tokens": 9}
    facts = {"model": "gpt-4o", "stream": False, "tools": [], "max_tokens": 9}
    unread = call("POST", "/chat", body=asked, read=False)
    assert classify(unread, SERVICE, needs("llm"), LIMIT) == NeedBody(LIMIT)
    found = classify(call("POST", "/chat", body=asked), SERVICE, needs("llm"), LIMIT)
    assert named(found) == ("s.chat", {"llm": facts})
    assert found.watch is Watch.OPENAI
    assert classify(call("POST", "/talk", body=asked), SERVICE, needs("llm"), LIMIT).watch is Watch.ANTHROPIC
    assert classify(unread, SERVICE, NOTHING, LIMIT).watch is None
    assert refused(classify(call("POST", "/chat", body={"model": 1}), SERVICE, needs("llm"), LIMIT), "model")
    for made in (call("POST", "/chat"), call("POST", "/chat", body=b"model=x", kind=FORM)):
        assert refused(classify(made, SERVICE, needs("llm"), LIMIT), code=Code.CONTENT_UNSUPPORTED)


@pytest.mark.parametrize(
    ("unit", "watch"),
    [(Unit.TOKENS, Watch.OPENAI), (Unit.COST, Watch.OPENAI), (Unit.REQUESTS, None), (Unit.OCTETS, None)],
)
def test_budgets_of_tokens_and_cost_are_counted_without_reading_the_request(unit, watch):
    counting = replace(SERVICE, budgets=(ServiceBudget("b", Per.TASK, 60, unit, 1),))
    found = classify(call("POST", "/chat", body={}, read=False), counting, NOTHING, LIMIT)
    assert named(found) == ("s.chat", {})
    assert found.watch is watch
    assert classify(call("GET", "/issues"), counting, NOTHING, LIMIT).watch is None


def test_where_a_service_has_prices_its_costs_are_known_without_a_budget():
    priced = replace(SERVICE, prices=(Price("gpt-4o", 1, 2),))
    found = classify(call("POST", "/chat", body={}, read=False), priced, NOTHING, LIMIT)
    assert (named(found), found.watch) == (("s.chat", {}), Watch.OPENAI)


NAMES = st.sampled_from(["action", "Action", "other", "a.b", "action[]"])
VALUES = st.sampled_from(["close", "open", "lock", "1", "Close"])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4), st.randoms(use_true_random=False))
def test_every_spelling_of_a_form_is_the_same_operation(pairs, random):
    def spelled(text):
        return "".join(f"%{ord(c):02x}" if random.random() < 0.5 else quote_plus(c) for c in text)

    def found(body):
        return classify(call("PATCH", "/issues/7", body=body, kind=FORM), SERVICE, needs("body"), LIMIT)

    plain = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs).encode()
    other = "&".join(f"{spelled(name)}={spelled(value)}" for name, value in pairs).encode()
    assert found(plain) == found(other)
    if [name for name, _ in pairs if name not in {"other", "a.b"}] == ["action"]:
        closes = dict(pairs)["action"] in {"close", "1"}
        assert named(found(plain))[0] == ("s.issues.close" if closes else "s.issues.update")
