"""The TLS layer of one wire, without a socket: OpenSSL between two memory BIOs (RFC 8446, RFC 5246).

The engine owns this layer because it must see the ClientHello before it answers, must half-close under
TLS, and must know whether a peer said good-bye (close_notify) or vanished.
"""

import ssl

_RECORD = 64 * 1024


class Broken(Exception):
    """A record did not decrypt, or the peer ended without close_notify. ``data`` came soundly before."""

    def __init__(self, data: bytes) -> None:
        super().__init__("truncated")
        self.data = data


class Tls:
    """Server side, or with ``server_name`` client side, of one TLS connection. ``first`` was read already."""

    __slots__ = ("_incoming", "_outgoing", "ended", "handshaking", "session")

    def __init__(self, context: ssl.SSLContext, first: bytes, server_name: str | None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._incoming.write(first)
        self.session = context.wrap_bio(self._incoming, self._outgoing, server_name is None, server_name)
        self.handshaking = True
        self.ended = False  # the peer said close_notify

    def feed(self, data: bytes) -> None:
        """Octets that arrived."""
        self._incoming.write(data)

    def feed_end(self) -> None:
        """The peer's direction of the TCP connection has ended."""
        self._incoming.write_eof()

    def advance(self) -> bool:
        """Go on with the handshake; True once it is complete.

        :raises ssl.SSLError: it failed; ``output`` holds the alert that tells the peer why.
        """
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.handshaking = False
        return True

    def decrypt(self) -> bytes:
        """The plain text of every record that is complete; ``ended`` is set at close_notify.

        :raises Broken: see there.
        """
        parts: list[bytes] = []
        try:
            while self._incoming.pending or self._incoming.eof:
                data = self.session.read(_RECORD)
                if not data:
                    self.ended = True
                    break
                parts.append(data)
        except ssl.SSLWantReadError:
            pass  # the last record is not complete yet
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError:
            raise Broken(b"".join(parts)) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def encrypt(self, data: bytes) -> bytes:
        """The records that carry ``data``.

        :raises ssl.SSLError: the connection takes no more.
        """
        self.session.write(data)
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """Our close_notify; the other direction stays open."""
        try:
            self.session.unwrap()
        except (ssl.SSLError, ValueError):
            # SSLError: the peer has not said its own good-bye (yet); ours is in the BIO all the same.
            # ValueError: the handshake never finished, so there is nobody to say it to.
            return self._outgoing.read()
        return self._outgoing.read()

    def output(self) -> bytes:
        """Octets that TLS itself wants to send: handshake, alerts, key updates."""
        return self._outgoing.read() if self._outgoing.pending else b""
