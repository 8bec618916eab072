"""C20: what rules read of a query stands there once and means the same to everybody (egress.md, section 5)."""

import pytest

from proxy.errors import Code
from tests.hostile.assertions import refused
from tests.hostile.reading import acts, all_refused, allow, arrived, serving
from tests.support.world import world

OPERATIONS = {
    "list": {
        "method": "GET",
        "path": "/issues",
        "group": "read",
        "facts": {"query": {"state?": "string", "page?": "long", "labels?": ["string"], "all?": "bool"}},
    },
    "acl": {"method": "GET", "path": "/b/{key*}", "group": "admin", "when": {"query": {"acl": None}}},
    "tagging": {"method": "GET", "path": "/b/{key*}", "group": "read", "when": {"query": {"tagging": None}}},
    "get": {"method": "GET", "path": "/b/{key*}", "group": "read"},
}
RULES = [
    allow(
        "open",
        "api.list",
        when='if context.facts.query has state then context.facts.query.state == "open" else true',
    ),
    allow("objects", "api.get", "api.tagging"),
]


def reading(tmp_path):
    return world(tmp_path, services=serving(OPERATIONS), policies=RULES)


DOUBTFUL = [
    *("state=open&state=all", "state=all&state=open", "state=open&State=all", "state=open&STATE=all"),
    *(
        "state=open&state[]=all",
        "state[]=all",
        "state%5B%5D=all",
        "state[0]=all",
        "state[$ne]=open",
        "s%74ate[]=all",
    ),
    *(
        "state=open&st%61te=all",
        "%73tate=open&state=all",
        "+state=all",
        "%20state=all",
        "state+=all",
        "state%00=all",
    ),
    *("state=open;state=all", "x=1;state=all", "state=open;", ";state=all", "state=open;x", "a;b"),
    *(
        "page=1&page=2",
        "page=1.0",
        "page=0x1",
        "page=1e3",
        "page=+1",
        "page=%2B1",
        "page=01",
        "page=",
        "page",
    ),
    *("page=9007199254740992", "all=1", "all=TRUE", "all", "all=yes", "page=%D9%A1", "Page=1", "labels[]=a"),
]


async def test_c20_names_twice_or_by_another_spelling_never_leave(tmp_path):
    async with reading(tmp_path) as w:

        async def send(query):
            return await w.call(f"/issues?{query}")

        await all_refused(w, Code.AMBIGUOUS_INPUT, DOUBTFUL, send)


BROKEN = ["state=%", "state=%zz", "state=%ff", "state=%C0%AE", "st%ffate=all", "%ED%A0%80=1", "a=%c3;%a9"]


async def test_c20_what_does_not_decode_never_leaves(tmp_path):
    async with reading(tmp_path) as w:

        async def send(query):
            return await w.call(f"/issues?{query}")

        await all_refused(w, Code.TARGET_MALFORMED, BROKEN, send)


@pytest.mark.parametrize(
    ("query", "facts"),
    [
        pytest.param("state=open", {"state": "open"}, id="C20-plain"),
        pytest.param("%73%74ate=%6fpen", {"state": "open"}, id="C20-encoded"),
        pytest.param("&&state=open&", {"state": "open"}, id="C20-empty-pairs"),
        pytest.param("state=open&x=1&x=2&y[]=3", {"state": "open"}, id="C20-others-twice"),
        pytest.param("labels=a&labels=b", {"labels": ["a", "b"]}, id="C20-list"),
        pytest.param("%2573tate=all", {}, id="C20-encoded-twice"),
        pytest.param("?state=all", {}, id="C20-question-mark-in-a-name"),
        pytest.param("x=state=all", {}, id="C20-equals"),
        pytest.param("x=%26state=all", {}, id="C20-encoded-ampersand"),
        pytest.param("x=%3Bstate=all", {}, id="C20-encoded-semicolon"),
        pytest.param("x=1%23&state=open", {"state": "open"}, id="C20-encoded-fragment"),
    ],
)
async def test_what_is_decided_is_what_is_sent(tmp_path, query, facts):
    async with reading(tmp_path) as w:
        assert (await w.call(f"/issues?{query}")).status == 200
        assert w.decisions[0].raw["why"]["input"]["context"]["facts"] == {"query": facts}
        assert arrived(w) == [f"GET /issues?{query}"]


@pytest.mark.parametrize(
    "query", ["state=all", "state=%61ll", "state=open%00", "state=Open", "state=open+", "state="]
)
async def test_c20_another_value_is_another_value(tmp_path, query):
    async with reading(tmp_path) as w:
        await refused(w, await w.call(f"/issues?{query}"), Code.DEFAULT_DENY)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        pytest.param("acl", Code.DEFAULT_DENY, id="C18-present"),
        pytest.param("acl=", Code.DEFAULT_DENY, id="C18-empty"),
        pytest.param("%61cl", Code.DEFAULT_DENY, id="C18-encoded"),
        pytest.param("x&acl=1", Code.DEFAULT_DENY, id="C18-second"),
        pytest.param("acl&acl", Code.AMBIGUOUS_INPUT, id="C20-twice"),
        pytest.param("ACL", Code.AMBIGUOUS_INPUT, id="C20-case"),
        pytest.param("acl[]", Code.AMBIGUOUS_INPUT, id="C20-list"),
        pytest.param("tagging&acl", Code.AMBIGUOUS_INPUT, id="C20-rivals"),
        pytest.param("tagging;acl", Code.AMBIGUOUS_INPUT, id="C20-semicolon"),
        pytest.param("tagging&Acl", Code.AMBIGUOUS_INPUT, id="C20-rival-by-case"),
    ],
)
async def test_a_query_that_names_a_stricter_operation_does_not_slip_past_it(tmp_path, query, code):
    async with reading(tmp_path) as w:
        await refused(w, await w.call(f"/b/key?{query}"), code)


@pytest.mark.parametrize("query", ["", "x=acl", "x%3Facl", "acl%3D", "a%26acl"])
async def test_c18_what_names_none_is_the_plain_one(tmp_path, query):
    async with reading(tmp_path) as w:
        assert (await w.call(f"/b/key?{query}")).status == 200
        assert acts(w.decisions[0]) == ["api.get"]
        assert arrived(w) == [f"GET /b/key?{query}"]
