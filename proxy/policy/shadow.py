"""A second rule set that decides every call too and enforces nothing: how a change is tried on real calls.

What it would have said is noted where effect, code or rules differ. Nothing that fails here changes what
is enforced: the shadow then says ``policy_error``, and that is a difference.

The shadow has a catalogue of its own, and there the same call may be another operation. The shadow is asked
about, in this order,

1. the very act, if both catalogues describe the service alike;
2. what the shadow's catalogue makes of method, path and query, if the call is REST there and that does not
   take the content, which only the rules that are enforced have seen;
3. the operation with the same id, else the one that the same tool, field or method selects, else the
   built-in one for what nobody has named.

Of the facts that were read the shadow is given exactly what its own rules read and its own catalogue
declares. What was not read (a fact that only the shadow's catalogue declares, content that is too long or
that the shadow alone wants and nobody announced the length of) no rule can depend on: for such calls the
shadow says ``policy_error``. Of budgets it is given those that it declares itself, with what is counted
under the same name; one that is not counted yet has used nothing. Agents are those that are enforced, with
their environments, tiers and owners there.
"""

from collections.abc import Mapping
from dataclasses import replace

import orjson

from proxy.errors import Code, Refusal
from proxy.http.canonical import Origin, query_pairs
from proxy.policy.catalogue import Service
from proxy.policy.classify import classify
from proxy.policy.content import Act, Call, Classified
from proxy.policy.decision import Allow, Deny, Pdp, Question, Ruling, Shadowed, Site
from proxy.policy.document import canonical
from proxy.policy.fact import FactField, Place, Protocol
from proxy.policy.needs import Needs
from proxy.policy.operation import Operation, by_method

_UNKNOWN = b"null"
_PLACES = {place.value: place for place in Place}
_UNNAMED = {
    Protocol.MCP: "mcp.call",
    Protocol.GRPC: "grpc.call",
    Protocol.AWS_QUERY: "aws.call",
    Protocol.AWS_JSON: "aws.call",
}


class ShadowPdp:
    """Decides as ``enforced`` does, and notes what ``shadow`` would have said. See the module."""

    def __init__(self, enforced: Pdp, shadow: Pdp, shadow_sha256: str) -> None:
        self._enforced = enforced
        self._shadow = shadow
        self._shadow_sha256 = shadow_sha256
        self._alike: dict[str, bool] = {}  # by the name of the service

    def site(self, origin: Origin) -> Site:
        """The service that is enforced, and what either rule set reads of a call there."""
        enforced, shadow = self._enforced.site(origin), self._shadow.site(origin)
        return Site(enforced.service, enforced.needs, _union(enforced.needs, shadow.needs))

    def could(self, question: Question) -> bool:
        """See ``Pdp``; the shadow is not asked."""
        return self._enforced.could(question)

    def decide(self, question: Question) -> Ruling:
        """Decide twice, enforce the first; never raises."""
        site = self._enforced.site(question.target.origin)
        act = question.act
        ruling = self._enforced.decide(question._replace(act=_given(act, site.needs.facts, None)))
        try:
            shadow = self._ask(question, site)
        except Exception as error:  # noqa: BLE001 - whatever the shadow does, what is enforced stays
            words = f"{type(error).__name__}: {error}"
            shadow = self._failed(question, words)
        if _told(shadow) == _told(ruling):
            return ruling
        effect, code, rules = _told(shadow)
        return replace(ruling, shadow=Shadowed(shadow.ruleset_sha256, effect, code, rules, shadow.input))

    def _ask(self, question: Question, enforced: Site) -> Ruling:
        site = self._shadow.site(question.target.origin)
        alike = self._same(enforced.service, site.service)
        act = self._act(question, site, alike=alike)
        budgets = question.budgets if alike else _budgets(question.budgets, site.service)
        return self._shadow.decide(question._replace(act=act, budgets=budgets))

    def _same(self, one: Service | None, other: Service | None) -> bool:
        if one is None or other is None:
            return one is other
        known = self._alike.get(one.name)
        if known is None:  # to compare them takes longer than to decide
            known = self._alike[one.name] = one == other
        return known and one.name == other.name

    def _act(self, question: Question, site: Site, *, alike: bool) -> Act:
        act, service = question.act, site.service
        if alike:
            return _given(act, site.needs.facts, None)
        if service is None or service.protocol_at(question.target.path.text) is Protocol.REST:
            found = _reclassified(question, site)
            if found is not None:
                return found
        operation = _counterpart(service, question)
        return _given(act._replace(operation=operation), site.needs.facts, operation)

    def _failed(self, question: Question, words: str) -> Ruling:
        refusal = Refusal(Code.POLICY_ERROR, "the rules in the shadow could not be evaluated")
        return Ruling(
            Deny(refusal, (), (words,)),
            _UNKNOWN,
            None,
            question.act.operation.id,
            self._shadow_sha256,
            "shadow",
            observed=False,
        )


def _union(one: Needs, other: Needs) -> Needs:
    return Needs(
        request=one.request | other.request,
        facts=one.facts | other.facts,
        approval=one.approval or other.approval,
        content=one.content or other.content,
    )


def _told(ruling: Ruling) -> tuple[str, str | None, tuple[str, ...]]:
    decision = ruling.decision
    if isinstance(decision, Allow):
        return "allow", None, decision.rules
    effect = "deny" if isinstance(decision, Deny) else "hold"
    return effect, decision.refusal.code.value, decision.rules


# -- which operation --


def _reclassified(question: Question, site: Site) -> Act | None:
    """What the call is to the shadow's catalogue; None if it takes the content to say so."""
    pairs = query_pairs(question.target.query)
    if isinstance(pairs, Refusal):
        return None
    path, has_body = question.target.path.text, question.request.has_body
    call = Call(question.method, path, pairs, (), has_body, None)
    found = classify(call, site.service, site.needs, 0)
    return found.acts[0] if isinstance(found, Classified) and len(found.acts) == 1 else None


def _counterpart(service: Service | None, question: Question) -> Operation:
    operation = question.act.operation
    if service is None:
        return by_method(question.method)
    same = next((one for one in service.all_operations if one.id == operation.id), None)
    if same is not None:
        return same
    selector = operation.selector
    if selector is None or selector.protocol not in service.protocols:
        return service.builtin(f"http.{operation.group}")
    selected = service.select(selector.protocol, selector.pattern) if selector.pattern else None
    if selected is not None:
        return selected
    if selector.protocol is Protocol.GRAPHQL:
        kind = selector.pattern.partition(".")[0] or operation.id.rpartition(".")[2]
        return service.builtin(f"graphql.{kind}")
    unnamed = _UNNAMED[selector.protocol]
    if selector.protocol is Protocol.MCP and not selector.pattern.startswith("tool:"):
        unnamed = "mcp.other"
    return service.builtin(unnamed)


# -- what is given of facts and budgets --


def _given(act: Act, groups: frozenset[str], declaring: Operation | None) -> Act:
    """The act with those groups of its facts; of what a service declares only what ``declaring`` does."""
    if act.facts == b"{}":
        return act
    facts = orjson.loads(act.facts)
    wanted = {name: members for name, members in facts.items() if name in groups}
    if declaring is not None:
        wanted = dict(_declared(wanted, declaring))
    return act if wanted == facts else act._replace(facts=canonical(wanted))


def _declared(facts: Mapping[str, object], operation: Operation) -> Mapping[str, object]:
    kept: dict[str, object] = {}
    for group, members in facts.items():
        place = _PLACES.get(group)
        if place is None:
            kept[group] = members
            continue
        fields = [field for field in operation.facts if field.place is place]
        if fields:
            kept[group] = _members(members, fields, 0)
    return kept


def _members(members: object, fields: list[FactField], depth: int) -> object:
    if not isinstance(members, dict):
        return members
    below: dict[str, list[FactField]] = {}
    for field in fields:
        if len(field.path) > depth:
            below.setdefault(field.path[depth], []).append(field)
    return {name: _members(members[name], below[name], depth + 1) for name in below if name in members}


def _budgets(counted: bytes, service: Service | None) -> bytes:
    """``context.budgets`` as the shadow declares them."""
    known = orjson.loads(counted)
    names = () if service is None else service.budgets
    used = {budget.name: known.get(budget.name, {}).get("used", 0) for budget in names}
    return canonical({budget.name: {"limit": budget.limit, "used": used[budget.name]} for budget in names})
