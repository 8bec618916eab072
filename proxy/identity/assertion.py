"""Identity that somebody else vouches for; JWTs of OpenID Connect issuers (RFC 7519, RFC 8725, RFC 9068).

``SignedAssertion`` is the proof: only the verifiers here and in ``svid`` can make one. They are pure and
have no keys of their own; a key that they miss is a value (``KeysWanted``): fetch it and ask again.

Not checked here: whether issuer, key or token were revoked, and which agent the subject is. That is
``attribution``. A header that carries or points to a key (``jwk``, ``jku``, ``x5c``, ``x5u``) is not read.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from types import MappingProxyType
from typing import TypeGuard, final

from proxy.errors import Code, Refusal
from proxy.identity.act import actors, is_name
from proxy.identity.claims import MAX_NAME
from proxy.identity.compact import Compact, parse, verifies
from proxy.identity.keyset import KeySet, VerifyingKey
from proxy.identity.principal import Actor, Evidence, Method

SKEW_S = 60
UNSIGNED = "the token was not signed by a key that its issuer publishes"  # whatever part of it is wrong
_TYPES = frozenset({"jwt", "at+jwt"})  # RFC 7519, section 5.1; RFC 9068, section 2.1
_SEAL = object()  # for the verifiers here and in svid, and for nobody else


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer as configured. A token names ``url`` byte for byte and at least one of ``audiences``.

    ``name`` is what rules and logs call it; ``max_lifetime`` is in seconds, from ``iat`` to ``exp``.
    """

    name: str
    url: str
    audiences: tuple[str, ...]
    algorithms: frozenset[str]
    max_lifetime: int


@final
@dataclass(frozen=True, slots=True)
class SignedAssertion:
    """A verified statement of somebody else about who is calling.

    ``issuer`` is a URL or the id of a trust domain (``spiffe://td``), ``issuer_name`` its name in the
    configuration or the trust domain. Times are POSIX seconds; ``not_before`` is 0 if it does not say.

    :raises TypeError: if anything but a verifier tries to make one.
    """

    method: Method
    issuer: str
    issuer_name: str
    subject: str
    claims: Mapping[str, object] = field(repr=False)
    not_before: int
    expires_at: int
    evidence: Evidence
    actors: tuple[Actor, ...]
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a SignedAssertion comes from a verifier alone")


@dataclass(frozen=True, slots=True)
class KeysWanted:
    """The key that would decide is not at hand. ``key_id`` is "" if the token names none."""

    issuer: str
    key_id: str


@dataclass(frozen=True, slots=True)
class Peek:
    """What a token says about itself, unverified; what it does not say is ""."""

    typ: str
    issuer: str
    subject: str
    key_id: str
    algorithm: str
    header_names: frozenset[str]


def peek(token: bytes) -> Peek | Refusal:
    """Look into a token in order to choose who verifies it, and for nothing else."""
    parsed = parse(token)
    if isinstance(parsed, str):
        return invalid(parsed)
    typ, issuer, subject = (
        parsed.header.get("typ", ""),
        parsed.claims.get("iss", ""),
        parsed.claims.get("sub", ""),
    )
    if not isinstance(typ, str) or not isinstance(issuer, str) or not isinstance(subject, str):
        return invalid("the token's typ, iss and sub are not all text")
    return Peek(typ, issuer, subject, parsed.key_id, parsed.algorithm, frozenset(parsed.header))


def verify_oidc(
    token: bytes, issuer: Issuer, keys: KeySet | None, now: int
) -> SignedAssertion | Refusal | KeysWanted:
    """Verify one JWT of ``issuer``; ``keys`` None: they are not known yet. ``now`` is POSIX seconds.

    1. form and header, 2. issuer, byte for byte, 3. algorithm, key and signature, 4. audience,
    5. subject and actors, 6. times. Until (3) has held, all that an answer tells is what it asks for.
    """
    # (1): nothing in the header may change what the signature means
    parsed = parse(token)
    flaw = parsed if isinstance(parsed, str) else _header_flaw(parsed.header)
    if isinstance(parsed, str) or flaw:
        return invalid(flaw)
    # (2): no normalisation of case, slash, port or percent
    if parsed.claims.get("iss") != issuer.url:
        return invalid(f"the token was not issued by exactly {issuer.url}")
    # (3): the configuration says which algorithms, and the key says which of those are its own
    evidence = prove(token, parsed, Method.OIDC, issuer.url, issuer.algorithms, keys)
    if not isinstance(evidence, Evidence):
        return evidence
    # (4): a token for somebody else is a stolen token
    if not set(issuer.audiences).intersection(audiences_of(parsed.claims)):
        return invalid("the token's audience is not one of: " + ", ".join(issuer.audiences))
    # (5), (6): someone, with a lifetime that is stated and short enough, and now
    subject = parsed.claims.get("sub")
    if not is_name(subject):
        return invalid("the token has no sub, or one that names no one")
    window = window_of(parsed.claims, issuer.max_lifetime)
    if isinstance(window, Refusal):
        return window
    chain = actors(parsed.claims)
    if chain is None:
        return invalid("the token's act claim is malformed or nested too deep")
    return outside(*window, now) or SignedAssertion(
        Method.OIDC,
        issuer.url,
        issuer.name,
        subject,
        MappingProxyType(dict(parsed.claims)),
        *window,
        evidence,
        chain,
        seal=_SEAL,
    )


def _header_flaw(header: Mapping[str, object]) -> str:
    """What is wrong with the header, or ""."""
    if "crit" in header or header.get("b64", True) is not True:
        return "the token's header demands an extension; none is understood"
    typ = header.get("typ", "JWT")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in _TYPES:
        return "the token's typ is neither JWT nor at+jwt"
    return ""


def out_of_time(assertion: SignedAssertion, now: int) -> Refusal | None:
    """Why the assertion does not hold at ``now``, or None if it does."""
    return outside(assertion.not_before, assertion.expires_at, now)


def outside(not_before: int, expires_at: int, now: int) -> Refusal | None:
    """Why ``now`` is not between the two, give or take ``SKEW_S``; or None if it is."""
    if not_before > now + SKEW_S:
        return invalid("the proof of identity is not valid yet; compare the clocks")
    if expires_at + SKEW_S <= now:
        return Refusal(Code.IDENTITY_EXPIRED, "the proof of identity has expired")
    return None


def prove(
    token: bytes,
    parsed: Compact,
    method: Method,
    issuer: str,
    algorithms: frozenset[str],
    keys: KeySet | None,
) -> Evidence | Refusal | KeysWanted:
    """The evidence that ``issuer`` signed this token with one of ``algorithms`` and one of ``keys``."""
    if parsed.algorithm not in algorithms:
        return invalid("the token's algorithm is not one of: " + ", ".join(sorted(algorithms)))
    if keys is None or not keys.keys:
        return KeysWanted(issuer, parsed.key_id)
    if not parsed.key_id and len(keys.keys) > 1:  # OpenID Connect Core, section 10.1
        return invalid("the token names no key, and its issuer has several")
    key = _key(keys, parsed.key_id)
    if key is None:
        return KeysWanted(issuer, parsed.key_id)
    if not verifies(key, parsed):
        return invalid(UNSIGNED)
    token_id = parsed.claims.get("jti", "")
    if not isinstance(token_id, str) or len(token_id) > MAX_NAME or not token_id.isprintable():
        return invalid("the token's jti is not an id")
    digest = hashlib.sha256(token.rpartition(b".")[0]).hexdigest()  # see Evidence
    return Evidence(method, issuer, key.key_id, token_id, digest, keys.sha256)


def _key(keys: KeySet, key_id: str) -> VerifyingKey | None:
    return keys.keys.get(key_id) if key_id else next(iter(keys.keys.values()))


def audiences_of(claims: Mapping[str, object]) -> tuple[str, ...]:
    """Whom a token is for (RFC 7519, section 4.1.3); no one, if ``aud`` is absent or malformed."""
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    texts = tuple(text for text in listed if isinstance(text, str) and text)
    return texts if len(texts) == len(listed) else ()


def window_of(claims: Mapping[str, object], max_lifetime: int) -> tuple[int, int] | Refusal:
    """From when until when a token holds, by ``iat``, ``nbf`` and ``exp``: POSIX seconds, whole ones."""
    issued_at, expires_at = claims.get("iat"), claims.get("exp")
    not_before = claims.get("nbf", issued_at)
    if not is_time(issued_at) or not is_time(expires_at) or not is_time(not_before):
        return invalid("the token's iat, exp and nbf are not all whole seconds, or iat or exp is missing")
    if not 0 < expires_at - issued_at <= max_lifetime:
        return invalid(f"the token's lifetime is not between 1 and {max_lifetime} seconds")
    return max(issued_at, not_before), expires_at


def is_time(value: object) -> TypeGuard[int]:
    """Whether ``value`` is a NumericDate in whole seconds (RFC 7519, section 2)."""
    # bool is an int in Python, and a float would compare; neither is a time that two readers agree on.
    return type(value) is int and value >= 0


def invalid(detail: str) -> Refusal:
    """The refusal of a proof that does not hold; ``detail`` quotes nothing of it."""
    return Refusal(Code.IDENTITY_INVALID, detail)
