"""The agent's desk: at one address, for one caller at a time, and of what was asked alone (D11, C1, C15)."""

import json

import pytest

from proxy.errors import Code
from proxy.identity.principal import TaskState
from tests.hostile.assertions import absolute, clean, say, untouched
from tests.hostile.callers import ask, calls, delegate, desk_outcomes, house, silent, to_desk, turned_away
from tests.hostile.standing import WEBSOCKET
from tests.support.rawclient import basic
from tests.support.resolver import ScriptedResolver


def is_open(w) -> bool:
    """Whether the task of the world goes on: that of nobody was ended here."""
    return w.store.get(w.started.task.id).task.state is TaskState.OPEN


# -- one address --

THE_DESK = [
    "gatepass.internal",
    "GATEPASS.INTERNAL",
    "gatepass.internal.",
    "gatepass.internal:80",
    "Gatepass.Internal.:80",
]


@pytest.mark.parametrize("host", THE_DESK)
async def test_the_desk_has_one_name_in_any_spelling_and_nobody_looks_it_up(tmp_path, host):
    resolver = ScriptedResolver({})
    async with house(tmp_path, "a", resolver=resolver) as w:
        authorization = basic("task", w.started.token)
        answer = await say(w, absolute(w, f"http://{host}/whoami", authorization=authorization))
        assert (answer.status, answer.json()["agent"]) == (200, "a")
        await w.settled()
        assert desk_outcomes(w) == [("complete", "")]
        assert [(record.host, record.port, record.path) for record in w.decisions] == [
            ("gatepass.internal", 80, "/whoami")
        ]
        await untouched(w)
    assert resolver.journal == []


ELSEWHERE = [
    pytest.param("http://gatepass.internal:8080/whoami", {Code.DESK_REQUEST, Code.DEST_NAME}, id="port"),
    pytest.param("http://gatepass.internal:443/whoami", {Code.DESK_REQUEST, Code.DEST_NAME}, id="https-port"),
    pytest.param("https://gatepass.internal/whoami", {Code.DESK_REQUEST, Code.DEST_NAME}, id="https"),
    pytest.param(
        "https://gatepass.internal:80/whoami", {Code.DESK_REQUEST, Code.DEST_NAME}, id="https-at-80"
    ),
    pytest.param("http://x.gatepass.internal/whoami", {Code.DEST_NAME}, id="below-it"),
    pytest.param("http://internal/whoami", {Code.DEFAULT_DENY}, id="above-it"),
    pytest.param("http://gatepass.internal.evil.test/whoami", {Code.DEFAULT_DENY}, id="longer"),
    pytest.param("http://xgatepass.internal/whoami", {Code.DEST_NAME}, id="beside-it"),
    pytest.param("http://gatepass.internal../whoami", {Code.HOST_NONCANONICAL}, id="two-dots"),
    pytest.param("http://user@gatepass.internal/whoami", {Code.TARGET_MALFORMED}, id="userinfo"),
    pytest.param("http://gatepass%2einternal/whoami", {Code.HOST_NONCANONICAL}, id="encoded-dot"),
    pytest.param("http://gatepass.internal#.api.test/whoami", {Code.MALFORMED}, id="fragment"),
    pytest.param("http://gatepass.internal\\.api.test/", {Code.MALFORMED}, id="backslash"),
]


@pytest.mark.parametrize(("url", "codes"), ELSEWHERE)
async def test_what_only_looks_like_the_desk(tmp_path, url, codes):
    resolver = ScriptedResolver({})
    async with house(tmp_path, "a", resolver=resolver) as w:
        answer = await say(w, absolute(w, url, authorization=basic("task", w.started.token)))
        assert answer.json()["code"] in codes
        (record,) = w.decisions
        assert (record.effect, record.code, record.id) == (
            "deny",
            answer.json()["code"],
            answer.json()["record"],
        )
        assert desk_outcomes(w) == []
        await untouched(w)
    assert resolver.journal == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://gatepass.internal/whoami", "api.test"),
        ("http://gatepass.internal/whoami", "gatepass.internal:8080"),
        ("http://api.test/whoami", "gatepass.internal"),
        ("http://gatepass.internal/whoami", ""),
    ],
)
async def test_two_names_for_one_request(tmp_path, url, host):
    async with house(tmp_path, "a") as w:
        data = absolute(w, url, host=host, authorization=basic("task", w.started.token))
        answer = await say(w, data)
        assert answer.status in {400, 421}
        assert [(record.effect, record.agent) for record in w.decisions] == [("deny", "a")]
        await untouched(w)


async def test_the_desk_in_a_tunnel_and_its_name_in_somebody_else_s(tmp_path):
    """CONNECT to the desk is plain HTTP inside; in a tunnel to an API its name is another origin."""
    async with house(tmp_path, "a") as w:
        authorization = basic("task", w.started.token)
        async with await w.client() as client:
            assert (await client.open_tunnel("gatepass.internal:80", authorization)).status == 200
            await client.send(b"GET /whoami HTTP/1.1\r\nHost: gatepass.internal\r\n\r\n")
            assert (await client.read_response()).json()["agent"] == "a"
            await client.send(b"GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n")
            assert (await client.read_response()).status == 421
        async with w.tunnel() as client:
            await client.send(b"GET /whoami HTTP/1.1\r\nHost: gatepass.internal\r\n\r\n")
            assert (await client.read_response()).status == 421
        async with await w.client() as client:
            assert (await client.open_tunnel("gatepass.internal:443", authorization)).status in {400, 403}
        await w.settled()
        assert desk_outcomes(w) == [("complete", "")]
        await untouched(w)


async def test_no_certificate_is_made_for_the_desk(tmp_path):
    """TLS inside a tunnel to it ends, whatever the client offers; there is no leaf with its name."""
    async with house(tmp_path, "a") as w, await w.client() as client:
        answer = await client.open_tunnel("gatepass.internal:80", basic("task", w.started.token))
        assert answer.status == 200
        with pytest.raises(OSError):  # noqa: PT011 - the handshake fails in one way or another
            await client.start_tls("gatepass.internal", verify=False)
        assert desk_outcomes(w) == []
        await untouched(w)


# -- what is asked --

PATHS = [
    ("/%77hoami", 200),
    ("/./whoami", 200),
    ("/delegate/../whoami", 200),
    ("/%2e/whoami", 200),
    ("/end/%2e%2e/whoami", 200),
    ("//whoami", 400),
    ("/whoami/", 400),
    ("/WHOAMI", 400),
    ("/whoami;end", 400),
    ("/whoami%00", 400),
    ("/%2Fwhoami", 400),
    ("/whoami%2F..%2Fend", 400),
    ("/whoami?task=t-x", 400),
    ("/end", 400),
    ("/delegate", 400),
    ("/v1/tasks", 400),
    ("/../../etc/passwd", 400),
]


@pytest.mark.parametrize(("path", "status"), PATHS)
async def test_a_path_is_what_it_is_in_canonical_form_and_get_changes_nothing(tmp_path, path, status):
    async with house(tmp_path, "a") as w:
        answer = await ask(w, w.started.token, path)
        assert answer.status == status, answer
        assert ("agent" in answer.json()) == (status == 200)
        assert len(w.decisions) == 1
        assert is_open(w)
        clean(w, answer.body)
        await untouched(w)


async def test_nobody_is_served_without_an_identity(tmp_path):
    async with house(tmp_path, "a") as w:
        for lines in ([], [f"Authorization: Bearer {w.started.token}"]):
            head = "\r\n".join(
                ["GET http://gatepass.internal/whoami HTTP/1.1", "Host: gatepass.internal", *lines]
            )
            answer = await say(w, head.encode() + b"\r\n\r\n")
            assert (answer.status, answer.json()["code"]) == (407, Code.IDENTITY_MISSING)
        assert [record.code for record in w.decisions] == [Code.IDENTITY_MISSING] * 2
        clean(w)


async def test_no_upgrade_at_the_desk(tmp_path):
    async with house(tmp_path, "a") as w:
        answer = await say(w, to_desk(w.started.token, "/whoami", *WEBSOCKET))
        assert (answer.status, answer.json()["code"]) == (400, Code.DESK_REQUEST)
        assert [(record.effect, record.code) for record in w.decisions] == [("deny", Code.DESK_REQUEST)]


SMUGGLED = b"POST http://gatepass.internal/end HTTP/1.1\r\nHost: gatepass.internal\r\nContent-Length: 0\r\n"


@pytest.mark.parametrize("path", ["/whoami", "/blocked", "/"])
async def test_a_body_is_not_the_next_request(tmp_path, path):
    """What stands in a body that nobody asked for is never read as a request."""
    async with house(tmp_path, "a") as w:
        inner = SMUGGLED + f"Proxy-Authorization: {basic('task', w.started.token)}\r\n\r\n".encode()
        async with await w.client() as client:
            await client.send(to_desk(w.started.token, path, body=inner))
            answer = await client.read_response()
            assert (answer.status, answer.json()["code"]) == (400, Code.DESK_REQUEST)
            assert await client.at_end()
        assert len(w.decisions) == 1
        assert is_open(w)


@pytest.mark.parametrize(
    "framing",
    [
        ["Content-Length: 0", "Transfer-Encoding: chunked"],
        ["Content-Length: 4", "Content-Length: 0"],
        ["Transfer-Encoding: chunked, identity"],
        ["Content-Length: +0"],
    ],
)
async def test_a_body_has_one_length(tmp_path, framing):
    async with house(tmp_path, "a") as w:
        inner = SMUGGLED + f"Proxy-Authorization: {basic('task', w.started.token)}\r\n\r\n".encode()
        async with await w.client() as client:
            head = to_desk(w.started.token, "/may?method=GET&url=https%3A%2F%2Fapi.test%2F", *framing)
            await client.send(head + b"0\r\n\r\n" + inner)
            assert (await client.read_response()).status == 400
            assert await client.at_end()
        assert len(w.decisions) == 1
        assert is_open(w)


async def test_what_is_pipelined_behind_a_call_to_the_desk_is_judged_for_itself(tmp_path):
    """Three callers in one write: each answer is of whoever asked, in order."""
    async with house(tmp_path, "a", "b") as w, await w.client() as client:
        theirs = w.another_task(agent="b")
        leave = absolute(w, "http://x.test/", authorization=basic("task", theirs.token))
        await client.send(to_desk(w.started.token, "/whoami") + leave + to_desk(theirs.token, "/whoami"))
        answers = [await client.read_response() for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 403, 200]
        assert [answers[0].json()["agent"], answers[2].json()["agent"]] == ["a", "b"]
        assert [record.agent for record in w.decisions] == ["a", "b", "b"]
        silent(w, [answer.body for answer in answers], [theirs.token, w.started.token])


async def test_nothing_behind_ones_own_end_is_served(tmp_path):
    async with house(tmp_path, "a") as w, await w.client() as client:
        end = to_desk(w.started.token, "/end", "Content-Length: 0", method="POST")
        await client.send(end + to_desk(w.started.token, "/whoami"))
        assert (await client.read_response()).json()["ended_tasks"] == 1
        assert await client.at_end()
        assert len(w.decisions) == 1


async def test_the_desk_speaks_of_the_caller_alone(tmp_path):
    """Nobody's token, nobody's placeholder, nobody's refusals: but for the token that was just asked for."""
    async with house(tmp_path, "a", "b", "c") as w:
        theirs = w.another_task(agent="c", purpose="nobody's business")
        for path in ("/theirs", "/of-c"):
            await say(w, absolute(w, f"http://x.test{path}", authorization=basic("task", theirs.token)))
        answer = await say(
            w, absolute(w, "http://x.test/mine?key=s3cr3t", authorization=basic("task", w.started.token))
        )
        assert answer.status == 403
        child = await delegate(w, w.started.token, "b")
        asked = [await ask(w, w.started.token, path) for path in ("/", "/whoami", "/blocked")]
        asked += [await ask(w, child.token, path) for path in ("/", "/whoami", "/blocked")]
        secrets = [theirs.token, w.started.token, child.token]
        secrets += [*theirs.placeholders.values(), *child.placeholders.values()]
        silent(w, [answer.body for answer in asked], secrets)
        said = b"".join(answer.body for answer in asked)
        assert theirs.task.id.encode() not in said
        assert b"nobody's business" not in said
        assert b"s3cr3t" not in said
        assert [entry["url"] for entry in asked[2].json()["blocked"]] == ["http://x.test/mine"]
        assert asked[5].json()["blocked"] == []


async def test_who_may_not_call_may_not_ask_either(tmp_path):
    """The desk is no way to learn about a task that is over."""
    async with house(tmp_path, "a") as w:
        await w.sidecar.book.end(w.started.task.id, "over")
        answer = await ask(w, w.started.token, "/whoami")
        await turned_away(w, answer, Code.TASK_ENDED, agent="a")
        assert [record.code for record in calls(w)] == [Code.TASK_ENDED]
        assert "purpose" not in json.loads(answer.body)
