"""What a gRPC call does (gRPC over HTTP/2, and gRPC-Web): the method that its path names.

``POST /package.Service/Method``. The message is not read: it means nothing without the service's own
definitions.
"""

import re

from proxy.errors import Code, Refusal
from proxy.http.message import values
from proxy.policy.catalogue import Service
from proxy.policy.content import Act, Call, Classified
from proxy.policy.document import canonical
from proxy.policy.fact import Protocol
from proxy.policy.needs import Needs

_WORD = "[A-Za-z_][A-Za-z0-9_]*"
_PATH = re.compile(rf"/({_WORD}(?:\.{_WORD})*)/({_WORD})", re.ASCII)
_TYPE = re.compile(rb"application/grpc(-web|-web-text)?(\+[a-z0-9.-]+)?", re.IGNORECASE)


def classify(call: Call, service: Service, needs: Needs) -> Classified | Refusal:
    """The act of a call to a path where ``service`` speaks gRPC; its content is not needed. Never raises."""
    if call.method != "POST":
        return _unsupported(f"{call.method} is not how gRPC is called; send POST")
    kinds = values(call.headers, b"content-type")
    if len(kinds) != 1 or _TYPE.fullmatch(kinds[0].partition(b";")[0].strip()) is None:
        return _unsupported("the content is not gRPC; send one Content-Type: application/grpc")
    if call.query:
        return _ambiguous("a gRPC call has no query; leave it out")
    path = _PATH.fullmatch(call.path)
    if path is None:
        return _ambiguous("the path of a gRPC call is /package.Service/Method; send that")
    name, method = path.groups()
    operation = service.select(Protocol.GRPC, f"{name}/{method}") or service.builtin("grpc.call")
    wanted = "grpc" in needs.facts & operation.fact_groups
    whole = canonical({"grpc": {"service": name, "method": method}})
    return Classified((Act(operation, whole if wanted else b"{}", whole),))


def _ambiguous(why: str) -> Refusal:
    return Refusal(Code.AMBIGUOUS_INPUT, why)


def _unsupported(why: str) -> Refusal:
    return Refusal(Code.CONTENT_UNSUPPORTED, why)
