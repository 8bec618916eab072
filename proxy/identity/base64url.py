"""base64url without padding, in its one canonical spelling (RFC 7515, section 2; RFC 4648, 3.5 and 5)."""

import base64
import re

_ALPHABET = re.compile(rb"[A-Za-z0-9_-]*")


def decode(text: bytes) -> bytes | None:
    """The octets that ``text`` spells, or None: padding, foreign characters and stray bits are refused.

    The last character has bits that no octet uses. Were they ignored, every signature would have several
    spellings, and a token several digests.
    """
    if not _ALPHABET.fullmatch(text) or len(text) % 4 == 1:
        return None
    octets = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    return octets if encode(octets) == text else None


def encode(octets: bytes) -> bytes:
    """The one spelling of ``octets``."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=")
