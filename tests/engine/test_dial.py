"""Dialling: looked up once, every answer vetted, the vetted address pinned, the certificate verified."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

import pytest

from proxy.engine.deadlines import Deadlines
from proxy.engine.dial import Dialer, SystemResolver, Upstream
from proxy.errors import Code, Refusal
from proxy.http.address import AllowPrivate
from proxy.http.canonical import Host, Origin, parse_host
from tests.engine.lines import until
from tests.support.certificates import Certificate
from tests.support.forbidden import Forbidden
from tests.support.resolver import ScriptedResolver
from tests.support.upstream import Upstream as Api

LOOPBACK = ("127.0.0.1",)


@contextlib.asynccontextmanager
async def listening(*names: str, **given: object) -> AsyncIterator[Api]:
    """An API that has seen the end of every connection before it stops."""
    async with Api(*names, **given) as api:
        yield api
        await api.until(lambda: all(connection.closed.is_set() for connection in api.connections))


def host(name: str) -> Host:
    parsed = parse_host(name.encode())
    assert isinstance(parsed, Host)
    return parsed


def origin(api: Api, scheme: str = "https", name: str = "api.test") -> Origin:
    return Origin(scheme, host(name), api.port)


def dialer(api: Api, resolver, *, timeout: float = 10, own=frozenset(), names=("api.test",)) -> Dialer:
    context = ssl.create_default_context(cadata=api.ca_pem.decode())
    allowed = [AllowPrivate(name, "127.0.0.0/8", api.port) for name in names]
    deadlines = Deadlines(asyncio.get_running_loop().time)
    return Dialer(resolver, context, deadlines, allowed, timeout, lambda: frozenset(own))


@contextlib.asynccontextmanager
async def dialled(dial: Dialer, where: Origin) -> AsyncIterator[Upstream]:
    up = await dial.dial(where)
    assert isinstance(up, Upstream), up
    try:
        yield up
    finally:
        up.wire.abort()


async def code(dial: Dialer, where: Origin) -> Code | None:
    answer = await dial.dial(where)
    if isinstance(answer, Upstream):
        answer.wire.abort()
        return None
    return answer.code


@contextlib.asynccontextmanager
async def sweeping(dial: Dialer) -> AsyncIterator[None]:
    async def sweep() -> None:
        while True:
            await asyncio.sleep(0.05)
            dial._deadlines.sweep()

    sweeper = asyncio.get_running_loop().create_task(sweep())
    try:
        yield
    finally:
        sweeper.cancel()


async def test_a_verified_connection_and_its_facts():
    async with listening("api.test") as api:
        dial = dialer(api, ScriptedResolver({"api.test": [LOOPBACK]}))
        async with dialled(dial, origin(api)) as up:
            await api.until(lambda: any(one.established for one in api.connections))
            link = up.link
        assert (link.ip, link.port, link.tls, len(link.certificate_sha256)) == (
            "127.0.0.1",
            api.port,
            "TLSv1.3",
            64,
        )
        assert api.connections[0].sni == "api.test"
        assert up.wire.deadline is None


async def test_plain_has_no_tls_facts():
    async with listening("api.test", tls=False) as api:
        dial = dialer(api, ScriptedResolver({"api.test": [LOOPBACK]}))
        async with dialled(dial, origin(api, "http")) as up:
            await api.until(lambda: any(one.established for one in api.connections))
            assert (up.link.tls, up.link.certificate_sha256) == ("", "")


@pytest.mark.parametrize("kind", [kind for kind in Certificate if kind is not Certificate.GOOD])
async def test_bad_certificates_stop_at_the_handshake(kind):
    async with listening("api.test", certificate=kind) as api:
        resolver = ScriptedResolver({"api.test": [("127.0.0.1", "127.0.0.2")]})
        assert await code(dialer(api, resolver), origin(api)) is Code.TLS_CERT
        assert len(api.connections) == 1  # no second address papers over it


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((), Code.DNS_ERROR),
        (("10.0.0.1",), Code.DEST_PRIVATE),
        (("169.254.169.254",), Code.DEST_METADATA),
        (("127.0.0.1", "10.0.0.1"), Code.MIXED_ANSWER),
        (("::1",), Code.DEST_LOOPBACK),
        (("::ffff:127.0.0.1",), Code.EMBEDDED_V4),
    ],
)
async def test_every_answer_is_vetted_and_a_refused_one_is_not_dialled(answers, expected):
    async with listening("api.test") as api:
        resolver = ScriptedResolver({"api.test": [answers]})
        assert await code(dialer(api, resolver), origin(api)) is expected
        assert not api.connections


async def test_what_is_vetted_is_what_is_dialled():
    """The name is looked up once: what it answers afterwards (rebinding) is never seen."""
    with Forbidden("127.0.0.3") as trap:
        async with listening("api.test") as api:
            resolver = ScriptedResolver({"api.test": [LOOPBACK, ("127.0.0.3",)]})
            assert await code(dialer(api, resolver), origin(api)) is None
            assert resolver.journal == ["api.test"]
            assert api.connections[0].peer[0] == "127.0.0.1"
        trap.assert_untouched()


async def test_the_next_address_is_tried_if_one_does_not_answer():
    async with listening("api.test") as api:  # listens on 127.0.0.1 alone
        resolver = ScriptedResolver({"api.test": [("127.0.0.9", "127.0.0.1")]})
        assert await code(dialer(api, resolver), origin(api)) is None


async def test_nobody_there():
    async with listening("api.test") as api:
        resolver = ScriptedResolver({"api.test": [("127.0.0.9",)]})
        assert await code(dialer(api, resolver), origin(api)) is Code.CONNECT_FAILED


async def test_a_name_that_does_not_exist():
    async with listening("api.test") as api:
        assert await code(dialer(api, ScriptedResolver({})), origin(api)) is Code.DNS_ERROR


async def test_gatepass_does_not_dial_itself():
    async with listening("api.test") as api:
        resolver = ScriptedResolver({"api.test": [LOOPBACK]})
        dial = dialer(api, resolver, own={("127.0.0.1", api.port)})
        assert await code(dial, origin(api)) is Code.LOOP
        assert not api.connections


async def test_an_address_is_not_looked_up():
    async with listening("127.0.0.1", tls=False) as api:
        resolver = ScriptedResolver({})
        dial = dialer(api, resolver, names=("127.0.0.1",))
        assert await code(dial, origin(api, "http", "127.0.0.1")) is None
        assert resolver.journal == []
        await api.until(lambda: len(api.connections) == 1)


async def test_many_dials_are_one_look_up():
    class Held(ScriptedResolver):
        def __init__(self) -> None:
            super().__init__({"api.test": [LOOPBACK]})
            self.answer = asyncio.Event()

        async def resolve(self, name: str) -> tuple[str, ...] | Refusal:
            found = await super().resolve(name)
            await self.answer.wait()
            return found

    async with listening("api.test", tls=False) as api:
        resolver = Held()
        dial = dialer(api, resolver)
        dials = [asyncio.ensure_future(code(dial, origin(api, "http"))) for _ in range(20)]
        await until(lambda: bool(resolver.journal))
        dials[0].cancel()  # who gives up does not take the answer from the others
        await asyncio.sleep(0)
        resolver.answer.set()
        assert await asyncio.gather(*dials[1:]) == [None] * 19
        assert resolver.journal == ["api.test"]
        assert await code(dial, origin(api, "http")) is None
        assert resolver.journal == ["api.test"] * 2
        await api.until(lambda: len(api.connections) == 20)


async def test_a_handshake_that_takes_too_long():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = Api("api.test")
        api.port = silent.getsockname()[1]
        dial = dialer(api, ScriptedResolver({"api.test": [LOOPBACK]}), timeout=0.2)
        async with sweeping(dial):
            assert await code(dial, origin(api)) is Code.CONNECT_TIMEOUT


async def test_a_connection_that_is_not_accepted_in_time():
    """A full backlog: the system does not answer any more."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)  # noqa: FBT003 - the socket module's own
            with contextlib.suppress(BlockingIOError):
                each.connect(full.getsockname())
        api = Api("api.test", tls=False)
        api.port = full.getsockname()[1]
        dial = dialer(api, ScriptedResolver({"api.test": [LOOPBACK]}), timeout=0.3)
        assert await code(dial, origin(api, "http")) is Code.CONNECT_TIMEOUT
        for each in waiting:
            each.close()


async def test_a_peer_that_leaves_in_the_handshake():
    async def leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    server = await asyncio.start_server(leaves, "127.0.0.1", 0)
    async with server:
        api = Api("api.test")
        api.port = server.sockets[0].getsockname()[1]
        dial = dialer(api, ScriptedResolver({"api.test": [LOOPBACK]}))
        assert await code(dial, origin(api)) is Code.TLS_UPSTREAM


# -- the system's resolver --


async def test_the_operator_s_answers_come_first():
    resolver = SystemResolver({"api.test": ["192.0.2.1", "192.0.2.2"]})
    assert await resolver.resolve("api.test") == ("192.0.2.1", "192.0.2.2")


async def test_a_name_that_the_system_does_not_know():
    """``.invalid`` never exists (RFC 6761)."""
    refusal = await SystemResolver({}).resolve("gatepass.invalid")
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.DNS_ERROR


async def test_the_system_is_asked_for_the_whole_name():
    found = await SystemResolver({}).resolve("localhost")
    assert isinstance(found, tuple | Refusal)  # some systems do not answer for ``localhost.``
    if isinstance(found, tuple):
        assert set(found) <= {"127.0.0.1", "::1"}


async def test_a_resolver_that_hangs_is_not_waited_for():
    class Hangs:
        async def resolve(self, name: str) -> tuple[str, ...]:
            await asyncio.Event().wait()
            return LOOPBACK

    async with listening("api.test") as api:
        assert await code(dialer(api, Hangs(), timeout=0.05), origin(api)) is Code.DNS_ERROR
        assert not api.connections
