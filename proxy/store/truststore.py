"""A trust store for Java: PKCS #12 (RFC 7292) with Oracle's attribute that marks a certificate as trusted.

Java reads no PEM bundle. Where the installed ``cryptography`` cannot write the attribute (it came with
release 45) there is no trust store, and Java has to be shown the certificate by hand.
"""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.utils import CryptographyDeprecationWarning

from proxy.store.private_file import publish

PASSWORD = "changeit"  # noqa: S105 - Java's own default: the store is public, and Java wants some word
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s.+?-----END CERTIFICATE-----", re.DOTALL)


def java_truststore(bundle: Path) -> Path | None:
    """Write the certificates of a PEM bundle next to it, unless that is done; None if it cannot be done.

    :raises KeyringError: if the file cannot be written. :raises OSError: if the bundle cannot be read.
    """
    serialize = getattr(pkcs12, "serialize_java_truststore", None)
    if serialize is None:
        return None
    path = bundle.with_suffix(".p12")
    # Its salt makes every store differ, so age tells whether it is the bundle's.
    if path.is_file() and path.stat().st_mtime_ns >= bundle.stat().st_mtime_ns:
        return path
    entries = [
        pkcs12.PKCS12Certificate(certificate, f"root-{number}".encode())
        for number, certificate in enumerate(_certificates(bundle.read_bytes()))
    ]
    if not entries:
        return None
    publish(path, serialize(entries, BestAvailableEncryption(PASSWORD.encode())))
    return path


def _certificates(bundle: bytes) -> Iterator[x509.Certificate]:
    with warnings.catch_warnings():
        # Some of the system's roots break RFC 5280 in ways that Java does not mind.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for pem in _PEM.findall(bundle):
            try:
                yield x509.load_pem_x509_certificate(pem)
            except ValueError:  # a root that cannot be read is one less to be trusted
                continue
