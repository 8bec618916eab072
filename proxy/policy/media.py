"""What kind of content a call has (RFC 9110, 8.3 and 8.4), read in one way or refused."""

import re
from collections.abc import Collection

from proxy.errors import Code, Refusal
from proxy.http.canonical import query_pairs
from proxy.http.message import Headers, tokens, values
from proxy.policy.content import Call

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 4_096  # of a form
_VISIBLE = re.compile(rb"[!-~]*")
_UTF8 = {"charset=utf-8", 'charset="utf-8"'}

Pairs = tuple[tuple[str, str], ...]


def media_type(call: Call, accepted: Collection[str], *, coded: bool = False) -> str | Refusal:
    """The media type in lower case, if it is one of ``accepted``, in UTF-8 and not compressed.

    ``coded``: it may be compressed, because nobody here reads it.
    """
    return kind_of(call.headers, accepted, coded=coded)


def kind_of(headers: Headers, accepted: Collection[str], *, coded: bool = False) -> str | Refusal:
    """As ``media_type``, of the headers alone."""
    named = " or ".join(accepted)
    if not coded and any(coding != b"identity" for coding in tokens(headers, b"content-encoding")):
        return Refusal(
            Code.CONTENT_UNSUPPORTED, "the content is compressed; send it without Content-Encoding"
        )
    found = values(headers, b"content-type")
    if len(found) != 1:
        why = "there is no Content-Type" if not found else f"there are {len(found)} Content-Type headers"
        return Refusal(Code.CONTENT_UNSUPPORTED, f"{why}; send exactly one, {named}")
    text, *parameters = (part.strip().lower() for part in found[0].decode("latin-1").split(";"))
    if text not in accepted:
        return Refusal(Code.CONTENT_UNSUPPORTED, f"the content is {text[:80]!r}; send {named}")
    if any(parameter not in _UTF8 for parameter in parameters):
        return Refusal(Code.CONTENT_UNSUPPORTED, f"send {text} without parameters, in UTF-8")
    return text


def form(body: bytes) -> Pairs | Refusal:
    """The fields of a form (``FORM``), decoded once; AMBIGUOUS_INPUT if it does not decode.

    At most MAX_FIELDS: to look at each of many takes longer than to read as much JSON.
    """
    if body.count(b"&") >= MAX_FIELDS:
        return Refusal(Code.BODY_TOO_LARGE, f"the form has more than {MAX_FIELDS} fields; send fewer")
    if _VISIBLE.fullmatch(body) is None:
        return Refusal(Code.AMBIGUOUS_INPUT, "the form has octets that are not percent-encoded; encode them")
    pairs = query_pairs(body.decode("ascii"))
    if isinstance(pairs, Refusal):
        return Refusal(Code.AMBIGUOUS_INPUT, pairs.detail.replace("the query", "the form"))
    return pairs
