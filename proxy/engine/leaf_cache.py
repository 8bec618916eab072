"""TLS contexts for intercepted hosts: one per host, made from a minted leaf, kept while it is fresh.

TLS 1.2 or newer (RFC 9325), ALPN ``http/1.1`` alone (RFC 7301), no renegotiation, no compression, no
resumption: a resumed session would save one P-256 signature and cost one more secret in memory.

OpenSSL, as Python wraps it, loads keys from paths only. The path given to it names an anonymous file
in memory where the system has them; elsewhere the caller lends a private file (``spill``).
"""

import os
import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from proxy.engine.leaf import Leaf, Mint
from proxy.errors import Refusal

Spill = Callable[[bytes], AbstractContextManager[str]]

CAPACITY = 256  # hosts
REMINT_BEFORE = timedelta(hours=6)  # connections opened now must not meet the end of the leaf
# Forward secrecy and authenticated encryption; the leaves have ECDSA keys in any case.
_TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class _Entry(NamedTuple):
    context: ssl.SSLContext
    fresh_from: datetime
    fresh_until: datetime


class LeafCache:
    """Server-side TLS contexts by host.

    ``now`` gives aware times, ``serial`` certificate serial numbers. Used from one thread.
    """

    def __init__(
        self,
        mint: Mint,
        *,
        now: Callable[[], datetime],
        serial: Callable[[], int],
        spill: Spill,
        capacity: int = CAPACITY,
    ) -> None:
        self._mint = mint
        self._now = now
        self._serial = serial
        self._spill = spill
        self._capacity = capacity
        self._anonymous = anonymous_files()
        self._entries: OrderedDict[tuple[str, bool], _Entry] = OrderedDict()

    def context(self, name: str, is_ip: bool) -> ssl.SSLContext | Refusal:  # noqa: FBT001 - it belongs to the name
        """The context to answer as ``name`` with, or the mint's refusal to sign for it."""
        now = self._now()
        entry = self._entries.get((name, is_ip))
        # A clock that was set back makes a leaf not valid yet, which is as bad as expired.
        if entry is not None and entry.fresh_from <= now < entry.fresh_until:
            self._entries.move_to_end((name, is_ip))
            return entry.context
        leaf = self._mint.leaf(name, is_ip, now=now, serial=self._serial())
        if isinstance(leaf, Refusal):
            return leaf
        context = server_context(leaf, self._spill, anonymous=self._anonymous)
        self._entries[name, is_ip] = _Entry(context, leaf.not_before, leaf.not_after - REMINT_BEFORE)
        self._entries.move_to_end((name, is_ip))
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
        return context

    def __len__(self) -> int:
        return len(self._entries)


def server_context(leaf: Leaf, spill: Spill, *, anonymous: bool) -> ssl.SSLContext:
    """A server-side context that answers with ``leaf``; ``anonymous``: load it from memory, else spill."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_ciphers(_TLS12_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    pem = leaf.key_pem + leaf.cert_chain_pem
    with lent(pem, spill, anonymous=anonymous) as path:
        context.load_cert_chain(path)
    return context


def anonymous_files() -> bool:
    """Whether this system has files in memory that can be opened by a path (Linux with /proc)."""
    return hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()


def lent(data: bytes, spill: Spill, *, anonymous: bool) -> AbstractContextManager[str]:
    """The path of a file that holds ``data`` for as long as it is needed."""
    return _anonymous(data) if anonymous else spill(data)


@contextmanager
def _anonymous(data: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("leaf", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
