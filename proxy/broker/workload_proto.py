"""The messages of the SPIFFE Workload API (SPIFFE Workload API, 5.4 and 6.4): bytes to values, nothing else.

Decided: the message classes are built at run time from the published field numbers, because generated
code works with one range of protobuf releases alone, and the package ``spiffe`` needs a ``cryptography``
that mitmproxy on Python 3.11 does not allow. Only what gatepass reads is described; protobuf passes over
the rest.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

SERVICE = "SpiffeWorkloadAPI"  # the published file has no package
FETCH_X509_SVID = f"/{SERVICE}/FetchX509SVID"
FETCH_JWT_BUNDLES = f"/{SERVICE}/FetchJWTBundles"
METADATA = (("workload.spiffe.io", "true"),)  # SPIFFE Workload Endpoint, 3: on every call
EMPTY_REQUEST = b""  # X509SVIDRequest and JWTBundlesRequest have no fields

_LAYOUT = {
    "X509SVID": (
        (1, "spiffe_id", "string"),
        (2, "x509_svid", "bytes"),
        (3, "x509_svid_key", "bytes"),
        (4, "bundle", "bytes"),
    ),
    "X509SVIDResponse": (
        (1, "svids", "repeated X509SVID"),
        (2, "crl", "repeated bytes"),
        (3, "federated_bundles", "map"),
    ),
    "JWTBundlesResponse": ((1, "bundles", "map"),),
}


class WorkloadApiMissing(Exception):
    """gatepass was installed without what it needs to speak to a Workload API."""

    def __init__(self) -> None:
        super().__init__("the SPIFFE Workload API needs gRPC: install gatepass[spiffe]")


class X509SvidMessage(NamedTuple):
    """One ``X509SVID``. Certificates are concatenated DER, the key is PKCS#8 in DER."""

    spiffe_id: str
    x509_svid: bytes
    x509_svid_key: bytes
    bundle: bytes

    def __repr__(self) -> str:
        """Its name alone: the key has no text."""
        return f"X509SvidMessage({self.spiffe_id!r})"


class X509Message(NamedTuple):
    """One ``X509SVIDResponse``; ``federated_bundles`` by the SPIFFE ID of the trust domain."""

    svids: tuple[X509SvidMessage, ...]
    crl: tuple[bytes, ...]
    federated_bundles: Mapping[str, bytes]


def load() -> None:
    """Build the message classes now, which takes milliseconds, rather than with the first message.

    :raises WorkloadApiMissing: without the extra.
    """
    _parsers()


def x509_message(data: bytes) -> X509Message | None:
    """Read one ``X509SVIDResponse``; None if this is none.

    :raises WorkloadApiMissing: without the extra.
    """
    message = _decode("X509SVIDResponse", data)
    if message is None:
        return None
    svids = (X509SvidMessage(m.spiffe_id, m.x509_svid, m.x509_svid_key, m.bundle) for m in message.svids)
    return X509Message(tuple(svids), tuple(message.crl), dict(message.federated_bundles))


def jwt_bundles_message(data: bytes) -> Mapping[str, bytes] | None:
    """Read one ``JWTBundlesResponse``: JWK sets by the SPIFFE ID of the trust domain; None if this is none.

    :raises WorkloadApiMissing: without the extra.
    """
    message = _decode("JWTBundlesResponse", data)
    return None if message is None else dict(message.bundles)


def _decode(name: str, data: bytes) -> Any | None:
    parsers, malformed = _parsers()
    try:
        return parsers[name](data)
    except malformed:
        return None


@cache
def _parsers() -> tuple[Mapping[str, Callable[[bytes], Any]], type[Exception]]:
    """A parser by the name of its message, and what a parser raises."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory  # noqa: PLC0415 - the extra
    except ImportError as error:
        raise WorkloadApiMissing from error

    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": kinds.TYPE_STRING, "bytes": kinds.TYPE_BYTES}
    file = descriptor_pb2.FileDescriptorProto(name="workload.proto", syntax="proto3")
    for name, fields in _LAYOUT.items():
        described = file.message_type.add(name=name)
        for number, field_name, form in fields:
            field = described.field.add(name=field_name, number=number)
            repeated = form == "map" or form.startswith("repeated ")
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            kind = form.removeprefix("repeated ")
            if kind in scalars:
                field.type = scalars[kind]
                continue
            field.type = kinds.TYPE_MESSAGE
            field.type_name = f".{kind}"
            if kind == "map":
                entry = described.nested_type.add(name=f"{field_name.title().replace('_', '')}Entry")
                entry.options.map_entry = True
                for tag, half, scalar in ((1, "key", kinds.TYPE_STRING), (2, "value", kinds.TYPE_BYTES)):
                    entry.field.add(name=half, number=tag, type=scalar, label=kinds.LABEL_OPTIONAL)
                field.type_name = f".{name}.{entry.name}"
    # A pool of its own: another package in this process may have registered a file of the same name.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in _LAYOUT}
    return {name: klass.FromString for name, klass in found.items()}, message.DecodeError
