"""gatepass as a client of the Workload API, against a server over a real socket."""

import asyncio
import datetime as dt
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest
import uvloop

from proxy.broker.workload_api import BackOff, Svid, parse_x509_svid
from tests.broker.workload_scene import ABROAD, FIRST, HOME, Heard, Scene, client, scene_in
from tests.support.workload_api import (
    JWT,
    START,
    X509,
    TrustDomain,
    WorkloadApiServer,
    jwt_response,
    x509_response,
)

HOUR = 3600


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a Unix socket's name has 107 octets at most."""
    path = Path(tempfile.mkdtemp(prefix="wl", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def scene(folder: Path) -> AsyncIterator[Scene]:
    async with scene_in(folder) as made:
        yield made


async def test_identity_and_bundles_arrive(scene: Scene) -> None:
    svid, crl = HOME.svid("/egress/1", intermediate=True), HOME.crl()
    await scene.server.say(X509, x509_response([svid, replace(ABROAD.svid("/second"), hint="inner")], [crl]))
    await scene.server.say(JWT, jwt_response({HOME.id: HOME.jwks()}))
    identity = await scene.heard.until_identity(1)
    bundle = await scene.heard.until_bundle(HOME.id, {"h1"}, 1)
    await scene.heard.until_bundle(ABROAD.id, set(), 1)
    assert identity == Svid(
        spiffe_id="spiffe://example.org/egress/1",
        chain_der=parse_x509_svid(svid.x509_svid) or (),
        key_pkcs8_der=svid.x509_svid_key,
        bundle=(HOME.bundle,),
        crl=(crl,),
        expires_at=int(START.timestamp()) + HOUR,
    )
    assert len(identity.chain_der) == 2
    assert bundle.authorities == (HOME.bundle,)
    assert bundle.keys["h1"].algorithms == {"ES256"}
    assert scene.heard.alarms == []


async def test_the_key_has_no_text(scene: Scene) -> None:
    await scene.server.say(X509, x509_response([FIRST]))
    identity = await scene.heard.until_identity(1)
    assert identity is not None
    assert repr(FIRST.x509_svid_key)[2:40] not in repr(identity)
    assert "example.org/egress/1" in repr(identity)


async def test_a_rotated_svid_replaces_the_first_and_the_bundle_stays(scene: Scene) -> None:
    second = HOME.svid("/egress/1", lives=dt.timedelta(hours=2))
    await scene.server.say(X509, x509_response([FIRST]))
    await scene.heard.until_identity(1)
    await scene.server.say(X509, x509_response([second]))
    identity = await scene.heard.until_identity(2)
    assert identity is not None
    assert identity.key_pkcs8_der == second.x509_svid_key
    assert [name for name, _ in scene.heard.bundles] == [HOME.id]


async def test_a_message_that_says_the_same_tells_nothing(scene: Scene) -> None:
    await scene.server.say(X509, x509_response([FIRST]))
    await scene.heard.until_identity(1)
    await scene.server.say(X509, x509_response([FIRST]))
    await scene.server.say(X509, x509_response([FIRST], federated={ABROAD.id: ABROAD.bundle}))
    await scene.heard.until_bundle(ABROAD.id, set(), 1)
    assert len(scene.heard.identities) == 1
    assert [name for name, _ in scene.heard.bundles] == [HOME.id, ABROAD.id]


async def test_new_authorities_and_new_keys_make_a_new_bundle(scene: Scene) -> None:
    renewed = TrustDomain("example.org")
    await scene.server.say(X509, x509_response([FIRST]))
    before = await scene.heard.until_bundle(HOME.id, set(), 1)
    await scene.server.say(X509, x509_response([replace(FIRST, bundle=HOME.bundle + renewed.bundle)]))
    both = await scene.heard.until_bundle(HOME.id, set(), 2)
    await scene.server.say(JWT, jwt_response({HOME.id: HOME.jwks(use="jwt-svid")}))
    after = await scene.heard.until_bundle(HOME.id, {"h1"}, 2)
    assert both.authorities == (HOME.bundle, renewed.bundle)
    assert len({before.sha256, both.sha256, after.sha256}) == 3


async def test_what_a_message_leaves_out_is_redacted(scene: Scene) -> None:
    await scene.server.say(X509, x509_response([FIRST], federated={ABROAD.id: ABROAD.bundle}))
    await scene.server.say(JWT, jwt_response({HOME.id: HOME.jwks(), ABROAD.id: ABROAD.jwks()}))
    await scene.heard.until_bundle(ABROAD.id, {"a1"}, 1)
    await scene.heard.until_bundle(HOME.id, {"h1"}, 1)
    await scene.server.say(X509, x509_response([FIRST]))
    await scene.heard.until_bundle(ABROAD.id, {"a1"}, 0)
    await scene.server.say(JWT, jwt_response({HOME.id: HOME.jwks()}))
    await scene.heard.until(lambda: (ABROAD.id, None) in scene.heard.bundles)
    await scene.server.say(JWT, jwt_response({}))
    await scene.heard.until_bundle(HOME.id, set(), 1)
    assert scene.heard.standing().keys() == {HOME.id}


async def test_denial_ends_the_use_of_everything_and_is_asked_about_again(scene: Scene) -> None:
    await scene.server.say(X509, x509_response([FIRST]))
    await scene.server.say(JWT, jwt_response({HOME.id: HOME.jwks()}))
    await scene.heard.until_bundle(HOME.id, {"h1"}, 1)
    await scene.heard.until_identity(1)
    await scene.server.say(X509, grpc.StatusCode.PERMISSION_DENIED)
    await scene.server.say(JWT, grpc.StatusCode.PERMISSION_DENIED)
    assert await scene.heard.until_identity(2) is None
    await scene.heard.until(lambda: scene.heard.bundles[-1] == (HOME.id, None))
    assert scene.heard.standing() == {}
    await scene.server.until(lambda: scene.server.calls[X509] >= 3 and scene.server.calls[JWT] >= 3)
    assert set(scene.heard.pauses) - {60.0} == {30.0}  # 60: the look at the expiry
    assert len([alarm for alarm in scene.heard.alarms if "PERMISSION_DENIED" in alarm]) == 2
    await scene.server.say(X509, x509_response([FIRST]))
    assert await scene.heard.until_identity(3) is not None


async def test_denial_of_one_stream_leaves_what_the_other_gave(scene: Scene) -> None:
    await scene.server.say(X509, x509_response([FIRST]))
    await scene.server.say(JWT, jwt_response({HOME.id: HOME.jwks()}))
    await scene.heard.until_bundle(HOME.id, {"h1"}, 1)
    await scene.server.say(JWT, grpc.StatusCode.PERMISSION_DENIED)
    await scene.heard.until_bundle(HOME.id, set(), 1)
    assert None not in scene.heard.identities


async def test_an_invalid_call_is_not_repeated(scene: Scene) -> None:
    await scene.server.say(X509, x509_response([FIRST]))
    await scene.heard.until_identity(1)
    await scene.server.say(X509, grpc.StatusCode.INVALID_ARGUMENT)
    await scene.heard.until_alarm("INVALID_ARGUMENT: as the test said")
    await scene.heard.until_identity(2)
    assert scene.heard.identities[1] is None
    assert scene.heard.standing() == {}
    assert 60.0 in scene.heard.pauses  # it looked at the expiry of the SVID,
    assert set(scene.heard.pauses) == {60.0}  # and waited for nothing else
    assert scene.server.calls[X509] == 1


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.OK])
async def test_a_failing_server_takes_nothing_away(scene: Scene, code: grpc.StatusCode) -> None:
    await scene.server.say(X509, x509_response([FIRST]))
    await scene.heard.until_identity(1)
    await scene.server.say(X509, code)
    await scene.server.until(lambda: scene.server.calls[X509] >= 7)
    assert [pause for pause in scene.heard.pauses if pause < 60][:6] == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert len(scene.heard.identities) == 1
    assert scene.heard.standing().keys() == {HOME.id}
    assert len(scene.heard.alarms) == 1  # not with every attempt
    second = HOME.svid("/egress/1")
    await scene.server.say(X509, x509_response([second]))
    assert (await scene.heard.until_identity(2)) is not None


async def test_a_restarted_server_is_found_again(scene: Scene) -> None:
    await scene.server.say(X509, x509_response([FIRST]))
    await scene.server.say(JWT, jwt_response({HOME.id: HOME.jwks()}))
    await scene.heard.until_bundle(HOME.id, {"h1"}, 1)
    await scene.heard.until_identity(1)
    await scene.server.stop()
    await scene.heard.until(lambda: len(scene.heard.alarms) >= 2)
    second = HOME.svid("/egress/1")
    await scene.server.say(X509, x509_response([second]))
    await scene.server.start()
    identity = await scene.heard.until_identity(2)
    assert identity is not None
    assert identity.key_pkcs8_der == second.x509_svid_key
    assert scene.heard.standing().keys() == {HOME.id}


async def test_a_server_that_starts_late_is_found(folder: Path) -> None:
    heard = Heard()
    api = client(heard, f"unix://{folder}/s")
    await api.start()
    await heard.until(lambda: len(heard.pauses) >= 2)
    async with WorkloadApiServer(f"unix:{folder}/s") as server:
        await server.say(X509, x509_response([FIRST]))
        assert await heard.until_identity(1) is not None
        await api.close()


async def test_an_svid_is_used_until_it_expires_though_the_server_is_away(scene: Scene) -> None:
    await scene.server.say(X509, x509_response([FIRST]))
    await scene.heard.until_identity(1)
    await scene.server.stop()
    await scene.heard.until_alarm("FetchX509SVID ended")
    assert len(scene.heard.identities) == 1
    scene.heard.now += HOUR
    assert await scene.heard.until_identity(2) is None
    await scene.heard.until_alarm("has expired")
    assert scene.heard.standing().keys() == {HOME.id}


async def test_bad_messages_are_told_and_change_nothing(scene: Scene) -> None:
    await scene.server.say(X509, x509_response([FIRST]))
    await scene.server.say(JWT, jwt_response({HOME.id: HOME.jwks()}))
    await scene.heard.until_identity(1)
    await scene.heard.until_bundle(HOME.id, {"h1"}, 1)
    known = len(scene.heard.bundles)
    for message in (b"\xff\xff", x509_response([]), x509_response([FIRST], [b"no CRL"])):
        await scene.server.say(X509, message)
    for message in (b"\xff\xff", jwt_response({HOME.id: b"{"})):
        await scene.server.say(JWT, message)
    await scene.heard.until(lambda: len(scene.heard.alarms) == 5)
    assert all("is ignored: " in alarm for alarm in scene.heard.alarms)
    assert (len(scene.heard.identities), len(scene.heard.bundles)) == (1, known)
    await scene.server.say(X509, x509_response([HOME.svid("/egress/1")]))  # the streams are still read
    await scene.server.say(JWT, jwt_response({ABROAD.id: ABROAD.jwks()}))
    assert await scene.heard.until_identity(2) is not None
    await scene.heard.until_bundle(ABROAD.id, {"a1"}, 0)
    assert scene.server.calls == {X509: 1, JWT: 1}


async def test_a_fault_in_a_callback_is_told_and_ends_the_use_of_what_the_stream_gave(scene: Scene) -> None:
    await scene.server.say(X509, x509_response([FIRST]))
    await scene.heard.until_identity(1)
    scene.heard.fail = True
    await scene.server.say(X509, x509_response([FIRST], federated={ABROAD.id: ABROAD.bundle}))
    await scene.heard.until_alarm("by a fault of gatepass: LookupError")
    assert await scene.heard.until_identity(2) is None
    await scene.server.until(lambda: scene.server.ended[X509] == scene.server.calls[X509] == 1)


async def test_nothing_is_told_after_close(scene: Scene) -> None:
    await scene.server.say(X509, x509_response([FIRST]))
    await scene.heard.until_identity(1)
    await scene.api.close()
    told = len(scene.heard.bundles), len(scene.heard.identities), len(scene.heard.alarms)
    scene.heard.now += HOUR
    await scene.server.say(X509, x509_response([HOME.svid("/egress/1")]))
    await scene.server.stop()
    assert (len(scene.heard.bundles), len(scene.heard.identities), len(scene.heard.alarms)) == told


def test_an_address_of_another_kind_is_refused_with_words() -> None:
    with pytest.raises(ValueError, match="unix:///absolute/path or tcp"):
        client(Heard(), "http://127.0.0.1:1")


async def test_a_client_that_was_never_started_can_be_closed(folder: Path) -> None:
    await client(Heard(), f"unix://{folder}/s").close()


async def test_the_server_of_these_tests_wants_the_security_header(folder: Path) -> None:
    async with (
        WorkloadApiServer(f"unix:{folder}/s") as server,
        grpc.aio.insecure_channel(server.address) as bare,
    ):
        await server.say(X509, x509_response([FIRST]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await bare.unary_stream("/SpiffeWorkloadAPI/FetchX509SVID")(b"").read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_it_runs_on_both_event_loops(folder: Path, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def one_rotation() -> None:
        async with scene_in(folder) as scene:
            await test_a_rotated_svid_replaces_the_first_and_the_bundle_stays(scene)

    run(one_rotation, loop)


def run(scene: Callable[[], Awaitable[None]], loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        await scene()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_pauses_grow_to_half_a_minute_and_begin_again() -> None:
    backoff = BackOff(iter([0.0, 0.5, 0.999, *[0.0] * 9]).__next__)
    assert [round(backoff.pause(), 2) for _ in range(6)] == [1.0, 3.0, 8.0, 8.0, 15.0, 15.0]
    assert backoff.denied() == 30.0
    backoff.reset()
    assert backoff.pause() == 1.0
