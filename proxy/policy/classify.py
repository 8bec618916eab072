"""What a call does: acts, each an operation of the catalogue and the facts that rules need of it.

A host in no service is classed by method alone. At a service the path says what is spoken, and that
protocol's file reads the call: ``rest``, ``mcp``, ``graphql``, ``grpc``, ``aws``. The content is asked for
only if the protocol, a condition or a fact needs it, and is then judged strictly: what can be read in two
ways is a refusal, never "no facts".

Decided: a placeholder among facts is redacted here, in one place, so that what is decided is what may be
recorded.
"""

from proxy.credential.placeholder import PREFIX, redact
from proxy.errors import Code, Refusal
from proxy.http.message import first
from proxy.policy import aws, graphql, grpc, mcp, rest
from proxy.policy.catalogue import Service
from proxy.policy.content import Act, Call, Classified, NeedBody
from proxy.policy.fact import Place, Protocol
from proxy.policy.needs import Needs
from proxy.policy.operation import by_method

_MARK = PREFIX.decode("ascii")


def classify(
    call: Call, service: Service | None, needs: Needs, limit: int
) -> Classified | NeedBody | Refusal:
    """The acts of a call to ``service`` (None: to a host that is in none). Never raises.

    ``limit`` is the largest content that may be read, in octets. ``NeedBody``: ask again with the content.
    """
    if service is None:
        return Classified((Act(by_method(call.method)),))
    if call.body is not None and len(call.body) > limit:
        return Refusal(Code.BODY_TOO_LARGE, f"rules read this content, and at most {limit} octets of it")
    found = _spoken(call, service, needs, limit)
    if isinstance(found, Classified):
        for act in found.acts:
            if PREFIX in act.facts or PREFIX in act.told:
                return found._replace(acts=tuple(map(_redacted, found.acts)))
    return found


def _spoken(call: Call, service: Service, needs: Needs, limit: int) -> Classified | NeedBody | Refusal:
    unread, spoken = call.has_body and call.body is None, service.protocol_at(call.path)
    if spoken is not Protocol.REST and first(call.headers, b"upgrade") is not None:
        return _UNREADABLE
    match spoken:
        case Protocol.REST:
            return rest.classify(call, service, needs, limit)
        case Protocol.MCP:
            return NeedBody(limit) if unread else mcp.classify(call, service, needs)
        case Protocol.GRAPHQL:
            return NeedBody(limit) if unread else graphql.classify(call, service, needs)
        case Protocol.GRPC:
            return grpc.classify(call, service, needs)
        case Protocol.AWS_QUERY:
            return NeedBody(limit) if unread else aws.classify(call, service, needs)
        case Protocol.AWS_JSON:
            wanted = unread and Place.BODY in needs.facts
            return NeedBody(limit) if wanted else aws.classify(call, service, needs)


_UNREADABLE = Refusal(
    Code.CONTENT_UNSUPPORTED, "what a WebSocket carries cannot be read here; send each call by itself"
)


def _redacted(act: Act) -> Act:
    facts, told = (redact(one.decode("utf-8")).encode("utf-8") for one in (act.facts, act.told))
    return act._replace(facts=facts, told=told)
