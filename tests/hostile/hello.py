"""A ClientHello, octet by octet (RFC 8446, 4.1.2): what no TLS library would send."""

TLS10, TLS11, TLS12, TLS13 = 0x0301, 0x0302, 0x0303, 0x0304
MODERN = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F)
EXPORT = (0x0003, 0x0006, 0x0008)  # RSA_EXPORT with RC4_40, RC2_40 and DES40


def vector(data: bytes, octets: int) -> bytes:
    return len(data).to_bytes(octets, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(data, 2)


def sni(name: bytes) -> bytes:
    return extension(0, vector(b"\x00" + vector(name, 2), 2))


def early_data() -> bytes:
    return extension(42, b"")


def ech() -> bytes:
    """Encrypted ClientHello, outer form, as a client sends it that read a made-up HTTPS record."""
    return extension(
        0xFE0D, b"\x00" + b"\x00\x01\x00\x01" + b"\x07" + vector(bytes(32), 2) + vector(bytes(160), 2)
    )


def handshake(
    *extensions: bytes,
    version: int = TLS12,
    versions: tuple[int, ...] = (),
    ciphers: tuple[int, ...] = MODERN,
) -> bytes:
    """The handshake message; ``versions`` is the extension that offers TLS 1.3, left out if empty."""
    more = [*extensions]
    if versions:
        more.append(extension(43, vector(b"".join(each.to_bytes(2, "big") for each in versions), 1)))
        more.append(extension(51, vector(b"\x00\x1d" + vector(b"\x09" + bytes(31), 2), 2)))
    more.append(extension(10, vector(b"\x00\x1d\x00\x17", 2)))
    more.append(extension(13, vector(b"\x04\x03\x08\x04\x04\x01\x02\x01", 2)))
    suites = b"".join(each.to_bytes(2, "big") for each in ciphers)
    body = (
        version.to_bytes(2, "big")
        + bytes(range(32))
        + vector(b"", 1)
        + vector(suites, 2)
        + vector(b"\x00", 1)
    )
    return b"\x01" + vector(body + vector(b"".join(more), 2), 3)


def records(message: bytes, size: int = 1 << 14) -> bytes:
    """The message in handshake records of at most ``size`` octets."""
    pieces = (message[start : start + size] for start in range(0, len(message), size))
    return b"".join(b"\x16\x03\x01" + vector(piece, 2) for piece in pieces)
