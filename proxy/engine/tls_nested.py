"""TLS inside TLS (RFC 8446 twice): the handshake inside CONNECT on a connection that is under TLS already.

What the inner layer sends is plain text to the outer one, and the other way round. The inner layer's end
is its own close_notify; an outer layer that ends without one is truncation only if the inner one had
not ended by then.
"""

import ssl

from proxy.engine.tls import Broken, Tls


class Nested(Tls):
    """The inner layer; ``under`` is the outer one, whose handshake is complete. ``first`` as in ``Tls``."""

    __slots__ = ("_lost", "_under")

    def __init__(self, under: Tls, context: ssl.SSLContext, first: bytes, server_name: str | None) -> None:
        super().__init__(context, first, server_name)
        self._under = under
        self._lost = False  # nothing more comes from below

    def feed(self, data: bytes) -> None:
        """Octets that arrived, of the outer layer's records."""
        self._under.feed(data)
        self._rise()

    def feed_end(self) -> None:
        """The peer's direction of the TCP connection has ended."""
        self._under.feed_end()
        self._rise()

    def encrypt(self, data: bytes) -> bytes:
        """The outer records that carry the inner records that carry ``data``.

        :raises ssl.SSLError: the connection takes no more.
        """
        return self._under.encrypt(super().encrypt(data))

    def goodbye(self) -> bytes:
        """Both layers' close_notify, the inner one first; the other direction stays open."""
        inner = self._sink(super().goodbye())
        return inner + self._under.goodbye()

    def output(self) -> bytes:
        """Octets that either layer itself wants to send."""
        inner = self._sink(super().output())
        return inner + self._under.output()

    def _rise(self) -> None:
        """Hand what the outer layer has opened to the inner one."""
        if self._lost:
            return
        try:
            data = self._under.decrypt()
            self._lost = self._under.ended
        except Broken as broken:
            data, self._lost = broken.data, True
        if data:
            super().feed(data)
        if self._lost:
            super().feed_end()

    def _sink(self, inner: bytes) -> bytes:
        """The outer records that carry what the inner layer says of itself, unless the outer has ended."""
        if not inner:
            return b""
        try:
            return self._under.encrypt(inner)
        except ssl.SSLError:
            return b""  # we said good-bye below already, or the peer broke it: there is nobody to tell
