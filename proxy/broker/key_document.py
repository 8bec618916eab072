"""The document with an issuer's keys, where the issuer says it is (OpenID Connect Discovery 1.0, 4).

* discovery: ``{issuer}/.well-known/openid-configuration`` names the issuer, byte for byte, and its
  ``jwks_uri``, an https URL. Plain http is for an issuer on this machine alone, whose keys are there too;
* or a file: a JWK set, or the bundle of a SPIFFE trust domain.

Both are fetched each time: an issuer may move its keys.
"""

import asyncio
from typing import NamedTuple

from proxy.broker.freshness import MIN_S, lifetime
from proxy.broker.guarded_http import GuardedHttp, is_loopback, read_url
from proxy.broker.static import MAX_OCTETS, Stamp, read_if_changed
from proxy.errors import Code, Refusal
from proxy.http.canonical import Origin, Target
from proxy.identity.i_json import parse_object
from proxy.identity.keyset import KeySet, parse_bundle, parse_jwks

WELL_KNOWN = "/.well-known/openid-configuration"
_SHOWN = 200


class Document(NamedTuple):
    """The keys, and for how many seconds they are fresh. ``stamp`` tells the versions of a file apart."""

    keys: KeySet
    fresh_s: float
    stamp: Stamp | None = None


def _unusable(detail: str) -> Refusal:
    return Refusal(Code.KEYS_UNAVAILABLE, detail)


async def discover(issuer: str, http: GuardedHttp, deadline: float) -> Document | Refusal:
    """The keys of ``issuer`` by way of its discovery document. ``deadline`` is the event loop's time."""
    where = read_url(issuer.removesuffix("/") + WELL_KNOWN)
    if isinstance(where, Refusal):
        return where
    if not _protected(where.origin, where.origin):
        return _unusable(f"{where.origin} is neither https nor on this machine")
    page = await http.get(where, deadline)
    if isinstance(page, Refusal):
        return page
    target = _jwks_target(page.body, issuer, where.origin)
    if isinstance(target, Refusal):
        return target
    page = await http.get(target, deadline)
    if isinstance(page, Refusal):
        return page
    keys = parse_jwks(page.body)
    if isinstance(keys, str):
        return _unusable(f"{target}: {keys}")
    return Document(keys, lifetime(page.cache_control, page.age))


def _protected(origin: Origin, issuer: Origin) -> bool:
    """Whether nobody between gatepass and ``origin`` can change what it says."""
    if origin.scheme == "https":
        return True
    return issuer.scheme == "http" and is_loopback(issuer.host) and is_loopback(origin.host)


def _jwks_target(body: bytes, issuer: str, at: Origin) -> Target | Refusal:
    """Where a discovery document says that the keys of ``issuer`` are."""
    said = parse_object(body)
    if said is None:
        return _unusable(f"the discovery document of {issuer} is not a JSON object, or repeats a name")
    if said.get("issuer") != issuer:
        shown = str(said.get("issuer"))[:_SHOWN]
        return _unusable(f"the discovery document of {issuer} is that of another issuer: {shown!r}")
    uri = said.get("jwks_uri")
    if not isinstance(uri, str):
        return _unusable(f"the discovery document of {issuer} has no jwks_uri")
    target = read_url(uri)
    if isinstance(target, Refusal):
        return Refusal(target.code, f"the jwks_uri of {issuer}: {target.detail}")
    if not _protected(target.origin, at):
        return _unusable(f"the jwks_uri of {issuer} is not an https URL: {target.origin}")
    return target


async def read_file(path: str, *, bundle: bool, known: Stamp | None) -> Document | Refusal | None:
    """The keys in a file, read off the event loop; None if it is still the version ``known``."""
    try:
        read = await asyncio.to_thread(read_if_changed, path, known)
    except OSError as error:
        return _unusable(f"{path} cannot be read: {error.strerror}")
    if read is None:
        return None
    stamp, content = read
    if len(content) > MAX_OCTETS:
        return _unusable(f"{path} is larger than {MAX_OCTETS} octets")
    keys = parse_bundle(content) if bundle else parse_jwks(content)
    return _unusable(f"{path}: {keys}") if isinstance(keys, str) else Document(keys, MIN_S, stamp)
