"""The acts of GraphQL requests: operations of the catalogue, and what rules may know of them.

Decided: ``facts.input`` holds the arguments of the root field, with the variables and their defaults put in,
instead of the variables as they were sent, because an argument written into the query has the same effect
as one that comes in a variable, and a variable that no argument uses has none. A client whose variables are
called as the arguments are sees no difference. A field that is called twice with different declared
arguments makes two acts.
"""

from collections.abc import Iterator

from graphql.language import FieldNode

from proxy.errors import Code, Refusal
from proxy.policy.catalogue import Service
from proxy.policy.content import MAX_ACTS, Act, Classified
from proxy.policy.document import canonical
from proxy.policy.fact import Place, Protocol
from proxy.policy.fields import Facts, from_document
from proxy.policy.graphql_document import MAX_TOKENS, Executable, read
from proxy.policy.graphql_request import Request
from proxy.policy.needs import Needs
from proxy.policy.operation import Operation
from proxy.policy.strict_json import Json


def acts(requests: list[Request], service: Service, needs: Needs, *, reading: bool) -> Classified | Refusal:
    """All acts of all requests. ``reading``: the call is a GET, which must not change anything."""
    found: list[Act] = []
    for request in requests:
        # Every request of a batch has its share of what one call may cost.
        run = read(request.text, request.operation_name, MAX_TOKENS // len(requests))
        if isinstance(run, Refusal):
            return run
        if reading and run.type == "mutation":
            return Refusal(Code.AMBIGUOUS_INPUT, "a GET must not carry a mutation; send it with POST")
        for act in _acts(request, run, service, needs):
            if isinstance(act, Refusal):
                return act
            if len(found) == MAX_ACTS:  # at once, because each may hold large variables
                return _TOO_MANY
            found.append(act)
    return Classified(tuple(found))


_TOO_MANY = Refusal(
    Code.BODY_TOO_LARGE, f"the call does more than {MAX_ACTS} different things; send them one by one"
)


def _acts(request: Request, run: Executable, service: Service, needs: Needs) -> Iterator[Act | Refusal]:
    """The different acts of one request; a document may name thousands of fields that are one act."""
    whole: dict[str, Json] = {
        "operation": run.type,
        "name": run.name,
        "fields": list[Json](run.names()),
        "depth": run.depth,
        "persisted": request.persisted,
    }
    told = canonical({"graphql": whole})
    known: set[tuple[str, bytes]] = set()
    for field in run.fields:
        operation = _operation(service, run.type, field.name.value)
        groups = needs.facts & operation.fact_groups
        given = _input(operation, run, field, request) if Place.INPUT in groups else Facts()
        if isinstance(given, Refusal):
            yield given
            return
        act = operation.id, canonical(given)
        if act in known:
            continue
        known.add(act)
        facts: Facts = {"graphql": whole} if "graphql" in groups else {}
        if Place.INPUT in groups:
            facts["input"] = given
        yield Act(operation, canonical(facts), told)


def _operation(service: Service, kind: str, field: str) -> Operation:
    if field.startswith("__"):
        return service.builtin("graphql.query")
    return service.select(Protocol.GRAPHQL, f"{kind}.{field}") or service.builtin(f"graphql.{kind}")


def _input(operation: Operation, run: Executable, field: FieldNode, request: Request) -> Facts | Refusal:
    arguments = run.arguments(field, request.variables)
    if isinstance(arguments, Refusal):
        return arguments
    return from_document([fact for fact in operation.facts if fact.place is Place.INPUT], arguments)
