"""The body of a request on its way up: framed, scanned, and cut on any fault of the agent's."""

import asyncio
import hashlib
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.lines import ends, line, plain_world
from tests.support.call import Call


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        (["Transfer-Encoding: chunked"], b"5\r\nabcde\r\nzz\r\n", 400, "malformed"),
        (["Transfer-Encoding: chunked"], b"5\r\nabcdeX\r\n", 400, "malformed"),
        (["Transfer-Encoding: chunked"], b"0\r\nbad trailer\r\n\r\n", 400, "malformed"),
    ],
)
async def test_a_body_that_breaks_its_framing(tmp_path, headers, body, status, code):
    async with plain_world(tmp_path) as w, line(w) as one:
        await one.client.send(one.head("/x", *headers, method="POST"))
        await w.upstream.until(lambda: bool(w.upstream.requests))
        await one.client.send(body)
        answer = await one.client.read_response()
        assert (answer.status, answer.json()["code"]) == (status, code)
        assert await one.client.at_end()
        await w.settled()
        assert ends(w) == [("refused", code, status)]
        assert not w.upstream.requests[0].complete


async def test_a_body_that_ends_early(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        await one.client.send(one.head("/x", "Content-Length: 10", method="POST") + b"abc")
        one.client.half_close()
        assert (await one.client.read_response()).json()["code"] == "malformed"
        await w.settled()
        assert ends(w) == [("refused", "malformed", 400)]
        assert not w.upstream.requests[0].complete


async def test_a_body_that_stops_arriving(tmp_path):
    async with plain_world(tmp_path, limits={"body_timeout": 0.3}) as w, line(w) as one:
        await one.client.send(one.head("/x", "Content-Length: 10", method="POST") + b"abc")
        answer = await one.client.read_response()
        assert (answer.status, answer.json()["code"]) == (408, "body_timeout")
        await w.settled()
        assert ends(w) == [("refused", "body_timeout", 408)]
        assert not w.upstream.requests[0].complete


@pytest.mark.parametrize("split", [1, 20, 40])
async def test_a_placeholder_in_a_streamed_body_never_leaves(tmp_path, split):
    async with plain_world(tmp_path) as w, line(w) as one:
        text = w.placeholder.encode()
        await one.client.send(one.head("/x", "Content-Length: 1000", method="POST") + b"x" * 100)
        await w.upstream.until(lambda: b"x" * 100 in w.upstream.received)
        await one.client.send(text[:split])
        await one.client.send(text[split:] + b"y" * 100)
        answer = await one.client.read_response()
        assert (answer.status, answer.json()["code"]) == (403, "placeholder_surface")
        await w.settled()
        assert ends(w) == [("refused", "placeholder_surface", 403)]
        assert text not in w.upstream.received
        assert b"y" not in w.upstream.received


async def test_a_placeholder_in_a_trailer_never_leaves(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        await one.client.send(one.head("/x", "Transfer-Encoding: chunked", method="POST") + b"1\r\nx\r\n")
        await w.upstream.until(lambda: b"x\r\n" in w.upstream.received)
        await one.client.send(f"0\r\nX-T: {w.placeholder}\r\n\r\n".encode())
        assert (await one.client.read_response()).json()["code"] == "placeholder_surface"
        assert w.placeholder.encode() not in w.upstream.received


async def test_a_placeholder_after_an_early_answer_is_still_on_record(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        found = asyncio.Event()

        async def answers(call: Call) -> None:
            await call.send(b"HTTP/1.1 200 K\r\nContent-Length: 6\r\n\r\nabc")
            await call.release.wait()
            call.close = True
            found.set()

        w.upstream.on("/x", answers)
        await one.client.send(one.head("/x", "Content-Length: 1000", method="POST") + b"x")
        await one.client.read_head()
        await one.client.send(w.placeholder.encode())
        assert await one.client.read_exactly(3) == b"abc"
        await w.settled()
        assert ends(w) == [("refused", "placeholder_surface", 200)]
        assert w.placeholder.encode() not in w.upstream.received
        w.upstream.release.set()
        await found.wait()


@st.composite
def uploads(draw):
    """A few requests and the places where the octets of all of them are torn apart."""
    bodies = draw(st.lists(st.binary(max_size=300), min_size=1, max_size=4))
    framings = [draw(st.sampled_from(["length", "chunked"])) for _ in bodies]
    sizes = [draw(st.integers(1, 100)) for _ in bodies]
    return list(zip(bodies, framings, sizes, strict=True)), draw(st.lists(st.integers(0, 3000), max_size=6))


def written(one, number, body, framing, size):
    if framing == "length":
        return one.head(f"/{number}", f"Content-Length: {len(body)}", method="PUT") + body
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(body[at : at + size]), body[at : at + size])
        for at in range(0, len(body), size)
    )
    return one.head(f"/{number}", "Transfer-Encoding: chunked", method="PUT") + chunks + b"0\r\n\r\n"


async def test_pipelined_bodies_arrive_unchanged_and_in_order(tmp_path):
    loop = asyncio.get_running_loop()

    async with plain_world(tmp_path) as w:

        async def scene(requests, cuts):
            async with line(w) as one:
                octets = b"".join(written(one, n, *request) for n, request in enumerate(requests))
                places = [0, *sorted(cut for cut in cuts if cut < len(octets)), len(octets)]
                for start, end in itertools.pairwise(places):
                    await one.client.send(octets[start:end])
                    await asyncio.sleep(0)
                for number, (body, framing, _) in enumerate(requests):
                    told = (await one.client.read_response()).json()
                    assert told["target"] == f"/{number}"
                    assert (told["length"], told["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
                    assert any(name == "Transfer-Encoding" for name, _ in told["headers"]) == (
                        framing == "chunked"
                    )

        @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(uploads())
        def check(drawn):
            asyncio.run_coroutine_threadsafe(scene(*drawn), loop).result(60)

        await asyncio.to_thread(check)
        await w.settled()
        assert set(ends(w)) == {("complete", "", 200)}
