"""Whom a TLS listener believes: path validation of client certificates (RFC 5280, 6; X509-SVID, 5.1).

A certificate is demanded of every client, and must lead to an authority of one trust domain's bundle:
the system's own authorities count for nothing. An intermediate may be the authority. Host names are not
compared, because a client has none; what the leaf says is judged by ``identity.svid``, for each request.
"""

import re
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_LIST = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


class ClientTrust(NamedTuple):
    """``authorities`` in DER; none means that nobody is believed. ``crl``: from ``revocation_lists``."""

    authorities: tuple[bytes, ...]
    crl: bytes | None


def revocation_lists(pem: bytes) -> bytes:
    """The revocation lists of a PEM file, alone: a certificate there would become an authority.

    :raises ValueError: there is none, or one is malformed.
    """
    lists = [x509.load_pem_x509_crl(block) for block in _LIST.findall(pem)]
    if not lists:
        raise ValueError("there is no X509 CRL in it")
    return b"".join(one.public_bytes(Encoding.PEM) for one in lists)


def named_by(lists: bytes) -> Callable[[bytes], bool]:
    """Whether a list of its own issuer names a leaf (DER); ``lists`` are from ``revocation_lists``."""
    parsed = [x509.load_pem_x509_crl(block) for block in _LIST.findall(lists)]

    def is_named(der: bytes) -> bool:
        leaf = x509.load_der_x509_certificate(der)
        serial = leaf.serial_number
        own = (one for one in parsed if one.issuer == leaf.issuer)
        return any(one.get_revoked_certificate_by_serial_number(serial) is not None for one in own)

    return is_named


def demand(
    context: ssl.SSLContext, trust: ClientTrust, lend: Callable[[bytes], AbstractContextManager[str]]
) -> list[str]:
    """Make ``context`` demand a certificate that ``trust`` accepts; say which authorities cannot be used.

    With a revocation list a leaf is refused if the list names it, and also if the list of its issuer is
    missing or out of date. Authorities of one name are told apart by their key ids (RFC 5280, 4.2.1.2),
    which every authority has that follows it. ``lend`` gives the path of a file that holds these octets.
    """
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if trust.crl is not None:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        with lend(trust.crl) as path:
            context.load_verify_locations(cafile=path)
    unusable = []
    for number, authority in enumerate(trust.authorities, 1):
        try:
            context.load_verify_locations(cadata=authority)
        except ssl.SSLError as error:
            unusable.append(f"authority {number} of {len(trust.authorities)}: {error}")
    return unusable
