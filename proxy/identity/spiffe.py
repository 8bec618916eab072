"""SPIFFE IDs (SPIFFE-ID, section 2): ``spiffe://trust-domain/path``, in the one spelling we accept."""

import re

SCHEME = "spiffe://"
MAX_OCTETS = 2048
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[a-zA-Z0-9._-]+")


def flaw(text: str) -> str | None:
    """What is wrong with ``text`` as the SPIFFE ID of a workload, in words for people, or None.

    A workload has a path: the bare trust domain names no one (X509-SVID, section 3.1).
    """
    if not text.startswith(SCHEME) or len(text) > MAX_OCTETS:
        return f"a SPIFFE ID begins with {SCHEME} and has {MAX_OCTETS} octets at most"
    trust_domain, slash, path = text.removeprefix(SCHEME).partition("/")
    if not _TRUST_DOMAIN.fullmatch(trust_domain):
        return "the trust domain of a SPIFFE ID is 1 to 255 of a-z 0-9 . _ -"
    if not slash:
        return "the SPIFFE ID of an agent has a path"
    for segment in path.split("/"):
        if not _SEGMENT.fullmatch(segment) or segment in {".", ".."}:
            return "the path of a SPIFFE ID has segments of a-z A-Z 0-9 . _ -, none of them empty, . or .."
    return None
