import json
from hashlib import sha256
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.http.canonical import query_pairs
from proxy.policy.catalogue import Service
from proxy.policy.content import MAX_ACTS, Call, Classified
from proxy.policy.fact import FactField, FactType, Place, Protocol, Selector
from proxy.policy.graphql import classify
from proxy.policy.needs import EVERYTHING, NOTHING, Needs
from proxy.policy.operation import Group, Operation

LISTED = "query Me { viewer { login } }"
DIGEST = sha256(LISTED.encode()).hexdigest()


def operation(name, group, pattern, *facts):
    return Operation(f"hub.{name}", group, selector=Selector(Protocol.GRAPHQL, pattern), facts=facts)


def field(name, kind, *, required=True):
    return FactField(Place.INPUT, tuple(name.split(".")), kind, required)


HUB = Service(
    *("hub", ("hub.example.org",), ("https",), (443,), "a@example.org", "b@example.org", "internal"),
    ("development",),
    (
        operation("viewer", Group.READ, "query.viewer"),
        operation(
            "issues.create", Group.WRITE, "mutation.createIssue", field("input.title", FactType.STRING)
        ),
        operation(
            "pay",
            Group.ADMIN,
            "mutation.pay",
            field("amount", FactType.LONG),
            field("note", FactType.STRING, required=False),
            field("tags", FactType.STRINGS, required=False),
        ),
        operation("remove", Group.DELETE, "mutation.delete*"),
        *(operation(f"a{number}", Group.READ, f"query.a{number}") for number in range(MAX_ACTS + 1)),
    ),
    None,
    protocol=Protocol.GRAPHQL,
    persisted_queries={DIGEST: LISTED},
)
JSON = (b"Content-Type", b"application/json")


def post(document, *headers, query=()):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Call("POST", "/graphql", query, headers or (JSON,), has_body=True, body=body)


def get(**parameters):
    texts = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()
    }
    query = "&".join(f"{name}={quote(value)}" for name, value in texts.items())
    return Call("GET", "/graphql", query_pairs(query), (), has_body=False, body=None)


def acts(call, needs=EVERYTHING):
    found = classify(call, HUB, needs)
    assert isinstance(found, Classified), found
    return [(act.operation.id.removeprefix("hub."), json.loads(act.facts)) for act in found.acts]


def names(text, **more):
    return [name for name, _ in acts(post({"query": text, **more}))]


def refused(call, code=Code.AMBIGUOUS_INPUT):
    found = classify(call, HUB, EVERYTHING)
    assert isinstance(found, Refusal), found
    assert found.code is code
    return found.detail


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ viewer { login } }", ["viewer"]),
        ("query { viewer { login } other }", ["viewer", "graphql.query"]),
        ("query { one two three }", ["graphql.query"]),
        ("mutation { deleteIssue deleteRepo }", ["remove"]),
        ("mutation { viewer }", ["graphql.mutation"]),
        ("subscription { viewer }", ["graphql.subscription"]),
        ("{ viewer: deleteAll }", ["graphql.query"]),
        ("mutation { viewer: deleteAll }", ["remove"]),
        ("{ __schema { types { name } } }", ["graphql.query"]),
        ("mutation { deleteAll __typename }", ["remove", "graphql.query"]),
        ("{ viewer @skip(if: true) }", ["viewer"]),
        ("{ ... { viewer } ... on Query { a1 } }", ["viewer", "a1"]),
        ("query { ...A } fragment A on Query { ...B a1 } fragment B on Query { viewer }", ["viewer", "a1"]),
        ("query { ...A ...A } fragment A on Query { viewer } fragment Unused on Query { a1 }", ["viewer"]),
        ("\ufeff# comment { deleteAll }\n,,query,{,viewer,}", ["viewer"]),
    ],
)
def test_root_fields_name_operations(text, expected):
    assert sorted(names(text)) == sorted(expected)


def test_facts_tell_of_the_operation_that_runs():
    text = "query A { a1 } query B { x: viewer { ...F } a2 } fragment F on User { login posts { id } }"
    facts = {"operation": "query", "name": "B", "fields": ["a2", "viewer"], "depth": 3, "persisted": False}
    found = acts(post({"query": text, "operationName": "B", "variables": None, "extensions": {"trace": 1}}))
    assert found == [("viewer", {"graphql": facts}), ("a2", {"graphql": facts})]
    assert acts(post({"query": text, "operationName": "A"}), NOTHING) == [("a1", {})]


@pytest.mark.parametrize("text", ["{ viewer }", "query { viewer }", "query Me { viewer }"])
@pytest.mark.parametrize("name", [None, ""])
def test_a_single_operation_needs_no_name(text, name):
    assert names(text, operationName=name) == ["viewer"]


def test_every_way_to_send_a_query_is_read():
    text = "query Me { viewer { login } }"
    sent = acts(post({"query": text}))
    assert acts(get(query=text)) == sent
    assert acts(get(query=text, operationName="Me", variables={}, token="x")) == sent
    assert acts(get(query=text)._replace(method="HEAD")) == sent
    assert acts(post(text.encode(), (b"content-type", b"application/graphql; charset=utf-8"))) == sent
    assert acts(post([{"query": text}])) == sent


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no query"),
        ("{", "parse"),
        ("{ viewer } {", "parse"),
        ("{ viewer } extra", "parse"),
        ("{ }", ""),
        ("{ viewer { } }", ""),
        ("{ viewer } { a1 }", "name"),
        ("query A { viewer } { a1 }", "without a name"),
        ("query A { viewer } query A { a1 }", "same name"),
        ("query A { viewer } query B { a1 }", "operationName"),
        ("fragment A on Query { viewer }", "no operation"),
        ("{ ...A }", "not defined"),
        ("{ ...A } fragment A on Query { ...A }", "cycle"),
        ("{ ...A } fragment A on Query { x { ...B } } fragment B on X { y { ...A } }", "cycle"),
        ("{ ...A } fragment A on Query { viewer } fragment A on Query { a1 }", "twice"),
        ("{ viewer } type Query { viewer: Int }", "types"),
        ("query ($a: Int, $a: Int) { viewer }", "twice"),
        ("query ($a: I = {a: 1, a: 2}) { viewer }", "twice"),
        ("# one line for some\rmutation { deleteAll }", "control"),
        ("# one line for some\u2028mutation { deleteAll }", "control"),
        ("{ viewer }\0", "control"),
    ],
)
def test_what_servers_may_read_differently_is_refused(text, word):
    assert word in refused(post({"query": text}))


def test_a_name_that_no_operation_has_is_refused():
    assert "other" in refused(post({"query": "query A { viewer }", "operationName": "other"}))
    assert "none" in refused(post({"query": "{ viewer }", "operationName": "none"}))


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"{", b'"{ viewer }"', b"[]", b"[1]", b'[[{"query":"{viewer}"}]]', b'{"query":"{viewer}"}{}'),
        *(
            b'{"query":"{viewer}","query":"mutation{deleteAll}"}',
            b'{"query":"{viewer}","Query":"mutation{deleteAll}"}',
        ),
        *({}, {"query": None}, {"query": ["{viewer}"]}, {"query": "{viewer}", "operationName": 1}),
        *({"query": "{viewer}", "variables": []}, {"query": "{viewer}", "variables": "{}"}),
        *({"query": "{viewer}", "extensions": 1}, {"query": "{viewer}", "mutation": "x"}),
        *({"query": "{viewer}", "doc.id": "x"}, {"query": "{viewer}", "id": 5}),
        *({"query": "{viewer}", "extensions": {"PersistedQuery": {}}},),
    ],
)
def test_a_document_that_is_no_request_is_refused(document):
    refused(post(document))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (post({"query": "{viewer}"}, query=(("query", "mutation{deleteAll}"),)), Code.AMBIGUOUS_INPUT),
        (post({"query": "{viewer}"}, query=(("operationName", "A"),)), Code.AMBIGUOUS_INPUT),
        (post({"query": "{viewer}"}, query=(("Query", "x"),)), Code.AMBIGUOUS_INPUT),
        (get(query="mutation { deleteAll }"), Code.AMBIGUOUS_INPUT),
        (get(), Code.AMBIGUOUS_INPUT),
        (get(query="{viewer}", variables="{"), Code.AMBIGUOUS_INPUT),
        (
            get(query="{viewer}")._replace(query=(("query", "{viewer}"), ("query", "{a1}"))),
            Code.AMBIGUOUS_INPUT,
        ),
        (
            get(query="{viewer}")._replace(query=(("query", "{viewer}"), ("query[]", "{a1}"))),
            Code.AMBIGUOUS_INPUT,
        ),
        (get(query="{viewer}")._replace(has_body=True, body=b"{}"), Code.AMBIGUOUS_INPUT),
        (get(query="{viewer}")._replace(method="PUT"), Code.CONTENT_UNSUPPORTED),
        (post({"query": "{viewer}"}, (b"content-type", b"text/plain")), Code.CONTENT_UNSUPPORTED),
        (
            post({"query": "{viewer}"}, (b"content-type", b"multipart/form-data; boundary=x")),
            Code.CONTENT_UNSUPPORTED,
        ),
        (post({"query": "{viewer}"}, JSON, JSON), Code.CONTENT_UNSUPPORTED),
        (post({"query": "{viewer}"}, JSON, (b"content-encoding", b"gzip")), Code.CONTENT_UNSUPPORTED),
        (post(b"\xff", (b"content-type", b"application/graphql")), Code.AMBIGUOUS_INPUT),
    ],
)
def test_what_comes_another_way_is_refused(call, code):
    refused(call, code)


def test_a_batch_does_all_that_its_requests_do_or_nothing():
    batch = [{"query": "{ viewer }"}, {"query": "mutation { deleteAll }"}, {"query": "{ viewer }"}]
    assert [name for name, _ in acts(post(batch))] == ["viewer", "remove", "viewer"]
    assert "parse" in refused(post([*batch, {"query": "{"}]))
    assert "GET" not in refused(post([{"query": "{viewer}"}, 5]))


def test_thousands_of_fields_that_are_one_act_cost_one():
    """The facts name every field: made for each field, 16 KB of query became 80 MB of facts."""
    fields = " ".join(f"nobody{number}" for number in range(4_000))
    ((_, facts),) = acts(post({"query": f"{{ {fields} }}"}))
    assert len(facts["graphql"]["fields"]) == 4_000


def test_acts_are_bounded():
    most = " ".join(f"a{number}" for number in range(MAX_ACTS))
    assert len(names(f"{{ {most} }}")) == MAX_ACTS
    refused(post({"query": f"{{ {most} a{MAX_ACTS} }}"}), Code.BODY_TOO_LARGE)
    refused(post([{"query": "{ viewer a1 }"}] * (MAX_ACTS // 2 + 1)), Code.BODY_TOO_LARGE)
    refused(post([{"query": "{ viewer }"}] * (MAX_ACTS + 1)), Code.BODY_TOO_LARGE)


@pytest.mark.parametrize(
    "text",
    [
        "{" + "a " * 5_000 + "}",
        "{a" * 65 + "}" * 65,
        "{a" * 1_900 + "}" * 1_900,
        "{a(x: " + "[" * 1_900 + "]" * 1_900 + ")}",
        "{...F0} "
        + " ".join(f"fragment F{n} on Q {{ x {{ ...F{n + 1} }} }}" for n in range(40))
        + " fragment F40 on Q { y }",
        "{ viewer } #" + "x" * 70_000,
    ],
)
def test_a_bomb_costs_little_and_is_refused(text):
    refused(post({"query": text}), Code.BODY_TOO_LARGE)


def test_a_bomb_of_spreads_is_measured_once():
    spreads = " ".join(f"fragment F{n} on Q {{ ...F{n + 1} x {{ ...F{n + 1} }} }}" for n in range(30))
    text = f"{{ ...F0 }} {spreads} fragment F30 on Q {{ viewer }}"
    [_, (_, facts)] = acts(post({"query": text}))
    assert facts["graphql"]["depth"] == 31


@pytest.mark.parametrize("levels", [1, 2, 64])
def test_depth_counts_levels_of_fields(levels):
    [(_, facts)] = acts(post({"query": "{viewer" * levels + "}" * levels}))
    assert facts["graphql"]["depth"] == levels


def test_requests_of_a_batch_share_the_limit_of_tokens():
    text = "{" + " a" * 2_000 + "}"
    assert names(text) == ["graphql.query"]
    refused(post([{"query": text}] * 4), Code.BODY_TOO_LARGE)


APQ = {"persistedQuery": {"version": 1, "sha256Hash": DIGEST}}
UNKNOWN = {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}


@pytest.mark.parametrize(
    "document",
    [
        {"extensions": APQ},
        *({"id": DIGEST}, {"documentId": DIGEST}, {"documentId": f"sha256:{DIGEST}"}, {"doc_id": DIGEST}),
        *({"query": None, "id": DIGEST}, {"query": "", "extensions": APQ}),
        *({"query": LISTED}, {"query": LISTED, "extensions": APQ}, {"query": LISTED, "documentId": DIGEST}),
        {"id": DIGEST, "doc_id": DIGEST, "extensions": APQ, "operationName": "Me"},
    ],
)
def test_a_listed_query_is_judged_by_its_text(document):
    [(name, facts)] = acts(post(document))
    assert name == "viewer"
    assert facts["graphql"] == {
        "operation": "query",
        "name": "Me",
        "fields": ["viewer"],
        "depth": 2,
        "persisted": True,
    }
    assert acts(get(**{key: value for key, value in document.items() if value})) == [(name, facts)]


@pytest.mark.parametrize(
    "document",
    [
        {"extensions": UNKNOWN},
        {"id": "0" * 64},
        {"documentId": "md5:1"},
        {"doc_id": "12345"},
        {"id": DIGEST.upper()},
    ],
)
def test_a_query_that_is_not_listed_needs_its_text(document):
    assert "persisted_queries" in refused(post(document), Code.PERSISTED_QUERY_UNKNOWN)


@pytest.mark.parametrize(
    "document",
    [
        *({"query": "{viewer}", "extensions": APQ}, {"query": "{viewer}", "id": DIGEST}),
        *({"query": "{viewer}", "doc_id": "12345"}, {"query": LISTED + " ", "extensions": APQ}),
        *({"id": DIGEST, "documentId": "0" * 64}, {"id": "0" * 64, "extensions": APQ}),
        *({"extensions": {"persistedQuery": DIGEST}}, {"extensions": {"persistedQuery": {"version": 1}}}),
        {"extensions": {"persistedQuery": {"sha256Hash": DIGEST, "md5Hash": "x"}}},
        {"extensions": {"persistedQuery": {"sha256Hash": DIGEST, "SHA256Hash": "0" * 64}}},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": DIGEST.upper()}}},
    ],
)
def test_a_hash_that_is_not_that_of_the_text_is_refused(document):
    refused(post(document))


def inputs(text, variables=None):
    document = {"query": text, "variables": variables}
    return [facts.get("input") for name, facts in acts(post(document), NEEDS_INPUT) if name != "viewer"]


NEEDS_INPUT = Needs(frozenset(), frozenset({"input"}), approval=False, content=False)


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("mutation ($input: I!) { createIssue(input: $input) { id } }", {"input": {"title": "t", "x": 1.5}}),
        (
            "mutation ($i: I!, $input: I) { createIssue(input: $i) { id } }",
            {"i": {"title": "t"}, "input": {"title": "no"}},
        ),
        ("mutation ($t: String!) { createIssue(input: {title: $t, labels: [A, $t]}) { id } }", {"t": "t"}),
        ('mutation { createIssue(input: {title: "t", x: null}) { id } }', {"input": {"title": "no"}}),
        ('mutation { createIssue(input: {title: """t"""}) { id } }', None),
        ('mutation ($t: String = "t") { createIssue(input: {title: $t}) { id } }', {}),
        ('mutation { ...A } fragment A on M { x: createIssue(input: {title: "t"}) { id } }', None),
    ],
)
def test_the_input_is_what_the_field_gets_however_it_is_written(text, variables):
    assert inputs(text, variables) == [{"input": {"title": "t"}}]


def test_every_call_of_a_field_has_its_own_input():
    text = "mutation ($n: Int) { a: pay(amount: 1) b: pay(amount: $n) c: pay(amount: 1) }"
    assert inputs(text, {"n": 999}) == [{"amount": 1}, {"amount": 999}]
    assert inputs("mutation { pay(amount: -5, tags: [X, Y], note: null) }") == [
        {"amount": -5, "tags": ["X", "Y"]}
    ]


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        ("", None),
        ("(amount: null)", None),
        ('(amount: "1")', None),
        ("(amount: 1.0)", None),
        ("(amount: true)", None),
        ("(amount: 9223372036854775808)", None),
        ("(amount: " + "9" * 10_000 + ")", None),
        ("(amount: [1])", None),
        ("(amount: {amount: 1})", None),
        ("(amount: 1, amount: 2)", None),
        ("(amount: 1, Amount: 2)", None),
        ("(amount: 1, other: {a: 1, a: 2})", None),
        ("(amount: 1, other: [{a: 1, a: 2}])", None),
        ("(amount: 1, note: 5)", None),
        ('(amount: 1, tags: "x")', None),
        ("(amount: 1, tags: [$absent])", None),
        ("(amount: $n)", None),
        ("(amount: $n)", {"n": None}),
        ("(amount: $n)", {"n": "5"}),
        ("(amount: $undeclared)", {"undeclared": 5}),
    ],
)
def test_an_input_that_is_not_as_declared_is_refused(arguments, variables):
    refused(post({"query": f"mutation ($n: Int, $absent: X) {{ pay{arguments} }}", "variables": variables}))


def test_an_input_that_no_rule_reads_is_not_looked_at():
    call = post({"query": "mutation { pay(amount: 1, amount: 2) }"})
    assert acts(call, NOTHING) == [("pay", {})]


FIELDS = st.sampled_from(["viewer", "a1", "a2", "deleteIssue", "other", "__typename"])
SPACE = st.sampled_from([" ", "\n", ",", "\t", " # { deleteAll } \n", "\r\n", "\ufeff", " , \n"])


@st.composite
def rewritten(draw, kind, chosen):
    """A document that selects ``chosen``, in one of the many ways to write that."""
    fragments, parts = [], []

    def space():
        return "".join(draw(st.lists(SPACE, min_size=1, max_size=2)))

    for number, name in enumerate(chosen):
        part = name
        if draw(st.booleans()):
            part = f"{draw(st.sampled_from(['viewer', 'deleteAll', 'z']))}{number}{space()}:{space()}{name}"
        if draw(st.booleans()):
            part += f"{space()}@include(if: false)"
        if draw(st.booleans()):
            part += f"{space()}{{{space()}deleteAll{space()}}}"
        for _ in range(draw(st.integers(0, 2))):
            if draw(st.booleans()):
                part = f"...{space()}{draw(st.sampled_from(['', 'on Q ', '@skip(if: true) ']))}{{{part}}}"
            else:
                fragments.append(f"fragment F{len(fragments)} on Q{space()}{{{part}}}")
                part = f"...F{len(fragments) - 1}"
        parts.append(part)
    operation = f"{kind}{space()}Name{space()}{{{space()}{space().join(parts)}{space()}}}"
    documents = [operation, *fragments]
    if draw(st.booleans()):
        documents.append("mutation Other { deleteOther }")
    return space().join(draw(st.permutations(documents)))


@given(
    st.sampled_from(["query", "mutation", "subscription"]),
    st.lists(FIELDS, min_size=1, max_size=5),
    st.data(),
)
def test_no_way_to_write_a_document_changes_what_it_does(kind, chosen, data):
    plain = {"query": f"{kind} Name {{ {' '.join(chosen)} }}", "operationName": "Name"}
    text = data.draw(rewritten(kind, chosen))
    members = list({**plain, "query": text}.items())
    document = dict(data.draw(st.permutations(members)))
    expected, found = acts(post(plain)), acts(post(document))
    assert sorted(name for name, _ in found) == sorted(name for name, _ in expected)
    assert found[0][1]["graphql"]["fields"] == sorted(set(chosen))
    if kind != "mutation":
        assert acts(get(**document)) == found


@given(st.text(alphabet='{}()[]:!$@&|=."#\\, \nabAB01_-qfo', max_size=60))
def test_any_text_is_read_or_refused(text):
    found = classify(post({"query": text}), HUB, EVERYTHING)
    assert isinstance(found, (Classified, Refusal))
    if isinstance(found, Classified):
        assert 0 < len(found.acts) <= MAX_ACTS


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["query", "variables", "extensions", "id", "persistedQuery", "sha256Hash", "x"]
                ),
                inner,
            )
        ),
        max_leaves=8,
    )
)
def test_any_document_is_read_or_refused(document):
    assert isinstance(classify(post(document), HUB, EVERYTHING), (Classified, Refusal))
