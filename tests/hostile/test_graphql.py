"""C18, C20: what a GraphQL call could do is what is judged, however it is dressed up (egress.md, section 5)."""

import json
from hashlib import sha256
from urllib.parse import quote

import pytest

from proxy.errors import Code
from tests.hostile.assertions import refused
from tests.hostile.reading import FORM, JSON, acts, all_refused, allow, arrived, post, serving
from tests.support.world import World, world

LISTED = "query { viewer { login } }"
HASH = sha256(LISTED.encode()).hexdigest()
MUTATION = "mutation { deleteRepo(id: 1) { id } }"
OTHER_HASH = sha256(MUTATION.encode()).hexdigest()
OPERATIONS = {
    "viewer": {"group": "read", "graphql": "query.viewer"},
    "repo": {"group": "read", "graphql": "query.repository", "facts": {"input": {"name": "string"}}},
    "delete": {"group": "delete", "graphql": "mutation.deleteRepo"},
    "star": {"group": "write", "graphql": "mutation.addStar"},
}
RULES = [
    allow("viewer", "api.viewer", "api.star"),
    allow("repo", "api.repo", when='context.facts.input.name == "open"'),
]


def speaking(tmp_path):
    services = serving(
        OPERATIONS, endpoints={"/graphql": "graphql"}, persisted_queries={HASH: LISTED}, protocol="rest"
    )
    return world(tmp_path, services=services, policies=RULES)


def document(query: str | None = None, **more: object) -> bytes:
    return json.dumps(({} if query is None else {"query": query}) | more).encode()


async def ask(w: World, body: bytes, *headers: str):
    return await post(w, "/graphql", body, *(headers or (JSON,)))


DENIED = {
    "plain": document(MUTATION),
    "alias": document("mutation { viewer: deleteRepo(id: 1) { id } }"),
    "beside-an-allowed-one": document("mutation { addStar { id } deleteRepo(id: 1) { id } }"),
    "inline-fragment": document("mutation { ... { deleteRepo(id: 1) { id } } }"),
    "typed-fragment": document("mutation { ... on Nobody { deleteRepo(id: 1) { id } } }"),
    "spread": document(
        "mutation { ...f } fragment f on Mutation { addStar ...g } fragment g on M { deleteRepo }"
    ),
    "skipped": document("mutation { addStar deleteRepo(id: 1) @skip(if: true) { id } }"),
    "included-never": document("mutation($no: Boolean = false) { addStar deleteRepo @include(if: $no) }"),
    "skipped-fragment": document("mutation { ... @skip(if: true) { deleteRepo } addStar }"),
    "commas-and-comments": document("#query{viewer}\n,,mutation,#{\n{,,#viewer\ndeleteRepo(id:1),{id}}"),
    "crlf": document("# query\r\nmutation\r\n{\r\ndeleteRepo\r\n}"),
    "bom": document("\ufeffmutation { deleteRepo }"),
    "named-like-a-query": document("mutation query { deleteRepo }"),
    "chosen-by-name": document("query a { viewer { login } } mutation b { deleteRepo }", operationName="b"),
    "escaped": b'{"query":"\\u006dutation { delete\\u0052epo }"}',
    "in-a-string": document('query { viewer(x: "}") { login } repository(name: "secret") { id } }'),
    "in-a-block-string": document(
        'query { viewer(x: """ " } """) { login } repository(name: "secret") { id } }'
    ),
    "by-variable": document("query($n: String) { repository(name: $n) { id } }", variables={"n": "secret"}),
    "by-default": document('query($n: String = "secret") { repository(name: $n) { id } }', variables={}),
    "two-arguments": document(
        'query { a: repository(name: "open") { id } b: repository(name: "secret") { id } }'
    ),
    "block-string": document('query { repository(name: """secret""") { id } }'),
    "subscription": document("subscription { viewer { login } }"),
    "unnamed-field": document("{ viewer { login } users { id } }"),
    "case": document("{ Viewer { login } }"),
    "introspection": document("{ __schema { types { name } } }"),
    "batch": b"[%s,%s]" % (document("{ viewer { login } }"), document(MUTATION)),
}


@pytest.mark.parametrize("body", [pytest.param(body, id=f"C18-{name}") for name, body in DENIED.items()])
async def test_what_it_could_do_is_denied(tmp_path, body):
    async with speaking(tmp_path) as w:
        await refused(w, await ask(w, body), Code.DEFAULT_DENY)


TWO_WAYS = [
    document("query a { viewer { login } } mutation b { deleteRepo }"),
    document("query a { viewer { login } } mutation b { deleteRepo }", operationName=""),
    document("query a { viewer { login } } mutation b { deleteRepo }", operationName="c"),
    document("query a { viewer { login } } mutation a { deleteRepo }", operationName="a"),
    document("{ viewer { login } } mutation b { deleteRepo }", operationName="b"),
    document("{ viewer { login } } { viewer { login } }"),
    document("query { viewer { login } }", operationName=["b"]),
    b'{"query":"{ viewer { login } }","query":"mutation { deleteRepo }"}',
    b'{"query":"{ viewer { login } }","Query":"mutation { deleteRepo }"}',
    b'{"query":"{ viewer { login } }","\\u0071uery":"mutation { deleteRepo }"}',
    b'{"query":"{ viewer { login } }","operationName":"a","operationname":"b"}',
    b'{"query":"{ viewer { login } }"} {"query":"mutation { deleteRepo }"}',
    document("{ viewer { login } }", mutation=MUTATION),
    document("{ viewer { login } }", queryId="7"),
    document("{ viewer { login } }", variables="{}"),
    document("{ viewer { login } }", variables=[]),
    document("{ viewer { login } }", extensions="x"),
    document([]),
    document(""),
    document(" # nothing\n"),
    document("fragment f on Query { viewer }"),
    document("{ }"),
    document("{ viewer { } }"),
    document("{ ...f } fragment f on Query { ...f }"),
    document("{ ...f } fragment f on Query { ...g } fragment g on Query { ...f }"),
    document("{ viewer { ...f } } fragment f on User { friend { ...f } }"),
    document("{ ...f }"),
    document("{ ...f } fragment f on Query { viewer } fragment f on Query { deleteRepo }"),
    document("type Query { viewer: String } query { viewer { login } }"),
    document("extend type Query { x: Int } { viewer { login } }"),
    document("query($n: String, $n: Int) { viewer { login } }"),
    document('{ repository(name: "open", name: "secret") { id } }'),
    document("{ viewer { login } #\r deleteRepo\r}"),
    document("{ viewer { login } #\u2028 deleteRepo\n}"),
    document("{ viewer { login } #\u0085 deleteRepo\n}"),
    document("{ viewer\u0000 { login } }"),
    document("{ viewer { login }"),
    document("{ viewer { login } } }"),
    document("{ viewer(x: 'y') { login } }"),
    document("query { viewer { login } } garbage"),
    b"[]",
    b"[[%s]]" % document("{ viewer { login } }"),
    b"[%s,null]" % document("{ viewer { login } }"),
    b'"{ viewer { login } }"',
    b"{ viewer { login } }",
]


async def test_c20_what_servers_could_read_in_two_ways_never_leaves(tmp_path):
    async with speaking(tmp_path) as w:
        await all_refused(w, Code.AMBIGUOUS_INPUT, TWO_WAYS, lambda body: ask(w, body))


BOMBS = {
    "batch": b"[" + b",".join([document("{ viewer { login } }")] * 17) + b"]",
    "aliases": document("{ " + " ".join(f"a{n}: viewer {{ login }}" for n in range(2_000)) + " }"),
    "comments": document("#" * 70_000 + "\n{ viewer { login } }"),
    "commas": document("{ viewer { login }" + "," * 70_000 + "}"),
    "depth": document("{ viewer " + "{ a " * 100 + "}" * 100 + " }"),
    "brackets": document("{ viewer(x: " + "[" * 3_000 + "]" * 3_000 + ") { login } }"),
    "fragments": document(
        "{ ...f0 } "
        + " ".join(f"fragment f{n} on Query {{ x {{ ...f{n + 1} ...f{n + 1} }} }}" for n in range(80))
        + " fragment f80 on Query { viewer }"
    ),
    "different-acts": document(
        "{ " + " ".join(f'a{n}: repository(name: "open", n: {n}) {{ id }}' for n in range(20)) + " }"
    ),
}
DIFFERENT = document("{ " + " ".join(f'a{n}: repository(name: "n{n}") {{ id }}' for n in range(20)) + " }")


@pytest.mark.parametrize(
    "body", [pytest.param(body, id=f"C16-{name}") for name, body in BOMBS.items() if name != "different-acts"]
)
async def test_a_bomb_is_refused_before_it_is_large(tmp_path, body):
    async with speaking(tmp_path) as w:
        await refused(w, await ask(w, body), Code.BODY_TOO_LARGE)


async def test_c16_more_things_than_one_call_may_do(tmp_path):
    async with speaking(tmp_path) as w:
        await refused(w, await ask(w, DIFFERENT), Code.BODY_TOO_LARGE)


async def test_what_is_done_again_and_again_is_one_thing(tmp_path):
    async with speaking(tmp_path) as w:
        assert (await ask(w, BOMBS["different-acts"])).status == 200
        assert acts(w.decisions[0]) == ["api.repo"]


URLS = [
    "query=%7Bviewer%7D&query=mutation%7BdeleteRepo%7D",
    "query=%7Bviewer%7D;query=mutation%7BdeleteRepo%7D",
    "query=%7Bviewer%7D&Query=mutation%7BdeleteRepo%7D",
    "query=%7Bviewer%7D&query[]=mutation%7BdeleteRepo%7D",
    "query=" + quote(MUTATION),
    "query=" + quote("query a{viewer} mutation b{deleteRepo}") + "&operationName=b",
    "query=%7Bviewer%7D&operationName=a&operationName=b",
    "query=%7Bviewer%7D&variables=%7B%22a%22:1,%22a%22:2%7D",
    "query=%7Bviewer%7D&variables=x",
    "query=%7Bviewer%7D&extensions=%7B%22persistedQuery%22:%7B%22sha256Hash%22:%22"
    + OTHER_HASH
    + "%22%7D%7D",
    "query=%7Bviewer%7D&id=" + OTHER_HASH,
    "",
]


async def test_c18_a_url_says_it_once_and_changes_nothing(tmp_path):
    async with speaking(tmp_path) as w:

        async def send(query):
            return await w.call(f"/graphql?{query}")

        await all_refused(w, Code.AMBIGUOUS_INPUT, URLS, send)


async def test_c18_a_post_says_it_in_its_content_alone(tmp_path):
    async with speaking(tmp_path) as w:

        async def send(query):
            return await post(w, f"/graphql?{query}", document("{ viewer { login } }"), JSON)

        stray = [
            "query=mutation%7BdeleteRepo%7D",
            "operationName=b",
            "variables=%7B%7D",
            "id=7",
            "QUERY=x",
            "query[]=x",
        ]
        await all_refused(w, Code.AMBIGUOUS_INPUT, stray, send)


async def test_c18_a_get_has_no_content(tmp_path):
    async with speaking(tmp_path) as w:
        answer = await post(w, "/graphql?query=%7Bviewer%7D", document(MUTATION), JSON, method="GET")
        await refused(w, answer, Code.AMBIGUOUS_INPUT)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(("Content-Type: application/graphql",), id="C18-graphql"),
        pytest.param(("Content-Type: application/graphql; charset=utf-8",), id="C18-graphql-charset"),
    ],
)
async def test_the_text_alone_is_read_like_any(tmp_path, headers):
    async with speaking(tmp_path) as w:
        await refused(w, await ask(w, MUTATION.encode(), *headers), Code.DEFAULT_DENY)


KINDS = [
    (
        "Content-Type: multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="operations"\r\n\r\n{}',
    ),
    (FORM, b"query=%7Bviewer%7D"),
    ("Content-Type: text/plain", document("{ viewer { login } }")),
    ("Content-Type: application/json; charset=utf-16", document("{ viewer { login } }")),
    ("Content-Type: application/graphql-response+json", document("{ viewer { login } }")),
    ("Content-Encoding: gzip\r\nContent-Type: application/json", document("{ viewer { login } }")),
    ("X-None: 1", document("{ viewer { login } }")),
]


async def test_c18_other_kinds_of_content_never_leave(tmp_path):
    async with speaking(tmp_path) as w:

        async def send(case):
            return await ask(w, case[1], *case[0].split("\r\n"))

        await all_refused(w, Code.CONTENT_UNSUPPORTED, KINDS, send)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_c18_other_methods_never_leave(tmp_path, method):
    async with speaking(tmp_path) as w:
        answer = await post(w, "/graphql", document("{ viewer { login } }"), JSON, method=method)
        await refused(w, answer, Code.CONTENT_UNSUPPORTED)


def persisted(digest: str, **more: object) -> dict[str, object]:
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest, **more}}}


async def test_c18_a_hash_that_is_not_that_of_the_text_never_leaves(tmp_path):
    async with speaking(tmp_path) as w:
        bodies = [
            document("{ viewer { login } }", **persisted(OTHER_HASH)),
            document(LISTED, **persisted(OTHER_HASH)),
            document(MUTATION, **persisted(HASH)),
            document(LISTED, **persisted(HASH.upper())),
            document(LISTED, id=OTHER_HASH),
            document(None, **persisted(HASH), id=OTHER_HASH),
            document(None, documentId=HASH, doc_id=OTHER_HASH),
            document(None, **persisted(HASH, query=MUTATION)),
            document(None, extensions={"persistedQuery": HASH}),
            document(None, extensions={"PersistedQuery": {"sha256Hash": OTHER_HASH}}, id=HASH),
            document(None, id=7),
        ]
        await all_refused(w, Code.AMBIGUOUS_INPUT, bodies, lambda body: ask(w, body))


async def test_c18_a_hash_that_nobody_listed_never_leaves(tmp_path):
    async with speaking(tmp_path) as w:
        bodies = [
            document(None, **persisted(OTHER_HASH)),
            document(None, id="7"),
            document("", documentId=OTHER_HASH),
        ]
        await all_refused(w, Code.PERSISTED_QUERY_UNKNOWN, bodies, lambda body: ask(w, body))


async def test_a_hash_that_is_listed_is_judged_by_its_text(tmp_path):
    async with speaking(tmp_path) as w:
        body = document(None, **persisted(HASH))
        assert (await ask(w, body)).status == 200
        assert acts(w.decisions[0]) == ["api.viewer"]
        assert w.upstream.requests[0].sha256 == sha256(body).hexdigest()


UPGRADE = [
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    *("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol: graphql-transport-ws"),
]


@pytest.mark.parametrize("query", ["", "?query=%7Bviewer%7D"])
async def test_c18_no_mutation_comes_over_a_websocket_that_was_opened_for_a_query(tmp_path, query):
    async with speaking(tmp_path) as w:
        answer = await w.call(f"/graphql{query}", headers=UPGRADE)
        await refused(w, answer, Code.CONTENT_UNSUPPORTED)


@pytest.mark.parametrize(
    "path", ["/graphql//", "/GraphQL", "/graphql;x", "/graphql.json", "//graphql", "/graphql%20"]
)
async def test_c19_a_path_that_is_nearly_the_endpoint_is_not_read_and_not_permitted(tmp_path, path):
    async with speaking(tmp_path) as w:
        record = await refused(
            w, await post(w, path, document("{ viewer { login } }"), JSON), Code.DEFAULT_DENY
        )
        assert acts(record) == ["api.http.write"]


@pytest.mark.parametrize("path", ["/x/../graphql", "/%67raphql", "/./graphql", "/graphql/"])
async def test_c19_a_path_that_becomes_the_endpoint_is_read(tmp_path, path):
    async with speaking(tmp_path) as w:
        await refused(w, await post(w, path, document(MUTATION), JSON), Code.DEFAULT_DENY)


async def test_what_is_allowed_arrives_octet_for_octet(tmp_path):
    async with speaking(tmp_path) as w:
        body = b'{ "query" : "query($n: String!) { r: repository(name: $n) { id } }", "variables": {"n":"open"} }'
        assert (await ask(w, body)).status == 200
        assert w.upstream.requests[0].sha256 == sha256(body).hexdigest()
        assert arrived(w) == ["POST /graphql"]
