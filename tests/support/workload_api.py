"""A SPIFFE Workload API over a Unix socket (or TCP), written from the published workload.proto.

It does not test attestation: a real server finds out which process is calling and what that process is
entitled to; this one gives everybody what the test told it to give. What it does hold callers to is the
security header, and its messages are encoded here, octet by octet, so that a wrong field number in
gatepass's own description of them shows.
"""

import asyncio
import datetime as dt
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm

X509 = "FetchX509SVID"
JWT = "FetchJWTBundles"
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)  # certificates minted here are valid from this moment
_NAME = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "world")])

Said = bytes | grpc.StatusCode


# The wire (protobuf encoding): varints, and fields with a length.


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _item(number: int, octets: bytes) -> bytes:
    """One field of wire type 2; an item of a repeated field is written even where it is empty."""
    return _varint(number << 3 | 2) + _varint(len(octets)) + octets


def _single(number: int, value: bytes | str) -> bytes:
    """A field that is not repeated: as in proto3 it is not written where it is empty."""
    octets = value.encode() if isinstance(value, str) else value
    return _item(number, octets) if octets else b""


def _map_of(number: int, entries: Mapping[str, bytes]) -> bytes:
    return b"".join(_item(number, _single(1, key) + _single(2, value)) for key, value in entries.items())


@dataclass(frozen=True)
class Minted:
    """One ``X509SVID``: what a server issues to a workload."""

    spiffe_id: str
    x509_svid: bytes
    x509_svid_key: bytes
    bundle: bytes
    hint: str = ""

    @property
    def message(self) -> bytes:
        values = (self.spiffe_id, self.x509_svid, self.x509_svid_key, self.bundle, self.hint)
        return b"".join(_single(number, value) for number, value in enumerate(values, start=1))


def x509_response(
    svids: Sequence[Minted], crl: Sequence[bytes] = (), federated: Mapping[str, bytes] | None = None
) -> bytes:
    """One ``X509SVIDResponse``."""
    listed = [_item(1, svid.message) for svid in svids] + [_item(2, one) for one in crl]
    return b"".join(listed) + _map_of(3, federated or {})


def jwt_response(bundles: Mapping[str, bytes]) -> bytes:
    """One ``JWTBundlesResponse``."""
    return _map_of(1, bundles)


# What it issues.


@dataclass
class TrustDomain:
    """A trust domain with an authority for X.509 and keys for JWTs, by key id."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    jwt_keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)

    def __post_init__(self) -> None:
        extension = x509.BasicConstraints(ca=True, path_length=None)
        builder = _builder(self.key.public_key(), dt.timedelta(days=365))
        self.authority = builder.add_extension(extension, critical=True).sign(self.key, hashes.SHA256())

    @property
    def id(self) -> str:
        return f"spiffe://{self.name}"

    @property
    def bundle(self) -> bytes:
        return self.authority.public_bytes(Encoding.DER)

    def jwks(self, **marks: str) -> bytes:
        """The JWK set, by default without ``use``, as SPIRE sends it."""
        listed = [
            {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, **marks}
            for key_id, key in self.jwt_keys.items()
        ]
        return json.dumps({"keys": listed}).encode()

    def add_jwt_key(self, key_id: str) -> None:
        self.jwt_keys[key_id] = ec.generate_private_key(ec.SECP256R1())

    def svid(
        self,
        path: str,
        *,
        lives: dt.timedelta = dt.timedelta(hours=1),
        uris: Sequence[str] | None = None,
        ca: bool = False,
        intermediate: bool = False,
    ) -> Minted:
        """A new X.509-SVID with a new key; ``uris`` other than its name make a bad one."""
        key, signer, chain = ec.generate_private_key(ec.SECP256R1()), self.key, b""
        name = f"{self.id}{path}"
        if intermediate:
            between = ec.generate_private_key(ec.SECP256R1())
            constraints = x509.BasicConstraints(ca=True, path_length=0)
            builder = _builder(between.public_key(), lives).add_extension(constraints, critical=True)
            chain, signer = builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER), between
        builder = _builder(key.public_key(), lives)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        named = [x509.UniformResourceIdentifier(uri) for uri in ([name] if uris is None else uris)]
        if named:
            builder = builder.add_extension(x509.SubjectAlternativeName(named), critical=False)
        leaf = builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)
        secret = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return Minted(name, leaf + chain, secret, self.bundle)

    def crl(self) -> bytes:
        """An empty revocation list."""
        builder = x509.CertificateRevocationListBuilder(_NAME, START, START + dt.timedelta(days=1))
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


def _builder(key: ec.EllipticCurvePublicKey, lives: dt.timedelta) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(_NAME, _NAME, key, x509.random_serial_number(), START, START + lives)


# The server.


class WorkloadApiServer:
    """``say`` what a stream's present state is: a message for everybody, or the status that ends it."""

    def __init__(self, address: str) -> None:
        """``address`` is a gRPC target, such as ``unix:/tmp/x/s``; port 0 of TCP is a free one."""
        self.address = address
        self.calls: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self._said: dict[str, list[Said]] = {X509: [], JWT: []}
        self._changed = asyncio.Condition()

    async def say(self, method: str, said: Said) -> None:
        async with self._changed:
            self._said[method].append(said)
            self._changed.notify_all()

    async def until(self, condition: Callable[[], bool], within: float = 20) -> None:
        """Wait until a condition on ``calls`` and ``ended`` holds.

        :raises TimeoutError: if it does not hold ``within`` seconds.
        """
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(condition)

    async def start(self) -> None:
        handlers = {
            method: grpc.unary_stream_rpc_method_handler(partial(self._serve, method))
            for method in (X509, JWT)
        }
        self._server = grpc.aio.server()
        generic = grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", handlers)
        self._server.add_generic_rpc_handlers((generic,))
        self.port = self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        """Die: open streams are cut."""
        await self._server.stop(None)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _serve(
        self,
        method: str,
        request: bytes,
        context: grpc.aio.ServicerContext[bytes, bytes],
    ) -> AsyncIterator[bytes]:
        async with self._changed:
            self.calls[method] += 1
            self._changed.notify_all()
        try:
            if ("workload.spiffe.io", "true") not in (context.invocation_metadata() or ()):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
            said = self._said[method]
            seen = max(len(said) - 1, 0)  # a new stream begins with the present state
            while True:
                state, seen = await self._after(said, seen), seen + 1
                if state is grpc.StatusCode.OK:
                    return
                if isinstance(state, grpc.StatusCode):
                    await context.abort(state, "as the test said")
                else:
                    yield state
        finally:
            async with self._changed:
                self.ended[method] += 1
                self._changed.notify_all()

    async def _after(self, said: list[Said], seen: int) -> Said:
        async with self._changed:
            await self._changed.wait_for(lambda: len(said) > seen)
        return said[seen]
