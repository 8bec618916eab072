"""A: destinations that are refused by their spelling, before any look-up (egress.md, section 5)."""

import idna
import pytest

from proxy.errors import Code
from tests.hostile.assertions import absolute, connect, refused, refused_connect, say
from tests.support.forbidden import Forbidden
from tests.support.rawclient import RawClient, basic
from tests.support.resolver import ScriptedResolver
from tests.support.world import world

LOOP, META, PRIVATE = Code.DEST_LOOPBACK, Code.DEST_METADATA, Code.DEST_PRIVATE
LOCAL, RESERVED, V4, NAT64 = Code.DEST_LINK_LOCAL, Code.DEST_RESERVED, Code.EMBEDDED_V4, Code.NAT64
SPELLING = Code.HOST_NONCANONICAL

HOSTS = [
    *(("A1", host, LOOP) for host in ("127.0.0.1", "127.9.9.9", "localhost", "LocalHost.", "a.localhost")),
    *(("A1", host, LOOP) for host in ("[::1]", "[0:0:0:0:0:0:0:1]", "ip6-localhost")),
    ("A2", "2130706433", SPELLING),
    *(("A3", host, SPELLING) for host in ("0x7f000001", "0177.0.0.1", "127.1", "0", "127.0.0.01", "0x7f.1")),
    *(("A3", host, SPELLING) for host in ("1.2.3.4.5", "256.1.1.1", "127.0.0.1..", "0x")),
    ("A4-percent", "%31%32%37.0.0.1", SPELLING),
    ("A5", "169.254.169.254", META),
    ("A5-dot", "169.254.169.254.", META),
    ("A5-short", "169.254.43518", SPELLING),
    ("A6-mapped-metadata", "[::ffff:169.254.169.254]", V4),
    ("A6-mapped-hex", "[::ffff:a9fe:a9fe]", V4),
    ("A6-mapped-public", "[::ffff:8.8.8.8]", V4),
    ("A7", "[64:ff9b::a9fe:a9fe]", NAT64),
    ("A7-local", "[64:ff9b:1::a9fe:a9fe]", NAT64),
    ("A8-6to4", "[2002:a9fe:a9fe::1]", V4),
    ("A8-teredo", "[2001:0:a9fe:a9fe::1]", V4),
    ("A8-compatible", "[::169.254.169.254]", V4),
    ("A8-translated", "[::ffff:0:169.254.169.254]", V4),
    *(("A9", host, META) for host in ("168.63.129.16", "192.0.0.192", "100.100.100.200")),
    *(("A9", host, META) for host in ("[fd00:ec2::254]", "[fd20:ce::254]", "169.254.170.2")),
    *(("A9", host, META) for host in ("metadata.google.internal", "METADATA.", "instance-data.ec2.internal")),
    *(("A9-name", host, Code.DEST_NAME) for host in ("host.docker.internal", "kubernetes.default.svc")),
    *(("A10", host, PRIVATE) for host in ("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1")),
    *(("A10", host, PRIVATE) for host in ("100.64.0.1", "[fd12::1]", "[fec0::1]")),
    *(("A10", host, LOCAL) for host in ("169.254.0.1", "[fe80::1]", "[febf::1]")),
    *(
        ("A10", host, RESERVED)
        for host in ("0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.250", "240.0.0.1")
    ),
    *(("A10", host, RESERVED) for host in ("255.255.255.255", "198.18.0.1", "192.0.2.1", "192.88.99.1")),
    *(("A10", host, RESERVED) for host in ("[::]", "[ff02::1]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]")),
    ("A11", "[fe80::1%25eth0]", SPELLING),
    ("A11-raw", "[fe80::1%eth0]", SPELLING),
    ("A12", "8.8.8.8", Code.IP_LITERAL),
    ("A12-v6", "[2606:4700::1111]", Code.IP_LITERAL),
    ("A28-brackets", "[api.test]", SPELLING),
    ("A28-two-dots", "api.test..", SPELLING),
    ("A29-no-label", "xn--api.test", SPELLING),
    ("A30-long", ".".join(["a" * 49] * 5) + ".test", SPELLING),
    ("A30-label", "a" * 64 + ".test", SPELLING),
    ("A30-empty", "api..test", SPELLING),
    ("A30-nothing", "", SPELLING),
    ("A30-dot", ".", SPELLING),
    ("A30-underscore", "api_x.test", SPELLING),
    ("A30-hyphen", "-api.test", SPELLING),
    ("A30-encoded-nul", "api.test%00.example", SPELLING),
]
CASES = [pytest.param(host, code, id=f"{case}-{host or 'none'}"[:60]) for case, host, code in HOSTS]


@pytest.mark.parametrize(("host", "code"), CASES)
async def test_a_url_is_refused_before_any_look_up(tmp_path, host, code):
    resolver = ScriptedResolver({})
    with Forbidden() as trap:
        async with world(tmp_path, resolver=resolver) as w:
            await refused(w, await say(w, absolute(w, f"http://{host}:{trap.port}/latest/meta-data/")), code)
        trap.assert_untouched()
    assert resolver.journal == []


@pytest.mark.parametrize(("host", "code"), CASES)
async def test_connect_is_refused_with_the_reason_in_its_phrase(tmp_path, host, code):
    resolver = ScriptedResolver({})
    with Forbidden() as trap:
        async with world(tmp_path, resolver=resolver) as w:
            await refused_connect(w, await say(w, connect(w, f"{host}:{trap.port}")), code)
        trap.assert_untouched()
    assert resolver.journal == []


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("\uff11\uff12\uff17.0.0.1", id="A4-full-width"),
        pytest.param("\u2460\u2461\u2466.0.0.1", id="A4-circled"),
        pytest.param("127\u30020\u30020\u30021", id="A4-ideographic-stop"),
        pytest.param("\u0430pi.test", id="A4-mixed-script"),
        pytest.param("api.test\x00.example", id="A30-nul"),
        pytest.param("api.test x", id="A30-space"),
        pytest.param("api\t.test", id="A30-tab"),
        pytest.param("\u212apple.test", id="A29-kelvin"),
    ],
)
@pytest.mark.parametrize("form", ["url", "connect"])
async def test_a_host_that_is_not_visible_ascii_is_no_http(tmp_path, host, form):
    """The table says host_noncanonical; the parser refuses these octets first: 400 ``malformed``."""
    resolver = ScriptedResolver({})
    async with world(tmp_path, resolver=resolver) as w:
        if form == "url":
            await refused(w, await say(w, absolute(w, f"http://{host}/", host="api.test")), Code.MALFORMED)
        else:
            data = connect(w, f"{host}:443", host="api.test:443")
            await refused(w, await say(w, data), Code.MALFORMED)
    assert resolver.journal == []


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(idna.encode("\u0430pi.test").decode(), id="A29-cyrillic"),
        pytest.param("api.test.evil.example", id="A29-suffix"),
        pytest.param("xapi.test", id="A29-prefix"),
        pytest.param("c2Vj.evil.example", id="A26-exfiltration"),
    ],
)
@pytest.mark.parametrize("form", ["url", "tunnel"])
async def test_a_host_that_no_rule_knows_costs_no_dns_packet(tmp_path, host, form):
    resolver = ScriptedResolver({})
    async with world(tmp_path, resolver=resolver) as w:
        if form == "url":
            answer = await say(w, absolute(w, f"http://{host}/"))
        else:
            async with await w.client() as client:
                assert (await client.open_tunnel(f"{host}:443", w.authorization)).status == 200
                await client.start_tls(host, cafile=w.keyring.ca_path)
                await client.send(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode())
                answer = await client.read_response()
        await refused(w, answer, Code.DEFAULT_DENY)
    assert resolver.journal == []


@pytest.mark.parametrize(
    "host", [pytest.param("API.Test", id="A28-case"), pytest.param("api.test.", id="A28-dot")]
)
async def test_another_spelling_of_the_host_is_the_same_decision(tmp_path, host):
    async with world(tmp_path) as w:
        async with await w.client() as client:
            authority = f"{host}:{w.upstream.port}"
            assert (await client.open_tunnel(authority, w.authorization)).status == 200
            await client.start_tls("api.test", cafile=w.keyring.ca_path)
            await client.send(b"GET /x HTTP/1.1\r\nHost: %s\r\n\r\n" % authority.encode())
            assert (await client.read_response()).status == 200
        await w.settled()
        assert [(each.effect, each.host) for each in w.decisions] == [("allow", "api.test")]
        assert w.upstream.connections[0].sni == "api.test"
        assert w.upstream.requests[0].head.all("host") == [w.authority.encode()]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        *(
            pytest.param(url, Code.SCHEME_UNSUPPORTED, id=f"A23-{url}")
            for url in ("ftp://api.test/", "gopher://api.test/", "ws://api.test/", "file:///etc/passwd")
        ),
        pytest.param("unix:/var/run/docker.sock", Code.SCHEME_UNSUPPORTED, id="A23-unix"),
        pytest.param("http:///etc", Code.HOST_NONCANONICAL, id="A23-no-host"),
        pytest.param("//api.test/", Code.TARGET_MALFORMED, id="A23-no-scheme"),
        pytest.param("/x", Code.TARGET_MALFORMED, id="A23-origin-form"),
        pytest.param("api.test:80", Code.TARGET_MALFORMED, id="A23-authority-form"),
    ],
)
async def test_only_http_urls_are_relayed(tmp_path, url, code):
    """A URL that llhttp itself cannot read is 400 ``malformed``; the table allows 400 and 501."""
    async with world(tmp_path) as w:
        answer = await say(w, absolute(w, url, host="api.test"))
        expected = Code.MALFORMED if answer.json()["code"] == Code.MALFORMED else code
        await refused(w, answer, expected)


@pytest.mark.parametrize("port", [22, 25, 53, 111, 2375, 3306, 5432, 6379, 11211])
@pytest.mark.parametrize("form", ["url", "connect"])
async def test_a24_ports_that_nobody_opened(tmp_path, port, form):
    resolver = ScriptedResolver({})
    async with world(tmp_path, resolver=resolver) as w:
        if form == "url":
            await refused(w, await say(w, absolute(w, f"http://api.test:{port}/")), Code.PORT)
        else:
            await refused_connect(w, await say(w, connect(w, f"api.test:{port}")), Code.PORT)
    assert resolver.journal == []


@pytest.mark.parametrize("port", ["0", "65536", "080", "+80", "8o", "-1", "99999999999999999999"])
async def test_a24_ports_that_are_none(tmp_path, port):
    async with world(tmp_path) as w:
        await refused_connect(w, await say(w, connect(w, f"api.test:{port}")), Code.TARGET_MALFORMED)


@pytest.mark.parametrize("listener", [0, 1])
@pytest.mark.parametrize("form", ["url", "connect"])
async def test_a21_the_proxys_own_listeners(tmp_path, listener, form):
    listen = [{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0"}]
    async with world(tmp_path, listen=listen) as w:
        own = "{}:{}".format(*w.sidecar.addresses[listener])
        if form == "url":
            await refused(w, await say(w, absolute(w, f"http://{own}/")), Code.SELF_CONNECT)
        else:
            await refused_connect(w, await say(w, connect(w, own)), Code.SELF_CONNECT)


async def test_two_listeners_hold_callers_to_the_same_rules(tmp_path):
    listen = [{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0"}]
    async with world(tmp_path, listen=listen) as w:
        for address in w.sidecar.addresses:
            async with await RawClient.connect(address) as client:
                answer = await client.open_tunnel("127.0.0.1:443", basic("task", w.started.token))
                assert f"code={Code.DEST_LOOPBACK}" in answer.reason
        assert [each.code for each in w.decisions] == [Code.DEST_LOOPBACK] * 2
