"""What a REST call does: the first operation whose method, path template and conditions fit it.

The content is asked for only if a condition on it decides between operations, or rules read facts from it;
otherwise it streams through. Conditions on the query come first, because they cost nothing.

Decided: ``_method`` in content that is read is refused, as in the query (``query``): frameworks take it for
another method than the one that was decided. The headers that do the same are the business of ``http.guard``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from proxy.errors import Code, Refusal
from proxy.http.message import first
from proxy.policy import llm, strict_json
from proxy.policy.catalogue import Service
from proxy.policy.content import Act, Call, Classified, NeedBody, Watch
from proxy.policy.document import canonical
from proxy.policy.fact import Condition, Dialect, FactField, Place
from proxy.policy.fields import Facts, from_document, from_pairs, in_document, in_pairs
from proxy.policy.matching import Candidate, Matched, rivals
from proxy.policy.media import FORM, Pairs, form, media_type
from proxy.policy.needs import Needs
from proxy.policy.operation import Operation
from proxy.policy.query import method_override
from proxy.policy.service_budget import Unit
from proxy.policy.strict_json import Json

_JSON = "application/json"
_WATCH = {Dialect.OPENAI: Watch.OPENAI, Dialect.ANTHROPIC: Watch.ANTHROPIC}


@dataclass(frozen=True, slots=True)
class _Form:
    """A form; no content is a form without pairs."""

    pairs: Pairs


Content: TypeAlias = Json | _Form


def classify(call: Call, service: Service, needs: Needs, limit: int) -> Classified | NeedBody | Refusal:
    """The one act of a call to a path where ``service`` speaks REST. Never raises.

    ``limit`` is the largest content that is to be read, in octets.
    """
    matched = service.rest_candidates(call.method, call.path)
    if matched is None:
        return Classified((Act(service.by_method(call.method)),))
    reader = _Reader(call, limit)
    chosen = _choose(call, matched, reader)
    if chosen is None:
        return Classified((Act(service.by_method(call.method)),))
    if not isinstance(chosen, Candidate):
        return chosen
    wanted = needs.facts & chosen.operation.fact_groups
    watch = _watch(chosen.operation, service, needs)
    if not wanted:
        return Classified((Act(chosen.operation),), watch)
    facts = _facts(call, chosen, wanted, reader)
    if isinstance(facts, Refusal | NeedBody):
        return facts
    return Classified((Act(chosen.operation, canonical(facts)),), watch)


class _Reader:
    """The content of one call, read when it is needed, and once."""

    __slots__ = ("_call", "_content", "_limit")

    def __init__(self, call: Call, limit: int) -> None:
        self._call = call
        self._limit = limit
        self._content: tuple[Content] | None = None

    def read(self) -> Content | NeedBody | Refusal:
        """What the content says."""
        if self._content is None:
            if self._call.has_body and self._call.body is None:
                return NeedBody(self._limit)
            content = _content(self._call)
            if isinstance(content, Refusal):
                return content
            self._content = (content,)
        return self._content[0]


def _content(call: Call) -> Content | Refusal:
    if not call.body:
        return _Form(())
    own = (first(call.headers, b"content-type") or b"").partition(b";")[0].strip().lower()
    kinds = (_JSON, FORM, own.decode("latin-1")) if own.endswith(b"+json") else (_JSON, FORM)
    kind = media_type(call, kinds)
    if isinstance(kind, Refusal):
        return kind
    if kind == FORM:
        pairs = form(call.body)
        return pairs if isinstance(pairs, Refusal) else method_override(n for n, _ in pairs) or _Form(pairs)
    document = strict_json.parse(call.body)
    return (method_override(document) if isinstance(document, dict) else None) or document


def _choose(call: Call, matched: Matched, reader: _Reader) -> Candidate | NeedBody | Refusal | None:
    """The first candidate whose conditions hold, if those of no rival do."""
    found: Candidate | None = None
    for candidate in matched.candidates:
        if found is not None and not rivals(found, candidate):
            break
        holds = _holds(candidate.operation.when, call, reader) if candidate.operation.when else True
        if isinstance(holds, Refusal | NeedBody):
            return holds
        if holds and found is not None:
            both = f"{found.operation.id} and {candidate.operation.id}"
            return Refusal(Code.AMBIGUOUS_INPUT, f"the query asks for {both}; ask for one of them")
        found = candidate if holds else found
    return found


def _holds(conditions: Sequence[Condition], call: Call, reader: _Reader) -> bool | NeedBody | Refusal:
    holds = in_pairs([one for one in conditions if one.place is Place.QUERY], call.query)
    inside = [one for one in conditions if one.place is Place.BODY]
    if holds is not True or not inside:
        return holds
    content = reader.read()
    if isinstance(content, Refusal | NeedBody):
        return content
    return in_pairs(inside, content.pairs) if isinstance(content, _Form) else in_document(inside, content)


def _facts(
    call: Call, chosen: Candidate, wanted: frozenset[str], reader: _Reader
) -> Facts | NeedBody | Refusal:
    """The groups of facts that rules read and the operation has."""
    facts: Facts = {}
    if "path" in wanted:
        facts["path"] = dict[str, Json](chosen.path)
    operation = chosen.operation
    if Place.QUERY in wanted:
        query = from_pairs(_at(operation, Place.QUERY), call.query)
        if isinstance(query, Refusal):
            return query
        facts["query"] = query
    if Place.BODY in wanted or "llm" in wanted:
        content = reader.read()
        inside = content if isinstance(content, NeedBody) else _inside(operation, wanted, content)
        if isinstance(inside, Refusal | NeedBody):
            return inside
        facts |= inside
    return facts


def _inside(operation: Operation, wanted: frozenset[str], content: Content | Refusal) -> Facts | Refusal:
    """The groups that stand in the content."""
    if isinstance(content, Refusal):
        return content
    facts: Facts = {}
    if Place.BODY in wanted:
        fields = _at(operation, Place.BODY)
        if isinstance(content, _Form):
            body = from_pairs(fields, content.pairs)
        else:
            body = from_document(fields, content)
        if isinstance(body, Refusal):
            return body
        facts["body"] = body
    if "llm" in wanted and operation.llm is not None:
        if isinstance(content, _Form):
            return Refusal(Code.CONTENT_UNSUPPORTED, f"a call to a language model has content: send {_JSON}")
        asked = llm.facts(operation.llm, content)
        if isinstance(asked, Refusal):
            return asked
        facts["llm"] = asked
    return facts


def _at(operation: Operation, place: Place) -> list[FactField]:
    return [field for field in operation.facts if field.place is place]


def _watch(operation: Operation, service: Service, needs: Needs) -> Watch | None:
    """Whether what a language model used has to be counted, or its answer is of interest to rules."""
    if operation.llm is None:
        return None
    counted = service.prices or any(budget.unit in (Unit.TOKENS, Unit.COST) for budget in service.budgets)
    return _WATCH[operation.llm] if counted or "llm" in needs.facts else None
