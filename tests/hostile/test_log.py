"""E4, E7, E8: a log that cannot be written, and what an agent would like to write into it (egress.md, 5)."""

import os

import pytest

from proxy.audit.canonical import decode
from proxy.audit.record import MAX_ENTRY
from proxy.errors import Code
from proxy.store.reader import entries
from tests.hostile.assertions import absolute, clean, connect, inside, refused, say, say_inside, untouched
from tests.support.rawclient import basic
from tests.support.resolver import ScriptedResolver
from tests.support.world import SECRET, world


def break_disk(w) -> None:
    """From here on the disk says no to every write of the log."""
    read_only = os.open(w.state / "log" / "pending", os.O_RDONLY)
    os.dup2(read_only, w.sidecar.log._pending)
    os.close(read_only)


@pytest.mark.parametrize("form", ["url", "connect", "denied", "malformed"])
async def test_e4_nothing_leaves_without_its_record(tmp_path, form):
    """The answer is 503 whatever it would have been: a refusal nobody can look up is not told either."""
    resolver = ScriptedResolver({"api.test": [("127.0.0.1",)]})
    async with world(tmp_path, resolver=resolver) as w:
        break_disk(w)
        data = {
            "url": absolute(w, f"http://{w.authority}/"),
            "connect": connect(w, "169.254.169.254:443"),
            "denied": absolute(w, "http://other.test/"),
            "malformed": absolute(w, "http://2130706433/"),
        }[form]
        answer = await say(w, data)
        assert (answer.status, answer.json()["code"], answer.json()["record"]) == (
            503,
            Code.LOG_UNAVAILABLE,
            "",
        )
        assert w.decisions == []
        clean(w, answer.head.raw, answer.body)
        await untouched(w)
    assert resolver.journal == []


async def test_e4_inside_a_tunnel_no_credential_is_fetched(tmp_path):
    async with world(tmp_path) as w, w.tunnel() as client:
        break_disk(w)
        await client.send(inside(w, "/", f"Authorization: Bearer {w.placeholder}"))
        answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (503, Code.LOG_UNAVAILABLE)
        clean(w, answer.body)
        await untouched(w)


async def test_e4_the_disk_fails_while_a_call_runs(tmp_path):
    """Its decision is durable, so it may end; its outcome is lost and said so, and no further call leaves."""
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(inside(w, "/slow"))
        await w.upstream.until(lambda: len(w.upstream.requests) == 1)
        break_disk(w)
        w.upstream.release.set()
        assert (await client.read_response()).status == 200
        await client.send(inside(w, "/next"))
        assert (await client.read_response()).json()["code"] == Code.LOG_UNAVAILABLE
        assert [each.target for each in w.upstream.requests] == ["/slow"]
        await w.sidecar.parts.enforcer.settled()
        assert any("outcome" in alarm for alarm in w.alarms)


EVIL = [
    pytest.param("\x1b[31mred\x1b[0m", id="E7-ansi"),
    pytest.param('"}{"effect":"allow"', id="E7-json"),
    pytest.param("line\u2028separator\u2029", id="E7-u2028"),
    pytest.param("\u202eright to left", id="E7-bidi"),
    pytest.param("\u0085next", id="E7-nel"),
    pytest.param("\x7f\x08\x07", id="E7-control"),
    pytest.param("\ufeff\u200b", id="E7-invisible"),
]


def percent(text: str) -> str:
    return "".join(f"%{octet:02X}" for octet in text.encode())


@pytest.mark.parametrize("evil", EVIL)
async def test_e7_in_a_query_and_a_path(tmp_path, evil):
    """One request, one leaf; what was written is data in it, and the answer shows none of it raw."""
    async with world(tmp_path) as w:
        answer = await say_inside(w, inside(w, f"/{percent('a')}?{percent(evil)}=1&_method=x"))
        await refused(w, answer, Code.POLICY_DENY)
        (leaf,) = [each for each in entries(w.state / "log") if b'"decision"' in each]
        assert decode(leaf)["what"]["query_keys"] == [evil, "_method"]
        assert not any(octet < 0x20 for octet in leaf)
        shown = answer.head.raw.replace(b"\r\n", b"") + answer.body
        assert all(0x20 <= octet < 0x7F for octet in shown)


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"\xe2\x80\xa8", b"\x1b[2J", b"\r", b"\n", b"\x85"])
@pytest.mark.parametrize("where", ["target", "host", "method", "version"])
async def test_e7_raw_octets_in_the_request_line(tmp_path, raw, where):
    async with world(tmp_path) as w:
        parts = {"target": b"http://api.test/", "host": b"api.test", "method": b"GET", "version": b"HTTP/1.1"}
        parts[where] = parts[where][:3] + raw + parts[where][3:]
        target = parts["target"] if where != "host" else b"http://" + parts["host"] + b"/"
        line = b"%s %s %s\r\nHost: api.test\r\n" % (parts["method"], target, parts["version"])
        answer = await say(w, line + b"Proxy-Authorization: " + w.authorization.encode() + b"\r\n\r\n")
        await refused(w, answer, Code.MALFORMED)
        (leaf,) = [each for each in entries(w.state / "log") if b'"decision"' in each]
        assert not any(octet < 0x20 or octet >= 0x7F for octet in leaf)


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"\xe2\x80\xa8", b"caf\xe9", b'"}{"'])
async def test_e7_in_a_header_value(tmp_path, raw):
    """Header values reach no record; they go on as they came."""
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(
            b"GET / HTTP/1.1\r\nHost: %b\r\nUser-Agent: a%bb\r\n\r\n" % (w.authority.encode(), raw)
        )
        assert (await client.read_response()).status == 200
        await w.settled()
        assert raw in w.upstream.received
        assert len(w.decisions) == len(w.outcomes) == 1
        assert raw not in b"".join(each for each in entries(w.state / "log") if b"User-Agent" in each)


@pytest.mark.parametrize("value", [b"text/\xff", b"text/\xe2\x80\xa8plain", b"a" * 20_000])
async def test_e7_in_what_policy_reads_of_a_header(tmp_path, value):
    async with world(tmp_path) as w, w.tunnel() as client:
        head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Type: %b\r\nContent-Length: 0\r\n\r\n"
        await client.send(head % (w.authority.encode(), value))
        assert (await client.read_response()).status == 200
        await w.settled()
        assert len(w.decisions) == 1


@pytest.mark.parametrize("sni", ["a\x1b[2J.test", "gp_" + "A" * 38, ("x" * 60 + ".") * 3 + "test"])
async def test_e7_in_a_server_name(tmp_path, sni):
    async with world(tmp_path) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        await client.start_tls("api.test", cafile=w.keyring.ca_path, sni=sni)
        await client.send(inside(w, "/"))
        answer = await client.read_response()
        await refused(w, answer, Code.SNI_MISMATCH)
        assert b"\x1b" not in answer.head.raw + answer.body


@pytest.mark.parametrize("user", ["a\nb", "\u2028", SECRET, "x" * 5000])
async def test_e7_in_the_user_name(tmp_path, user):
    """The user name of Basic says nothing, and is written down nowhere."""
    async with world(tmp_path) as w:
        answer = await say(w, absolute(w, "http://x.test/", authorization=basic(user, w.started.token)))
        await refused(w, answer, Code.DEFAULT_DENY)
        assert user not in str([each.raw for each in w.records])


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/" + "%2e%2e/%61" * 1_600, id="E8-normalised-path"),
        pytest.param("/" + "a" * 16_000, id="E8-path"),
        pytest.param("/?" + "&".join(f"k{number}" for number in range(2_500)), id="E8-many-keys"),
        pytest.param("/?" + "%01" * 5_000 + "&" + "k" * 100, id="E8-escaped-key"),
    ],
)
async def test_e8_a_record_too_long_is_digested_and_never_cut(tmp_path, target):
    async with world(tmp_path) as w:
        assert (await say_inside(w, inside(w, target))).status == 200
        await w.settled()
        (record,) = w.decisions
        (leaf,) = [each for each in entries(w.state / "log") if b'"decision"' in each]
        assert len(leaf) <= MAX_ENTRY
        assert decode(leaf) == record.raw
        assert (record.effect, record.host, record.task) == ("allow", "api.test", w.started.task.id)
        assert record.path.startswith(("/", "[sha256:"))


async def test_e8_a_refused_target_of_the_largest_head(tmp_path):
    async with world(tmp_path) as w:
        answer = await say(w, absolute(w, "http://api_x.test/" + "\\" * 60_000, host="api.test"))
        await refused(w, answer, Code(answer.json()["code"]))
