"""C18: a call does what was decided, whatever other method it asks for on the side (egress.md, section 5)."""

import pytest

from proxy.errors import Code
from tests.hostile.assertions import inside, refused, say_inside
from tests.hostile.reading import FORM, JSON, all_refused, allow, arrived, post, serving
from tests.support import demo_rules
from tests.support.world import world

READ_ONLY = [demo_rules.permit("read-only")]
NOTES = {
    "notes.add": {
        "method": "POST",
        "path": "/notes",
        "group": "write",
        "facts": {"body": {"text": "string"}},
    }
}
ADD = [allow("add", "api.notes.add", when='context.facts.body.text != "secret"')]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(f"{name}: {value}", id=f"C18-{name}-{value}")
        for name, value in (
            ("X-HTTP-METHOD-OVERRIDE", "DELETE"),
            ("x-http-method-override", "get, DELETE"),
            ("X_HTTP_Method_Override", "DELETE"),
            ("x-http_method-override", "DELETE"),
            ("X_HTTP_METHOD", "PUT"),
            ("X_Method-Override", "patch"),
            ("X-Method-Override", ""),
        )
    ],
)
async def test_headers(tmp_path, header):
    async with world(tmp_path, policies=READ_ONLY) as w:
        await refused(w, await say_inside(w, inside(w, "/", header)), Code.HEADER_FORBIDDEN)


async def test_c18_of_two_headers_none_may_ask_for_another(tmp_path):
    async with world(tmp_path, policies=READ_ONLY) as w:
        twice = ["X-HTTP-Method-Override: GET", "x-http-method-override: DELETE"]
        await refused(w, await say_inside(w, inside(w, "/", *twice)), Code.HEADER_FORBIDDEN)


PARAMETERS = [
    *("_METHOD=DELETE", "_Method=DELETE", "_method[]=DELETE", "_method%5B%5D=DELETE", "_method[0]=DELETE"),
    *("+_method=DELETE", "%20_method=DELETE", "_method+=DELETE", "_method%00=DELETE", "_%6dETHOD=DELETE"),
    *("x_http_method_override=DELETE", "X-Http-Method-Override=DELETE", "X-HTTP-METHOD-OVERRIDE=DELETE"),
    *("X-HTTP-Method=DELETE", "x-method-override=DELETE", "_HttpMethod=DELETE", "a=1&_METHOD=DELETE"),
    *("_method=GET&_METHOD=DELETE", "_METHO%44=DELETE"),
]


@pytest.mark.parametrize("catalogued", [True, False])
async def test_c18_parameters_by_any_name_that_somebody_reads(tmp_path, catalogued):
    elsewhere = {"services": [demo_rules.service("other", "other.test")]}
    anywhere = ['@id("read") permit(principal, action in Action::"read", resource);']
    async with world(tmp_path, policies=anywhere, **({} if catalogued else elsewhere)) as w:

        async def send(query):
            return await w.call(f"/?{query}")

        await all_refused(w, Code.AMBIGUOUS_INPUT, PARAMETERS, send)


async def test_c18_parameters_behind_a_semicolon(tmp_path):
    async with world(
        tmp_path,
        services=[demo_rules.service("other", "other.test")],
        policies=['@id("read") permit(principal, action in Action::"read", resource);'],
    ) as w:
        queries = ["a=1;_method=DELETE", ";_METHOD=DELETE", "a;_method[]=DELETE", "a=1;X-HTTP-Method=DELETE"]

        async def send(query):
            return await w.call(f"/?{query}")

        await all_refused(w, Code.AMBIGUOUS_INPUT, queries, send)


async def test_at_a_host_of_no_service_a_semicolon_by_itself_is_harmless(tmp_path):
    async with world(
        tmp_path,
        services=[demo_rules.service("other", "other.test")],
        policies=['@id("read") permit(principal, action in Action::"read", resource);'],
    ) as w:
        assert (await w.call("/?p=x.git;a=summary")).status == 200
        assert arrived(w) == ["GET /?p=x.git;a=summary"]


BODIES = [
    *(
        (FORM, body)
        for body in (b"text=a&_method=DELETE", b"_METHOD=DELETE&text=a", b"text=a&_method[]=DELETE")
    ),
    *((FORM, body) for body in (b"text=a&%5fmethod=DELETE", b"text=a&X-HTTP-Method-Override=DELETE")),
    *(
        (FORM, body)
        for body in (b"text=a&+_method=DELETE", b"text=a&_HttpMethod=DELETE", b"_method=POST&text=a")
    ),
    *((JSON, body) for body in (b'{"text":"a","_method":"DELETE"}', b'{"text":"a","_METHOD":"DELETE"}')),
    *(
        (JSON, body)
        for body in (b'{"text":"a","\\u005fmethod":"DELETE"}', b'{"text":"a","_method[]":["DELETE"]}')
    ),
    *(
        (JSON, body)
        for body in (b'{"text":"a","X-HTTP-Method-Override":"DELETE"}', b'{"_method":null,"text":"a"}')
    ),
]


async def test_c18_members_of_content_that_rules_read(tmp_path):
    async with world(tmp_path, services=serving(NOTES), policies=ADD) as w:

        async def send(case):
            kind, body = case
            return await post(w, "/notes", body, kind)

        await all_refused(w, Code.AMBIGUOUS_INPUT, BODIES, send)


async def test_a_method_by_another_name_is_a_value_like_any(tmp_path):
    async with world(tmp_path, services=serving(NOTES), policies=ADD) as w:
        assert (await post(w, "/notes?method=DELETE", b'{"text":"a","method":"DELETE"}', JSON)).status == 200
        assert arrived(w) == ["POST /notes?method=DELETE"]


@pytest.mark.parametrize(
    "method", ["get", "Post", "DELETE\t", "PROPFIND", "TRACE", "PURGE", "GET_", "M-SEARCH"]
)
async def test_c6_methods_that_nobody_classed_are_not_relayed(tmp_path, method):
    async with world(tmp_path) as w:
        answer = await say_inside(w, inside(w, "/", method=method))
        assert answer.status in {400, 501}
        assert [record.effect for record in w.decisions] == ["deny"]
        assert w.upstream.connections == []
