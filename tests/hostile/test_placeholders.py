"""D4 to D6: a placeholder anywhere but in its place (egress.md, section 5; credentials.md, 6)."""

import gzip
from base64 import b64encode

import pytest

from proxy.credential.placeholder import mint
from proxy.errors import Code
from tests.hostile.assertions import absolute, clean, decided, failed, holds, inside, refused, say, say_inside
from tests.support import demo_rules
from tests.support.rawclient import basic
from tests.support.world import SECRET, world


def encoded(text: str) -> str:
    return "".join(f"%{octet:02X}" for octet in text.encode())


@pytest.mark.parametrize(
    ("target", "header"),
    [
        pytest.param("/?key={p}", "", id="D5-query"),
        pytest.param("/?{p}=1", "", id="D5-query-name"),
        pytest.param("/?key={e}", "", id="D5-query-encoded"),
        pytest.param("/?a=1&b=x{p}y", "", id="D5-query-inside"),
        pytest.param("/{p}", "", id="D5-path"),
        pytest.param("/a/{e}/b", "", id="D5-path-encoded"),
        pytest.param("/x/../{p}", "", id="D5-path-dots"),
        pytest.param("/", "Cookie: session={p}", id="D5-cookie"),
        pytest.param("/", "Cookie: session={e}", id="D5-cookie-encoded"),
        pytest.param("/", "X-Api-Key: {p}", id="D5-other-header"),
        pytest.param("/", "Referer: https://api.test/?key={e}", id="D5-referer"),
        pytest.param("/", "Authorization: Basic {b}", id="D5-basic-password"),
        pytest.param("/", "Authorization: Basic {u}", id="D5-basic-user"),
        pytest.param("/", "Authorization: bAsIc \t{b}", id="D5-basic-case"),
        pytest.param("/", "Authorization: {p}", id="D5-no-scheme"),
        pytest.param("/", "Authorization: Bearer {p}x", id="D5-suffix"),
        pytest.param("/", "Authorization: Bearer x{p}", id="D5-prefix"),
        pytest.param("/", "Authorization: Bearer {p}, Bearer x", id="D5-list"),
        pytest.param("/", "Authorization: Token {p}", id="D5-other-scheme"),
        pytest.param("/", "Authorization: Bearer {e}", id="D5-encoded"),
        pytest.param("/", "X-{p}: 1", id="D5-header-name"),
        pytest.param("/", "User-Agent: agent/{p}", id="D5-user-agent"),
    ],
)
async def test_a_placeholder_out_of_its_place(tmp_path, target, header):
    async with world(tmp_path) as w:
        p = w.placeholder
        forms = {"p": p, "e": encoded(p), "b": basic("x", p)[6:], "u": basic(p, "x")[6:]}
        if "{p}:" in header:
            # an underscore is legal in a field name, so this reaches the swap
            assert p.isascii()
        data = inside(w, target.format(**forms), *([header.format(**forms)] if header else []))
        record = await refused(w, await say_inside(w, data), Code.PLACEHOLDER_SURFACE)
        assert record.raw["credential"] is None


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(["Authorization: Bearer {p}", "X-Again: {p}"], id="twice"),
        pytest.param(["X-A: {p}", "X-A: {p}"], id="twice-elsewhere"),
        pytest.param(["Authorization: Bearer {p}", "X-Other: {o}"], id="two"),
        pytest.param(["Authorization: Bearer {p}{p}"], id="joined"),
    ],
)
async def test_two_placeholders_in_one_request(tmp_path, headers):
    async with world(tmp_path) as w:
        other = w.another_task().placeholders["api"]
        data = inside(w, "/", *(each.format(p=w.placeholder, o=other) for each in headers))
        await refused(w, await say_inside(w, data), Code.PLACEHOLDER_AMBIGUOUS)


async def test_a_second_authorization_beside_the_placeholder(tmp_path):
    async with world(tmp_path) as w:
        data = inside(w, "/", f"Authorization: Bearer {w.placeholder}", "Authorization: Bearer own-key")
        await refused(w, await say_inside(w, data), Code.HEADER_FORBIDDEN)


async def test_d4_an_unbound_host_that_is_allowed(tmp_path):
    anything = '@id("all") permit(principal, action, resource);'
    async with world(tmp_path, policies=[anything]) as w:
        data = absolute(w, "http://other.test/", f"Authorization: Bearer {w.placeholder}")
        await refused(w, await say(w, data), Code.PLACEHOLDER_HOST_MISMATCH)


@pytest.mark.parametrize("host", ["api.test.evil.example", "xapi.test", "api.tes"])
async def test_d4_a_host_that_looks_like_the_bound_one(tmp_path, host):
    async with world(
        tmp_path, observe=False, policies=['@id("all") permit(principal, action, resource);']
    ) as w:
        data = absolute(w, f"http://{host}/", f"Authorization: Bearer {w.placeholder}")
        await refused(w, await say(w, data), Code.PLACEHOLDER_HOST_MISMATCH)


async def test_d4_host_alone_does_not_bind(tmp_path):
    """Right host, other port: not where the credential belongs."""
    async with world(tmp_path, policies=['@id("all") permit(principal, action, resource);']) as w:
        data = absolute(w, "http://api.test/", f"Authorization: Bearer {w.placeholder}")
        await refused(w, await say(w, data), Code.PLACEHOLDER_HOST_MISMATCH)


async def test_d6_a_guessed_placeholder(tmp_path):
    async with world(tmp_path) as w:
        guess = mint(bytes(range(24)))
        data = inside(w, "/", f"Authorization: Bearer {guess}")
        await refused(w, await say_inside(w, data), Code.PLACEHOLDER_UNKNOWN)
        assert guess not in str([each.raw for each in w.records])


@pytest.mark.parametrize("ended", [False, True])
async def test_d6_another_tasks_placeholder(tmp_path, ended):
    """The attempt is attributed to the task that made it, not to the one it was taken from."""
    async with world(tmp_path) as w:
        other = w.another_task()
        await w.sidecar.book.refresh()
        if ended:
            await w.sidecar.book.end(other.task.id, "over")
        data = inside(w, "/", f"Authorization: Bearer {other.placeholders['api']}")
        record = await refused(w, await say_inside(w, data), Code.PLACEHOLDER_TASK_MISMATCH)
        assert record.task == w.started.task.id
        assert other.placeholders["api"] not in str(record.raw)


async def test_d6_another_agents_placeholder(tmp_path):
    agents = [demo_rules.agent("tester"), demo_rules.agent("other")]
    async with world(tmp_path, agents=agents) as w:
        other = w.another_task(agent="other")
        await w.sidecar.book.refresh()
        data = inside(w, "/", f"Authorization: Bearer {other.placeholders['api']}")
        record = await refused(w, await say_inside(w, data), Code.PLACEHOLDER_TASK_MISMATCH)
        assert record.agent == "tester"


# -- bodies --


def multipart(p: str) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="token"\r\n\r\n{p}\r\n--b--\r\n'.encode()


BODIES = [
    pytest.param(lambda p: p.encode(), id="D5-body"),
    pytest.param(lambda p: f'{{"token":"{p}"}}'.encode(), id="D5-json"),
    pytest.param(lambda p: f"a=1&token={p}&b=2".encode(), id="D5-form"),
    pytest.param(multipart, id="D5-multipart"),
    pytest.param(lambda p: b"x" * 70_000 + p.encode(), id="D5-late"),
    pytest.param(lambda p: b"gp_" + p.encode(), id="D5-after-a-false-start"),
    pytest.param(lambda p: (p[:40] + p).encode(), id="D5-after-most-of-one"),
]


def sized(w, body: bytes, *headers: str) -> bytes:
    return inside(w, "/", f"Content-Length: {len(body)}", *headers, method="POST")


def chunks(data: bytes, size: int) -> bytes:
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("make", BODIES)
async def test_a_placeholder_in_a_body_that_comes_with_its_head(tmp_path, make):
    async with world(tmp_path) as w, w.tunnel() as client:
        body = make(w.placeholder)
        await client.send(sized(w, body) + body)
        answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (403, Code.PLACEHOLDER_SURFACE)
        await w.settled()
        assert len(w.decisions) == 1
        clean(w, answer.body)
        assert w.placeholder.encode() not in w.upstream.received
        assert await client.at_end()


@pytest.mark.parametrize("make", BODIES)
async def test_a_placeholder_in_a_body_that_comes_later(tmp_path, make):
    """The call is allowed on its head; the body ends it before the placeholder begins to leave."""
    async with world(tmp_path) as w, w.tunnel() as client:
        body = make(w.placeholder)
        await client.send(sized(w, body, f"Authorization: Bearer {w.placeholder}"))
        await decided(w)
        await client.send(body)
        await failed(w, await client.read_response(), Code.PLACEHOLDER_SURFACE)
        assert w.placeholder.encode() not in w.upstream.received
        assert not w.upstream.received.endswith(w.placeholder[:3].encode())


@pytest.mark.parametrize("size", [1, 2, 3, 13, 40])
@pytest.mark.parametrize("later", [False, True])
async def test_d5_split_over_chunks(tmp_path, size, later):
    async with world(tmp_path) as w, w.tunnel() as client:
        head = inside(w, "/", "Transfer-Encoding: chunked", method="POST")
        body = chunks(b'{"token":"' + w.placeholder.encode() + b'"}', size)
        if later:
            await client.send(head)
            await decided(w)
            await client.send(body)
        else:
            await client.send(head + body)
        answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (403, Code.PLACEHOLDER_SURFACE)
        await w.settled()
        assert len(w.decisions) == 1
        clean(w, answer.body)
        assert b"gp_" not in w.upstream.received


async def test_d5_split_over_tls_records(tmp_path):
    async with world(tmp_path) as w, w.tunnel() as client:
        body = b'{"token":"' + w.placeholder.encode() + b'"}'
        await client.send(sized(w, body))
        await decided(w)
        for octet in body:
            await client.send(bytes([octet]))
        await failed(w, await client.read_response(), Code.PLACEHOLDER_SURFACE)
        assert b"gp_" not in w.upstream.received


@pytest.mark.parametrize("trailer", ["X-Token: {p}", "X-{p}: 1"])
async def test_d5_in_a_trailer(tmp_path, trailer):
    async with world(tmp_path) as w, w.tunnel() as client:
        line = trailer.format(p=w.placeholder).encode()
        head = inside(w, "/", "Transfer-Encoding: chunked", method="POST")
        await client.send(head + b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n")
        answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (403, Code.PLACEHOLDER_SURFACE)
        await w.settled()
        assert len(w.decisions) == 1
        assert w.placeholder.encode() not in w.upstream.received


async def test_d5_the_next_requests_placeholder_is_not_in_this_ones_body(tmp_path):
    async with world(tmp_path) as w, w.tunnel() as client:
        bearer = f"Authorization: Bearer {w.placeholder}"
        await client.send(
            inside(w, "/1", bearer) + sized(w, b"hello", bearer) + b"hello" + inside(w, "/3", bearer)
        )
        assert [(await client.read_response()).status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(lambda p: gzip.compress(p.encode()), ["Content-Encoding: gzip"], id="D5-gzip"),
        pytest.param(lambda p: b64encode(p.encode()), [], id="D5-base64"),
    ],
)
async def test_d5_a_disguise_buys_nothing(tmp_path, body, headers):
    """What only its sender can read passes, as any other octets would: it is never turned into the credential."""
    async with world(tmp_path) as w, w.tunnel() as client:
        data = body(w.placeholder)
        await client.send(sized(w, data, *headers) + data)
        assert (await client.read_response()).status == 200
        assert not holds(w.upstream.received, SECRET)
        await w.settled()
        clean(w)


async def test_the_placeholder_in_its_place_and_nothing_else(tmp_path):
    async with world(tmp_path) as w:
        answer = await say_inside(
            w, inside(w, "/", f"authorization: bearer {w.placeholder}", "X-Gp: gp_not_one")
        )
        told = dict(answer.json()["headers"])
        assert told == {"Host": w.authority, "authorization": f"Bearer {SECRET}", "X-Gp": "gp_not_one"}
        await w.settled()
        clean(w)
        assert w.decisions[0].raw["credential"]["surface"] == "header authorization"
