"""The headers of a call as they leave: less what obligations take away, and in step with its content."""

from proxy.engine.decide import Ready
from proxy.http.message import Headers, Length
from proxy.policy.obligation import NO_OBLIGATIONS, apply_headers

_LENGTH, _ENCODING = b"content-length", b"accept-encoding"


def outgoing(headers: Headers, ready: Ready) -> Headers:
    """``headers`` (with the credential already in its place) for a call that is ready."""
    if ready.obligations is not NO_OBLIGATIONS:
        headers = apply_headers(ready.obligations, headers)
    content = ready.content
    if content is not None and isinstance(ready.guarded.framing, Length):
        octets = b"%d" % len(content)  # an obligation may have changed it
        headers = tuple((name, octets if name.lower() == _LENGTH else value) for name, value in headers)
    if ready.watch is not None:  # what has to be read must not come compressed
        others = (header for header in headers if header[0].lower() != _ENCODING)
        headers = (*others, (b"Accept-Encoding", b"identity"))
    return headers
