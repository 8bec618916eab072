"""A second pair of eyes: attacks that combine what the numbered cases try one at a time."""

import pytest

from proxy.errors import Code
from tests.hostile.assertions import absolute, connect, inside, refused, refused_connect, say, say_inside
from tests.hostile.hello import TLS13, handshake, records, sni
from tests.support import demo_rules
from tests.support.forbidden import Forbidden
from tests.support.rawclient import basic
from tests.support.upstream import Upstream
from tests.support.websocket import CLOSE, TEXT, Frame, read_frame
from tests.support.world import world

UPGRADE = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]
NO_ADMIN = '@id("no-admin") forbid(principal, action, resource) when { context.request.path like "/admin*" };'
ALL = demo_rules.permit("all", actions=("read", "write", "delete"))


async def test_frames_before_the_switch_are_requests_if_there_is_no_switch(tmp_path):
    """The API answers 200 instead of 101: what was sent ahead as frames is decided as what it is."""
    async with world(tmp_path, policies=[ALL, NO_ADMIN]) as w, w.tunnel() as client:
        await client.send(inside(w, "/no-socket", *UPGRADE) + inside(w, "/admin", method="DELETE"))
        assert (await client.read_response()).status == 200
        second = await client.read_response()
        assert (second.status, second.json()["rule"]) == (403, "no-admin")
        assert [each.target for each in w.upstream.requests] == ["/no-socket"]


async def test_frames_before_the_switch_wait_for_it(tmp_path):
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(inside(w, "/websocket", *UPGRADE) + Frame(TEXT, b"early").encode(b"mask"))
        assert (await client.read_head()).start[1] == b"101"
        frame = await read_frame(client.reader)
        assert frame is not None
        assert frame.payload == b"early"
        await client.send(Frame(CLOSE, b"").encode(b"mask"))
        await read_frame(client.reader)


async def test_a_request_in_a_websocket_is_no_request(tmp_path):
    """After the switch the octets are the two sides' own: a smuggled request is a broken frame, to the same API."""
    async with world(tmp_path, policies=[ALL, NO_ADMIN]) as w, w.tunnel() as client:
        await client.send(inside(w, "/websocket", *UPGRADE))
        assert (await client.read_head()).start[1] == b"101"
        await client.send(inside(w, "/admin"))
        client.abort()
        await w.settled()
        assert len(w.decisions) == 1
        assert [each.path for each in w.upstream.requests] == ["/websocket"]


async def test_an_open_websocket_ends_with_its_task(tmp_path):
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(inside(w, "/websocket", *UPGRADE))
        assert (await client.read_head()).start[1] == b"101"
        await w.sidecar.book.end(w.started.task.id, "over")
        assert await client.at_end()
        await w.settled()
        assert [(each.result, each.code) for each in w.outcomes] == [("cut", Code.TASK_ENDED)]
        await w.upstream.until(w.upstream.connections[0].closed.is_set)


async def test_a_switch_to_a_denied_path_by_dots(tmp_path):
    async with world(tmp_path, policies=[ALL, NO_ADMIN]) as w:
        answer = await say_inside(w, inside(w, "/x/%2e%2e/admin/socket", *UPGRADE))
        record = await refused(w, answer, Code.POLICY_DENY)
        assert record.path == "/admin/socket"


async def test_a_get_with_a_body_is_one_request(tmp_path):
    async with world(tmp_path) as w, w.tunnel() as client:
        hidden = inside(w, "/hidden")
        await client.send(inside(w, "/open", f"Content-Length: {len(hidden)}") + hidden)
        answer = await client.read_response()
        assert (answer.json()["target"], answer.json()["length"]) == ("/open", len(hidden))
        assert [each.target for each in w.upstream.requests] == ["/open"]
        assert len(w.decisions) == 1


async def test_a_refused_head_request_has_no_body_that_could_answer_the_next(tmp_path):
    async with world(tmp_path, policies=[ALL, NO_ADMIN]) as w, w.tunnel() as client:
        await client.send(inside(w, "/admin", method="HEAD") + inside(w, "/next"))
        first = await client.read_response(to_head=True)
        assert (first.status, first.body) == (403, b"")
        assert (await client.read_response()).json()["target"] == "/next"


async def test_a_refused_connect_does_not_become_a_tunnel(tmp_path):
    """A client that goes on as if it had been let in speaks TLS to the proxy, and is told that it is none."""
    async with world(tmp_path) as w, await w.client() as client:
        await client.send(connect(w, "169.254.169.254:443"))
        assert f"code={Code.DEST_METADATA}" in (await client.read_response()).reason
        await client.send(records(handshake(sni(b"api.test"), versions=(TLS13,))) + b"\r\n\r\n")
        assert (await client.read_response()).json()["code"] == Code.MALFORMED
        assert await client.at_end()
        assert [each.code for each in w.decisions] == [Code.DEST_METADATA, Code.MALFORMED]
        assert w.upstream.connections == []


async def test_many_refused_connects_and_one_good_on_the_same_connection(tmp_path):
    async with world(tmp_path) as w, await w.client() as client:
        for host in ("127.0.0.1:22", "[::1]:443", "metadata.google.internal:80", "10.0.0.1:443"):
            await client.send(connect(w, host))
            assert (await client.read_response()).status == 403
        await client.send(connect(w, w.authority))
        assert (await client.read_head()).start[1] == b"200"
        await client.start_tls("api.test", cafile=w.keyring.ca_path)
        await client.send(inside(w, "/"))
        assert (await client.read_response()).status == 200
        assert len(w.decisions) == 5


async def test_connect_after_a_plain_request_has_its_own_identity(tmp_path):
    agents = [demo_rules.agent("tester"), demo_rules.agent("other")]
    async with world(tmp_path, agents=agents) as w, await w.client() as client:
        other = w.another_task(agent="other")
        await client.send(absolute(w, "http://x.test/"))
        assert (await client.read_response()).status == 403
        answer = await client.open_tunnel(w.authority, basic("task", other.token))
        assert answer.status == 200
        await client.start_tls("api.test", cafile=w.keyring.ca_path)
        await client.send(inside(w, "/"))
        assert (await client.read_response()).json()["code"] == Code.DEFAULT_DENY
        assert [each.agent for each in w.decisions] == ["tester", "other"]
        assert w.upstream.connections == []


async def test_ending_one_task_leaves_the_other_on_the_same_agent(tmp_path):
    async with world(tmp_path) as w:
        other = w.another_task()
        async with w.tunnel() as mine, w.tunnel(other) as theirs:
            await w.sidecar.book.end(w.started.task.id, "over")
            assert await mine.at_end()
            await theirs.send(inside(w, "/"))
            assert (await theirs.read_response()).status == 200


async def test_a_task_that_ends_before_the_client_hello(tmp_path):
    async with world(tmp_path) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        await w.sidecar.book.end(w.started.task.id, "over")
        assert await client.at_end()


@pytest.mark.parametrize("name", ["api.test", "127.0.0.1.api.test"])
async def test_an_address_under_the_name_of_an_allowed_host(tmp_path, name):
    """CONNECT to an address that is open, with the server name and Host of an API that has a credential."""
    up = Upstream("127.0.0.1")
    async with world(tmp_path, upstream=up) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        await client.start_tls("127.0.0.1", cafile=w.keyring.ca_path, sni=name)
        await client.send(inside(w, "/", host=f"{name}:{w.upstream.port}"))
        await refused(w, await client.read_response(), Code.SNI_MISMATCH)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "metadata.google.internal", "localhost"]
)
async def test_observing_opens_nothing_inside(tmp_path, host):
    with Forbidden() as trap:
        async with world(tmp_path, observe=True) as w:
            answer = await say(w, absolute(w, f"http://{host}:{trap.port}/"))
            await refused(w, answer, Code(answer.json()["code"]))
            assert answer.status == 403
        trap.assert_untouched()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"])
async def test_a_port_that_is_open_elsewhere_is_not_open_here(tmp_path, host):
    """The API's own port, on an address that is private to others: host, network and port go together."""
    async with world(tmp_path) as w:
        answer = await say(w, connect(w, f"{host}:{w.upstream.port}"))
        await refused_connect(w, answer, Code(answer.json()["code"]))
        assert answer.status == 403


async def test_fifty_pipelined_requests_keep_their_order_and_their_records(tmp_path):
    async with world(tmp_path, policies=[ALL, NO_ADMIN]) as w, w.tunnel() as client:
        paths = [f"/admin/{number}" if number % 7 == 3 else f"/open/{number}" for number in range(50)]
        await client.send(b"".join(inside(w, path) for path in paths))
        for path in paths:
            answer = await client.read_response()
            if path.startswith("/admin"):
                assert answer.json()["rule"] == "no-admin"
            else:
                assert answer.json()["target"] == path
        await w.settled()
        assert [each.path for each in w.decisions] == paths
        assert [each.target for each in w.upstream.requests] == [path for path in paths if "open" in path]


async def test_one_empty_line_before_a_request_is_forgiven(tmp_path):
    """RFC 9112, 2.2; a second one is not."""
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(b"\r\n" + inside(w, "/"))
        assert (await client.read_response()).status == 200


async def test_http_1_0_does_not_keep_a_connection_it_did_not_ask_for(tmp_path):
    async with world(tmp_path) as w, w.tunnel() as client:
        start = f"GET /one HTTP/1.0\r\nHost: {w.authority}\r\n\r\n".encode()
        await client.send(start + inside(w, "/two"))
        assert (await client.read_response()).json()["target"] == "/one"
        assert await client.at_end()
        assert [each.target for each in w.upstream.requests] == ["/one"]


async def test_octets_behind_a_close_are_no_request(tmp_path):
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(inside(w, "/one", "Connection: close") + inside(w, "/two"))
        assert (await client.read_response()).json()["target"] == "/one"
        assert await client.at_end()
        await w.settled()
        assert [each.path for each in w.decisions] == ["/one"]


@pytest.mark.parametrize("name", ["Transfer-Encoding", "Content-Length", "Host"])
async def test_a_name_that_ends_in_a_look_alike(tmp_path, name):
    """A non-breaking space or a Kelvin sign in a name is no token, whatever a server would trim or fold."""
    async with world(tmp_path) as w, w.tunnel() as client:
        line = name.replace("k", "\u212a").encode("utf-8") if "k" in name else name.encode() + b"\xa0"
        await client.send(inside(w, "/").removesuffix(b"\r\n") + line + b": 5\r\n\r\n")
        await refused(w, await client.read_response(), Code.MALFORMED)
