"""C9, C10, C16, C18, C19, A22: headers, paths and sizes (egress.md, section 5)."""

import pytest

from proxy.errors import Code
from tests.hostile.assertions import (
    absolute,
    inside,
    refused,
    say,
    say_inside,
)
from tests.support import demo_rules
from tests.support.world import world

CLAIMS = [
    "Via: 1.1 agent",
    "Forwarded: for=127.0.0.1",
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-Host: admin.internal",
    "X-Forwarded-Proto: https",
    "X-Real-IP: 127.0.0.1",
    "X-Original-URL: /admin",
    "X-Rewrite-URL: /admin",
    "X-Upstream-Https-Proxy: http://evil.example:8080",
    "Proxy-Foo: bar",
    "Proxy-Authenticate: Basic",
    "Txn-Token: eyJ.e30.x",
    "Workload-Identity-Token: eyJ.e30.x",
    "Workload-Proof-Token: eyJ.e30.x",
    "Workload-Anything: x",
    "DPoP: eyJ.e30.x",
    "Signature-Input: sig1=()",
    "Signature: sig1=:YQ==:",
    "Alt-Used: evil.example",
]


@pytest.mark.parametrize(
    "claim", [pytest.param(claim, id=f"C10-{claim.partition(':')[0]}") for claim in CLAIMS]
)
async def test_claims_of_the_agent_are_stripped_and_recorded(tmp_path, claim):
    """A22 and C10: only gatepass may say who asks, from where and by which way."""
    name = claim.partition(":")[0].lower()
    async with world(tmp_path) as w:
        answer = await say_inside(w, inside(w, "/", claim, "X-Kept: yes"))
        arrived = {each.lower() for each, _ in answer.json()["headers"]}
        assert arrived == {"host", "x-kept"}
        assert w.decisions[0].raw["what"]["headers_stripped"] == [name]
        assert len(w.decisions) == 1


async def test_a22_every_copy_is_stripped(tmp_path):
    async with world(tmp_path) as w:
        copies = ["x-forwarded-host: a", "X-FORWARDED-HOST: b", "X-Forwarded-host: c"]
        answer = await say_inside(w, inside(w, "/", *copies))
        assert [name for name, _ in answer.json()["headers"]] == ["Host"]


@pytest.mark.parametrize(
    "option",
    [
        "authorization",
        "Authorization",
        "x-agent-id",
        "host",
        "content-length",
        "transfer-encoding",
        "cookie",
        "proxy-authorization",
        "via",
        "x-forwarded-for",
        "dpop",
        "signature",
        "workload-proof-token",
        "traceparent",
    ],
)
async def test_c9_connection_removes_nothing_that_was_decided_on(tmp_path, option):
    async with world(tmp_path) as w:
        data = inside(w, "/", f"Connection: close, {option}", f"Authorization: Bearer {w.placeholder}")
        await refused(w, await say_inside(w, data), Code.HEADER_FORBIDDEN)


async def test_c9_outside_of_tunnels(tmp_path):
    async with world(tmp_path) as w:
        data = absolute(w, f"http://{w.authority}/", "Connection: Proxy-Authorization")
        await refused(w, await say(w, data), Code.HEADER_FORBIDDEN)


@pytest.mark.parametrize("value", ["close, x y", "@", "a;b", '"close"'])
async def test_c9_connection_is_a_list_of_tokens(tmp_path, value):
    async with world(tmp_path) as w:
        await refused(w, await say_inside(w, inside(w, "/", f"Connection: {value}")), Code.MALFORMED)


async def test_c9_other_options_are_removed_and_recorded(tmp_path):
    async with world(tmp_path) as w:
        answer = await say_inside(w, inside(w, "/", "Connection: x-private", "X-Private: 1"))
        assert [name for name, _ in answer.json()["headers"]] == ["Host"]
        assert w.decisions[0].raw["what"]["headers_stripped"] == ["x-private"]


@pytest.mark.parametrize("name", ["Authorization", "Content-Type", "Expect"])
async def test_headers_that_steer_are_there_once(tmp_path, name):
    async with world(tmp_path) as w:
        value = "100-continue" if name == "Expect" else "a/b"
        data = inside(w, "/", f"{name}: {value}", f"{name.lower()}: {value}")
        await refused(w, await say_inside(w, data), Code.HEADER_FORBIDDEN)


@pytest.mark.parametrize(
    "name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-override"]
)
async def test_c18_override_headers(tmp_path, name):
    async with world(tmp_path, policies=[demo_rules.permit("read-only")]) as w:
        await refused(w, await say_inside(w, inside(w, "/", f"{name}: DELETE")), Code.HEADER_FORBIDDEN)


@pytest.mark.parametrize(
    "query", ["_method=DELETE", "%5Fmethod=DELETE", "a=1&_method=delete", "X-HTTP-Method-Override=PUT"]
)
async def test_c18_override_parameters(tmp_path, query):
    async with world(tmp_path, policies=[demo_rules.permit("read-only")]) as w:
        record = await refused(w, await say_inside(w, inside(w, f"/?{query}")), Code.POLICY_DENY)
        assert record.rule == "gatepass.method_override"


async def test_c18_an_override_that_changes_nothing_passes(tmp_path):
    async with world(tmp_path) as w:
        assert (await say_inside(w, inside(w, "/", "X-HTTP-Method-Override: get"))).status == 200


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        pytest.param("/a/../admin", "/admin", id="C19-dots"),
        pytest.param("/a/%2e%2e/admin", "/admin", id="C19-encoded-dots"),
        pytest.param("/a/.%2E/admin", "/admin", id="C19-half-encoded-dots"),
        pytest.param("/../../admin", "/admin", id="C19-above-the-root"),
        pytest.param("/./admin/.", "/admin/", id="C19-dot"),
        pytest.param("/%61dmin", "/admin", id="C19-unreserved"),
        pytest.param("/%2561dmin", "/%2561dmin", id="C19-twice"),
        pytest.param("/a/%252e%252e/admin", "/a/%252e%252e/admin", id="C19-dots-twice"),
        pytest.param("//admin", "//admin", id="C19-empty-segment"),
        pytest.param("/a//../admin", "/a/admin", id="C19-empty-segment-dots"),
        pytest.param("/admin;jsessionid=1", "/admin;jsessionid=1", id="C19-parameter"),
        pytest.param("/ADMIN", "/ADMIN", id="C19-case"),
        pytest.param("/admin.json", "/admin.json", id="C19-suffix"),
        pytest.param("/.admin", "/.admin", id="C19-dot-name"),
        pytest.param("/...", "/...", id="C19-three-dots"),
        pytest.param("/a?../admin", "/a", id="C19-dots-in-query"),
        pytest.param("/caf%c3%a9", "/caf%C3%A9", id="C19-utf8"),
    ],
)
@pytest.mark.parametrize("form", ["origin", "absolute"])
async def test_the_path_that_is_decided_is_the_path_that_is_sent(tmp_path, sent, path, form):
    reads_paths = '@id("n") forbid(principal, action, resource) when { context.request.path like "/never*" };'
    async with world(tmp_path, policies=[demo_rules.permit("all"), reads_paths]) as w:
        target = sent if form == "origin" else f"https://{w.authority}{sent}"
        answer = await say_inside(w, inside(w, target))
        assert answer.status == 200
        decision = w.decisions[0]
        assert decision.path == path
        assert decision.raw["why"]["input"]["context"]["request"]["path"] == path
        assert w.upstream.requests[0].path == path


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param("/a%2fb", id="C19-encoded-slash"),
        pytest.param("/a%2F..%2Fadmin", id="C19-encoded-slash-dots"),
        pytest.param("/a/..;/admin", id="C19-dots-with-parameter"),
        pytest.param("/a/%2e%2e;x=1/admin", id="C19-encoded-dots-with-parameter"),
        pytest.param("/a/.;/admin", id="C19-dot-with-parameter"),
        pytest.param("/a%5c..%5cadmin", id="C19-encoded-backslash"),
        pytest.param("/a%00.json", id="C19-nul"),
        pytest.param("/a%0d%0aX:y", id="C19-crlf"),
        pytest.param("/%c0%ae%c0%ae/admin", id="C19-overlong"),
        pytest.param("/%e0%80%ae/admin", id="C19-overlong-3"),
        pytest.param("/%ed%a0%80", id="C19-surrogate"),
        pytest.param("/%ff", id="C19-no-utf8"),
        pytest.param("/%", id="C19-lone-percent"),
        pytest.param("/%zz", id="C19-no-hex"),
        pytest.param("/%u002e", id="C19-iis"),
        pytest.param("/?a=%", id="C20-query-percent"),
        pytest.param("/?a=%ff", id="C20-query-no-utf8"),
    ],
)
async def test_a_path_that_servers_read_in_two_ways_is_refused(tmp_path, sent):
    async with world(tmp_path) as w:
        await refused(w, await say_inside(w, inside(w, sent)), Code.TARGET_MALFORMED)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param([f"X: {'a' * 1_000_000}"], Code.HEAD_TOO_LARGE, id="C16-one-large"),
        pytest.param([f"X: {'a' * 40_000}"], Code.HEAD_TOO_LARGE, id="C16-one-line"),
        pytest.param([f"X{number}: a" for number in range(201)], Code.HEAD_TOO_LARGE, id="C16-many"),
        pytest.param([f"X{number}: a" for number in range(100_000)], Code.HEAD_TOO_LARGE, id="C16-very-many"),
    ],
)
async def test_c16_large_heads(tmp_path, headers, code):
    async with world(tmp_path) as w:
        await refused(w, await say_inside(w, inside(w, "/", *headers)), code)


async def test_c16_a_head_without_an_end(tmp_path):
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000)
        await refused(w, await client.read_response(), Code.HEAD_TOO_LARGE)


async def test_c16_a_long_target(tmp_path):
    async with world(tmp_path) as w:
        await refused(w, await say_inside(w, inside(w, "/" + "a" * 17_000)), Code.TARGET_TOO_LONG)


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\nHost:", b"GET / HTTP/1.1\r\nHost: api.test\r\n"])
async def test_c16_a_head_that_does_not_come(tmp_path, start):
    async with world(tmp_path, limits={"head_timeout": 0.3}) as w, w.tunnel() as client:
        await client.send(start)
        await refused(w, await client.read_response(), Code.HEAD_TIMEOUT)
        assert await client.at_end()


async def test_c16_silence_between_requests_is_no_attack(tmp_path):
    async with world(tmp_path, limits={"idle_timeout": 0.3}) as w, w.tunnel() as client:
        assert await client.at_end()
        assert w.decisions == []


async def test_c16_slow_octets_do_not_buy_time(tmp_path):
    """The deadline is the head's, not the last octet's."""
    async with world(tmp_path, limits={"head_timeout": 0.3}) as w, await w.client() as client:
        try:
            for _ in range(10_000):
                await client.send(b"G")
                if w.decisions:
                    break
        except ConnectionError:
            pass
        await dropped_or_told(w, client)


async def dropped_or_told(w, client):
    answer = await client.read_response()
    await refused(w, answer, Code.HEAD_TIMEOUT)


async def test_c16_more_tunnels_than_one_agent_may_have(tmp_path):
    async with world(tmp_path, limits={"connections_per_agent": 2}) as w:
        async with w.tunnel(), w.tunnel(), await w.client() as client:
            answer = await client.open_tunnel(w.authority, w.authorization)
            assert (answer.status, answer.json()["code"]) == (429, Code.TUNNELS_EXCEEDED)
            assert answer.get("retry-after") == "1"
            assert [each.code for each in w.decisions] == [Code.TUNNELS_EXCEEDED]
        assert w.upstream.connections == []
