"""The way to a SPIFFE Workload Endpoint (SPIFFE Workload Endpoint, 2 to 6): gRPC without TLS, on this host.

Decided: ``grpc.aio`` on the sidecar's own loop, imported when a channel is opened, because most sidecars
never ask; instead of the package ``spiffe`` and its threads. No other file imports gRPC, and no exception
of it leaves this one.
"""

import ipaddress
import re
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from proxy.broker.workload_proto import EMPTY_REQUEST, METADATA, WorkloadApiMissing

MAX_MESSAGE = 4 * 2**20  # octets; gRPC's own default, stated
_MAX_UNIX_PATH = 107  # octets that fit into sockaddr_un (unix(7))
_MAX_WORDS = 200
_PATH = re.compile(r"/[^\s%?#]*[^\s%?#/]")  # what gRPC would decode or cut off is no path of ours
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_MAX_PORT = 65_535
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.enable_http_proxy", 0),  # the sidecar may run where http_proxy names itself
    ("grpc.default_authority", "localhost"),  # else a socket's path, which other implementations refuse
    # A pause between attempts is our caller's business, so gRPC's own must be shorter than any of those,
    # and not shared with another channel of the process.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)


class Ending(Enum):
    """What the end of a stream asks of us (SPIFFE Workload Endpoint, 6)."""

    DENIED = auto()  # PERMISSION_DENIED
    INVALID = auto()  # INVALID_ARGUMENT
    AWAY = auto()  # every other status, OK as well


class End(NamedTuple):
    """How a stream ended; ``words`` are for people, partly the server's."""

    ending: Ending
    words: str


def target_of(address: str) -> str:
    """The gRPC target of a Workload Endpoint's address (``SPIFFE_ENDPOINT_SOCKET``).

    TCP is for this host alone: private keys travel in the clear.

    :raises ValueError: if it is neither ``unix:///absolute/path`` nor ``tcp://loopback-address:port``.
    """
    scheme, separator, rest = address.partition("://")
    if scheme == "unix" and separator:
        if not _PATH.fullmatch(rest) or len(rest.encode()) > _MAX_UNIX_PATH:
            raise ValueError(
                f"{address!r}: the Workload API's socket is unix:///absolute/path, "
                f"{_MAX_UNIX_PATH} octets at most, without spaces, %, ? and #"
            )
        return f"unix:{rest}"
    if scheme == "tcp" and separator:
        host, _, port = rest.rpartition(":")
        version = _loopback_version(host)
        if version is None or not _PORT.fullmatch(port) or int(port) > _MAX_PORT:
            raise ValueError(
                f"{address!r}: the Workload API over TCP is tcp://127.0.0.1:port or tcp://[::1]:port"
            )
        return f"ipv{version}:{rest}"
    raise ValueError(f"{address!r}: the Workload API is at unix:///absolute/path or tcp://127.0.0.1:port")


def _loopback_version(host: str) -> int | None:
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return None
    version: int = address.version
    return version if address.is_loopback and bracketed == (version == 6) else None  # noqa: PLR2004 - IPv6


class WorkloadChannel:
    """A connection to the Workload Endpoint, made when the first stream needs it and again after a loss."""

    def __init__(self, target: str) -> None:
        """``target`` is of ``target_of``. Needs a running event loop.

        :raises WorkloadApiMissing: without the extra.
        """
        try:
            import grpc.aio  # noqa: PLC0415 - the extra
        except ImportError as error:
            raise WorkloadApiMissing from error
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self._rpc_error = grpc.aio.AioRpcError
        self._endings = {
            grpc.StatusCode.PERMISSION_DENIED: Ending.DENIED,
            grpc.StatusCode.INVALID_ARGUMENT: Ending.INVALID,
        }

    async def listen(self, method: str, hear: Callable[[bytes], None]) -> End:
        """Call ``method`` and hand over every message of its stream, until it ends."""
        stream = self._channel.unary_stream(method, request_serializer=bytes, response_deserializer=bytes)
        call = stream(EMPTY_REQUEST, metadata=METADATA)
        try:
            async for message in call:
                hear(message)
        except self._rpc_error as error:
            code = error.code()
            return End(self._endings.get(code, Ending.AWAY), f"{code.name}: {_printable(error.details())}")
        finally:
            call.cancel()  # if hear raised; not whenever the garbage is collected
        return End(Ending.AWAY, "the server ended the stream")

    async def close(self) -> None:
        """Let go of the connection."""
        await self._channel.close()


def _printable(words: str | None) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in (words or "")[:_MAX_WORDS])
