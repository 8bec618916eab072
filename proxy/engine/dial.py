"""From a canonical origin to a verified connection: resolve once, vet every answer, pin, connect, verify.

What was vetted is what is dialled: the pinned address is compared with the socket's peer, and TLS is
verified against the canonical host. Nothing here runs before the decision is durable.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from proxy.engine.deadlines import Deadlines
from proxy.engine.head import Reading
from proxy.engine.wire import Wire
from proxy.engine.wire_error import Expired, Gone
from proxy.errors import Code, Refusal
from proxy.http.address import AllowPrivate, vet
from proxy.http.canonical import Host, HostKind, Origin
from proxy.ports import Resolver


@dataclass(frozen=True, slots=True)
class Link:
    """Facts of one upstream connection, for the outcome record. ``tls`` is empty on plain HTTP."""

    ip: str
    port: int
    tls: str
    certificate_sha256: str


class Upstream:
    """One connection to an API, verified and ready for requests."""

    __slots__ = ("idle_since", "link", "reading", "used", "wire")

    def __init__(self, wire: Wire, link: Link) -> None:
        self.wire = wire
        self.reading = Reading(wire)
        self.link = link
        self.used = 0
        self.idle_since = 0.0


class Dialer:
    """Dials origins. ``own`` lists the sidecar's own listeners, which no request may reach."""

    def __init__(
        self,
        resolver: Resolver,
        context: ssl.SSLContext,
        deadlines: Deadlines,
        allowed: Sequence[AllowPrivate],
        connect_timeout: float,
        own: Callable[[], frozenset[tuple[str, int]]],
    ) -> None:
        self._resolver = resolver
        self._context = context
        self._deadlines = deadlines
        self._allowed = tuple(allowed)
        self._timeout = connect_timeout
        self._own = own
        self._lookups: dict[str, asyncio.Task[tuple[str, ...] | Refusal]] = {}

    async def dial(self, origin: Origin) -> Upstream | Refusal:
        """A new connection to ``origin``, or why there is none."""
        answers = await self._resolve(origin.host)
        if isinstance(answers, Refusal):
            return answers
        vetted = vet(origin.host, origin.port, answers, self._allowed)
        if isinstance(vetted, Refusal):
            return vetted
        if any((ip, origin.port) in self._own() for ip in vetted):
            return Refusal(Code.LOOP, f"{origin.host.name} resolves to gatepass itself")
        failure = Refusal(Code.CONNECT_FAILED, f"{origin.host.name} has no address that answers")
        for ip in vetted:
            connected = await self._connect(origin, ip)
            if isinstance(connected, Upstream):
                return connected
            failure = connected
            if failure.code in {Code.TLS_CERT, Code.TLS_UPSTREAM}:
                break  # another address of the same name must not paper over a wrong certificate
        return failure

    async def _resolve(self, host: Host) -> tuple[str, ...] | Refusal:
        """Single-flight: a thousand requests for one name are one look-up."""
        if host.kind is not HostKind.NAME:
            return (host.name,)
        running = self._lookups.get(host.name)
        if running is None:
            running = asyncio.get_running_loop().create_task(self._lookup(host.name))
            self._lookups[host.name] = running
        return await asyncio.shield(running)

    async def _lookup(self, name: str) -> tuple[str, ...] | Refusal:
        try:
            async with asyncio.timeout(self._timeout) as limit:
                return await self._resolver.resolve(name)
        except TimeoutError:
            if not limit.expired():
                raise  # the resolver's own failure, which is ours
            return Refusal(Code.DNS_ERROR, f"{name} was not resolved within {self._timeout:g} s")
        finally:
            del self._lookups[name]

    async def _connect(self, origin: Origin, ip: str) -> Upstream | Refusal:
        where = f"{origin.host.name} ({ip}) port {origin.port}"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                _, wire = await loop.create_connection(lambda: Wire(self._deadlines), ip, origin.port)
        except TimeoutError:
            return Refusal(
                Code.CONNECT_TIMEOUT, f"{where} did not accept the connection in {self._timeout:g} s"
            )
        except OSError as error:
            return Refusal(Code.CONNECT_FAILED, f"{where}: {error.strerror or error}")
        if wire.peer.rpartition(":")[0] != ip:
            wire.abort()
            return Refusal(
                Code.INTERNAL, f"{where}: connected to another address than the one that was vetted"
            )
        if origin.scheme == "http":
            return Upstream(wire, Link(ip, origin.port, "", ""))
        wire.deadline = loop.time() + self._timeout
        try:
            refusal = await self._secure(wire, origin, where)
        except BaseException:
            wire.abort()
            raise
        if refusal is not None:
            wire.abort()
            return refusal
        wire.deadline = None
        return Upstream(wire, _describe(wire, ip, origin.port))

    async def _secure(self, wire: Wire, origin: Origin, where: str) -> Refusal | None:
        try:
            await wire.secure(self._context, server_name=origin.host.name)
        except ssl.SSLCertVerificationError as error:
            return Refusal(Code.TLS_CERT, f"{where}: {error.verify_message}")
        except ssl.SSLError as error:
            return Refusal(Code.TLS_UPSTREAM, f"{where}: {error.reason or error}")
        except Gone:
            return Refusal(Code.TLS_UPSTREAM, f"{where} closed the connection during the TLS handshake")
        except Expired:
            return Refusal(Code.CONNECT_TIMEOUT, f"{where} did not finish the TLS handshake in time")
        return None


def _describe(wire: Wire, ip: str, port: int) -> Link:
    tls = wire.tls
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    return Link(
        ip, port, (tls.version() or "") if tls is not None else "", sha256(der).hexdigest() if der else ""
    )


class SystemResolver:
    """The system's resolver, with static answers of the operator first (``upstream.hosts``)."""

    def __init__(self, static: dict[str, list[str]]) -> None:
        self._static = {name: tuple(answers) for name, answers in static.items()}

    async def resolve(self, name: str) -> tuple[str, ...] | Refusal:
        """See ``ports.Resolver``. The trailing dot keeps search domains out of it."""
        if (answers := self._static.get(name)) is not None:
            return answers
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(name + ".", None, type=1)
        except OSError as error:
            return Refusal(Code.DNS_ERROR, f"{name}: {error.strerror or error}")
        return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
