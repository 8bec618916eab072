"""The grammar of a header field (RFC 9110, 5.1, 5.5 and 5.6.2), for heads and trailers alike."""

import re
from collections.abc import Sequence

from proxy.http.message import Header

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# obs-text is let through, because user agents and file names carry UTF-8; controls never are.
VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_NAME = TOKEN.fullmatch
_VALUE = VALUE.fullmatch


def fault(headers: Sequence[Header], max_headers: int, max_line: int) -> tuple[bool, str] | None:
    """What is wrong with these fields, or None.

    The first member says whether it is a matter of size (``max_headers`` fields, ``max_line`` octets
    of name and value together); the second says what, without ever quoting a value.
    """
    if len(headers) > max_headers:
        return True, f"more than {max_headers} header fields"
    for name, value in headers:
        if len(name) + len(value) > max_line:
            return True, f"a header field is longer than {max_line} octets"
        if _NAME(name) is None:
            return False, "a header name is not a token"
        if _VALUE(value) is None:
            return False, f"the value of {name.decode('ascii')} has a control or surrounding whitespace"
    return None
