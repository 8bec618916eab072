"""SPIFFE identities: JWT-SVID (sections 2 to 4) and the leaf of an X509-SVID (sections 2 to 5).

A JWT-SVID is verified here from end to end. Of a certificate only the leaf is judged: that its chain
leads to an authority of its own trust domain's bundle, that it is in time for TLS and that the client
holds its key is what the TLS handshake has shown (``arrival.Certificate`` says so).

Not checked here: whether the trust domain, the key or the certificate was revoked by an operator's order.
"""

import hashlib
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from proxy.errors import Refusal
from proxy.identity import spiffe
from proxy.identity.act import actors
from proxy.identity.arrival import Certificate
from proxy.identity.assertion import (
    _SEAL,
    KeysWanted,
    SignedAssertion,
    audiences_of,
    invalid,
    is_time,
    outside,
    prove,
    window_of,
)
from proxy.identity.compact import parse
from proxy.identity.keyset import KeySet
from proxy.identity.principal import Evidence, Method

MAX_SVID_S = 24 * 3600
_HEADER = frozenset({"alg", "kid", "typ"})
_TYPES = ("JWT", "JOSE")
_ALGORITHMS = frozenset(kind + size for kind in ("RS", "ES", "PS") for size in ("256", "384", "512"))
_PURPOSES = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def trust_domain_of(spiffe_id: str) -> str:
    """The id (``spiffe://td``) of the trust domain of a workload's SPIFFE ID; "" if it is not one."""
    if spiffe.flaw(spiffe_id):
        return ""
    return _domain_id(spiffe_id.removeprefix(spiffe.SCHEME).partition("/")[0])


def _domain_id(trust_domain: str) -> str:
    """The id of a trust domain by its id or its name; settings have names, bundles have ids."""
    return spiffe.SCHEME + trust_domain.removeprefix(spiffe.SCHEME)


def verify_jwt_svid(
    token: bytes, trust_domain: str, keys: KeySet | None, audience: str, now: int
) -> SignedAssertion | Refusal | KeysWanted:
    """Verify one JWT-SVID of ``trust_domain`` (its id or name) for ``audience``. ``now`` is POSIX seconds.

    1. form and header, 2. the subject is of this trust domain, 3. algorithm, key and signature,
    4. audience, 5. times and actors. ``keys`` are those of this trust domain's own bundle.
    """
    # (1): the header says alg, kid and typ; anything else "MUST NOT be included" (section 2)
    parsed = parse(token)
    if isinstance(parsed, str):
        return invalid(parsed)
    if not parsed.header.keys() <= _HEADER or parsed.header.get("typ", "JWT") not in _TYPES:
        return invalid("the header of a JWT-SVID has alg, kid and typ (JWT or JOSE) and nothing else")
    # (2): or a trust domain could speak for another
    subject, issuer = parsed.claims.get("sub"), _domain_id(trust_domain)
    if not isinstance(subject, str) or trust_domain_of(subject) != issuer:
        return invalid(f"the token's sub is not the SPIFFE ID of a workload of {issuer}")
    # (3): by the bundle alone; the list of the specification has neither EdDSA nor shared secrets
    evidence = prove(token, parsed, Method.JWT_SVID, issuer, _ALGORITHMS, keys)
    if not isinstance(evidence, Evidence):
        return evidence
    # (4): whoever else a token is for could present it here as its own (section 6.2)
    if audiences_of(parsed.claims) != (audience,):
        return invalid(f"the token's audience is not {audience} and nothing else")
    # (5): it expires soon
    window = _window(parsed.claims, now)
    if isinstance(window, Refusal):
        return window
    chain = actors(parsed.claims)
    if chain is None:
        return invalid("the token's act claim is malformed or nested too deep")
    return outside(*window, now) or SignedAssertion(
        Method.JWT_SVID,
        issuer,
        issuer.removeprefix(spiffe.SCHEME),
        subject,
        MappingProxyType(dict(parsed.claims)),
        *window,
        evidence,
        chain,
        seal=_SEAL,
    )


def _window(claims: Mapping[str, object], now: int) -> tuple[int, int] | Refusal:
    """From when until when a JWT-SVID holds. ``iat`` is optional: without, what is left must be short."""
    if "iat" in claims:
        return window_of(claims, MAX_SVID_S)
    expires_at, not_before = claims.get("exp"), claims.get("nbf", 0)
    if not is_time(expires_at) or not is_time(not_before):
        return invalid("the token's exp and nbf are not whole seconds, or exp is missing")
    if expires_at > now + MAX_SVID_S:
        return invalid(
            f"the token holds for more than {MAX_SVID_S} seconds; those with iat may not live longer"
        )
    return not_before, expires_at


def verify_certificate(certificate: Certificate, now: int, max_life_s: int) -> SignedAssertion | Refusal:
    """Judge the leaf of a client's chain, which TLS has validated against the trust domain's bundle.

    1. it can be read, 2. it is a leaf and may authenticate a client, 3. it names one workload of this
    trust domain, 4. it is in time, and short-lived (``max_life_s`` seconds) unless a CRL was consulted.
    """
    # (1): whatever the handshake let through
    try:
        leaf = x509.load_der_x509_certificate(certificate.der)
        extensions, is_anonymous = leaf.extensions, not list(leaf.subject)
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return invalid("the client's certificate cannot be read")
    if (
        leaf.serial_number < 1
    ):  # RFC 5280, section 4.1.2.2; newer versions of cryptography do not read it either
        return invalid("the client's certificate has a serial number that is not positive")
    # (2): a signing certificate never authenticates (section 3.2)
    flaw = _usage_flaw(extensions)
    if flaw:
        return invalid(flaw)
    # (3): or a trust domain could speak for another
    name = _workload(extensions, is_anonymous=is_anonymous)
    issuer = _domain_id(certificate.trust_domain)
    if name is None or trust_domain_of(name) != issuer:
        return invalid(f"the client's certificate does not name exactly one workload of {issuer}")
    # (4): without a CRL, a short life is what ends a certificate that was given away
    window = int(leaf.not_valid_before_utc.timestamp()), int(leaf.not_valid_after_utc.timestamp())
    if not certificate.crl and window[1] - window[0] > max_life_s:
        return invalid(
            f"the client's certificate lives for more than {max_life_s} seconds, and there is no CRL"
        )
    authority = _find(extensions, x509.AuthorityKeyIdentifier)
    key_id = (authority.value.key_identifier or b"").hex() if authority else ""
    digest = hashlib.sha256(certificate.der).hexdigest()
    return outside(*window, now) or SignedAssertion(
        Method.X509_SVID,
        issuer,
        issuer.removeprefix(spiffe.SCHEME),
        name,
        MappingProxyType({}),
        *window,
        Evidence(Method.X509_SVID, issuer, key_id, f"{leaf.serial_number:x}", digest),
        (),
        seal=_SEAL,
    )


def still_believed(certificate: Certificate, authorities: Collection[bytes]) -> bool:
    """Whether a chain that was verified some time ago leads to one of ``authorities`` (DER) today.

    It does if none has gone of those that were believed then, or if one of today's has signed the leaf. Of
    intermediates nothing is known here any more: once an authority has gone, their clients connect again.
    """
    then = set(certificate.authorities)
    if then and then <= set(authorities):
        return True
    return any(_signed(certificate.der, authority) for authority in authorities)


def _signed(leaf: bytes, authority: bytes) -> bool:
    try:
        issuer = x509.load_der_x509_certificate(authority)
        x509.load_der_x509_certificate(leaf).verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _usage_flaw(extensions: x509.Extensions) -> str:
    """Why a certificate may not authenticate a client (sections 4.1, 4.3, 4.4), or ""."""
    constraints = _find(extensions, x509.BasicConstraints)
    usage = _find(extensions, x509.KeyUsage)
    purposes = _find(extensions, x509.ExtendedKeyUsage)
    if constraints and constraints.value.ca:
        return "the client's certificate is a certificate authority's"
    if usage is None or not usage.critical or not usage.value.digital_signature:
        return "the client's certificate has no critical key usage with digitalSignature"
    if usage.value.key_cert_sign or usage.value.crl_sign:
        return "the client's certificate may sign certificates or CRLs"
    if purposes and not set(_PURPOSES) <= set(purposes.value):
        return "the client's certificate has an extended key usage without clientAuth and serverAuth"
    return ""


def _workload(extensions: x509.Extensions, *, is_anonymous: bool) -> str | None:
    """The one URI among the names of a certificate; critical, if it has no subject (RFC 5280, 4.1.2.6)."""
    names = _find(extensions, x509.SubjectAlternativeName)
    if names is None or (is_anonymous and not names.critical):
        return None
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if len(uris) == 1 else None


def _find(extensions: x509.Extensions, kind: type[_Extension]) -> x509.Extension[_Extension] | None:
    try:
        return extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None
