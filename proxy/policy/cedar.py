"""The policy decision point (XACML's PDP): Cedar, in process, on a validated rule set.

An allow needs Cedar's ``Allow`` *and* an empty list of errors: a forbid whose condition fails is
skipped by Cedar, and only the list of errors tells. Reasons are the policies' ``@id``s, because the
policies are given to Cedar under these names instead of their positions.

Decided: a context is checked by the schema once for each form it has (``shape``), because that takes a
quarter of a decision and can only come out the same again.

Decided: the base entities carry the schema, because a handle built without it does not know that
``github.issues.create`` is in ``write``, and ``action in Action::"write"`` would silently not match.

Decided: a hold is computed. What is denied without an error is asked again as if it were approved, where
some policy reads that; only what is allowed then waits for a person.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import chain
from typing import NamedTuple

import cedarpy

from proxy.credential.placeholder import redact
from proxy.http.canonical import Origin
from proxy.identity.principal import Agent
from proxy.policy import builtin, document
from proxy.policy.bundle import digest
from proxy.policy.catalogue import Service
from proxy.policy.decision import Question, Ruling, Site
from proxy.policy.document import Subject
from proxy.policy.load import LoadedRules, check_rules
from proxy.policy.needs import EVERYTHING, Needs
from proxy.policy.possible import Possible
from proxy.policy.recent import Recent
from proxy.policy.schema import schema_text
from proxy.policy.shape import shape
from proxy.policy.slices import Slice, Slices, policies_text
from proxy.policy.verdict import Effect, Speaker, Verdict, judge, unevaluated
from proxy.problems import Problem

ENGINE = f"cedarpy/{version('cedarpy')}"
SCHEMA_FILE = "schema.cedarschema"
POLICIES_FILE = "policies.json"
_MAX_PLACES = 1024
_MAX_SUBJECTS = 1024
_MAX_RULINGS = 2048
_MAX_FORMS = 4096
_MAX_REMEMBERED = 4096  # octets
_UNWRITTEN = b"null"  # what is recorded if the question cannot even be written down


class Place(NamedTuple):
    """What is known of an origin: its slice, and the host pattern by which its service was found."""

    slice: Slice
    pattern: str
    site: Site


class Described(NamedTuple):
    """A question as a document for a decision point elsewhere, the action's name and the service."""

    document: bytes
    action: str
    service: Service | None


class RuleSet:
    """A validated rule set that decides; ``load_rules`` makes one.

    ``schema`` is the one rules are written and validated by; ``homes`` are the files of services by name.
    ``bundle`` are the files by which its decisions can be taken again: those it was read from, the
    policies under their ids (``policies.json``) and the schema of what they read. ``sha256`` is their
    digest.
    """

    def __init__(self, rules: LoadedRules) -> None:
        self.catalogue = rules.catalogue
        self.policies = rules.policies
        self.schema = rules.schema
        self.homes = rules.homes
        self._slices = Slices(rules.catalogue, rules.policies)
        schema = schema_text(rules.catalogue.services, self._slices.needs())
        self.bundle: Mapping[str, bytes] = {
            **rules.files,
            SCHEMA_FILE: schema.encode("utf-8"),
            POLICIES_FILE: policies_text(rules.policies),
        }
        self.sha256 = digest(self.bundle)
        by_id = {policy.id: policy for policy in rules.policies}
        self._speaker = Speaker(by_id, builtin.windows(rules.catalogue.services))
        self._possible = Possible()
        self._places: Recent[tuple[object, ...], Place] = Recent(_MAX_PLACES)
        self._subjects: Recent[tuple[object, ...], tuple[Subject, cedarpy.Entities]] = Recent(_MAX_SUBJECTS)
        self._rulings: Recent[tuple[object, ...], tuple[Verdict, Ruling]] = Recent(_MAX_RULINGS)
        self._fitting: Recent[Hashable, bool] = Recent(_MAX_FORMS)

    def remains(self) -> Iterator[object]:
        """What there is to be freed, piece by piece, once this rule set is gone; does not keep it alive.

        Each step takes a piece out of it: do not begin before.
        """
        pieces: list[object] = [*self.policies, *self.catalogue.services, *self._slices]
        taken = (pieces.pop() for _ in range(len(pieces)))
        return chain(self._subjects.drain(), self._rulings.drain(), taken)

    # -- what is where --

    def _place(self, origin: Origin) -> Place:
        key = (origin.scheme, origin.port, origin.host.name)
        found = self._places.get(key)
        if found is None:
            service, pattern = self.catalogue.locate(origin) or (None, origin.host.name)
            where = self._slices.at(service, origin.host.name)
            found = Place(where, pattern, Site(where.service, where.needs))
            self._places.keep(key, found)
        return found

    def site(self, origin: Origin) -> Site:
        """See ``Pdp``."""
        return self._place(origin).site

    def could(self, question: Question) -> bool:
        """See ``Pdp``."""
        place = self._place(question.target.origin)
        return self._possible.could(question, place.slice, place.pattern)

    def describe(self, question: Question) -> Described:
        """The question with all that is known of it, for a decision point elsewhere.

        :raises ValueError: if it cannot be written down.
        """
        place = self._place(question.target.origin)
        service = place.slice.service
        who = _subject(question, place)
        budgets = service is not None and bool(service.budgets)
        context = document.context(question, EVERYTHING, who.task, facts=True, budgets=budgets)
        action = question.act.operation.id
        return Described(who.document(document.uid("Action", action), context), action, service)

    # -- decisions --

    def decide(self, question: Question) -> Ruling:
        """Decide. Whatever goes wrong is a Deny with POLICY_ERROR; never raises."""
        try:
            place = self._place(question.target.origin)
            about = _about(question)
            key = _key(question, about, place.slice.acting[question.act.operation.id].needs)
            known = self._rulings.get(key)
            if known is None:
                known = self._evaluate(question, about, place)
                if len(known[1].input) <= _MAX_REMEMBERED:
                    self._rulings.keep(key, known)
                return known[1]
        except Exception as error:  # noqa: BLE001 - fail closed: an engine that fails has not allowed anything
            return self._failed(question, error)
        verdict, ruling = known
        if verdict.effect is Effect.ALLOW:
            return ruling
        # The words name URL and time, which the rules may not read.
        decision = self._speaker.say(verdict, question)
        if decision == ruling.decision:
            return ruling
        return Ruling(
            decision, ruling.input, ruling.service, ruling.action, self.sha256, ENGINE, observed=False
        )

    def _evaluate(
        self, question: Question, about: tuple[object, ...], place: Place
    ) -> tuple[Verdict, Ruling]:
        where, action = place.slice, question.act.operation.id
        acting = where.acting[action]
        who, entities = self._who(question, about, place)
        context = _context(question, where, acting.needs, who)
        name, form = document.uid("Action", action), _form(question, where, acting.needs)
        verdict = self._ask(who, name, context, entities, where, form)
        if verdict.effect is Effect.DENY and _may_wait(verdict, question, acting.needs):
            approved = _context(question._replace(approved=True), where, acting.needs, who)
            second = self._ask(who, name, approved, entities, where, form)
            if second.effect is Effect.ALLOW:
                verdict = Verdict(Effect.HOLD, second.rules, ())
        decision = self._speaker.say(verdict, question)
        text = who.document(name, context)
        return verdict, Ruling(decision, text, where.service, action, self.sha256, ENGINE, observed=False)

    def _ask(
        self,
        who: Subject,
        action: document.Uid,
        context: bytes,
        entities: cedarpy.Entities,
        where: Slice,
        form: Hashable,
    ) -> Verdict:
        """Cedar's verdict. A context is held against the schema if none of its form has been found to fit."""
        request = {
            "principal": who.principal,
            "action": action,
            "resource": who.resource,
            "context": context.decode("utf-8"),
        }
        schema = None if form is not None and self._fitting.get(form) else where.schema
        policies = where.acting[action["id"]].policies
        verdict = judge(cedarpy.is_authorized(request, policies, entities, schema))
        if schema is not None and form is not None and verdict.effect is not Effect.ERROR:
            self._fitting.keep(form, True)  # noqa: FBT003 - a set that forgets
        return verdict

    def _who(
        self, question: Question, about: tuple[object, ...], place: Place
    ) -> tuple[Subject, cedarpy.Entities]:
        found = self._subjects.get(about)
        if found is None:
            who = _subject(question, place)
            text = who.entities.decode("utf-8")
            found = who, cedarpy.Entities.from_json_str(text, place.slice.schema)
            self._subjects.keep(about, found)
        return found

    def _failed(self, question: Question, error: Exception) -> Ruling:
        origin, action = question.target.origin, question.act.operation.id
        decision = unevaluated(question, (redact(f"{type(error).__name__}: {error}"),))
        service = self.catalogue.find(origin)
        return Ruling(decision, _UNWRITTEN, service, action, self.sha256, ENGINE, observed=False)


def _subject(question: Question, place: Place) -> Subject:
    origin, service = question.target.origin, place.slice.service
    return document.subject(question.agent, question.task, question.right, origin, service, place.pattern)


def _context(question: Question, where: Slice, told: Needs, who: Subject) -> bytes:
    facts = not told.facts.isdisjoint(question.act.operation.fact_groups)
    budgets = where.service is not None and bool(where.service.budgets)
    return document.context(question, told, who.task, facts=facts, budgets=budgets)


def _form(question: Question, where: Slice, told: Needs) -> Hashable:
    """What of a question decides whether its context fits the schema; None if that cannot be told.

    The rest of the context is written by ``document`` from values that have types.
    """
    facts = shape(question.act.facts) if told.facts else ()
    budgets = shape(question.budgets) if where.service is not None and where.service.budgets else ()
    return None if facts is None or budgets is None else (question.act.operation.id, facts, budgets)


def _may_wait(verdict: Verdict, question: Question, told: Needs) -> bool:
    return told.approval and not question.approved and not verdict.errors


def _about(question: Question) -> tuple[object, ...]:
    """Everything that goes into the entities of a question."""
    agent, task, origin = question.agent, question.task, question.target.origin
    return (
        *(origin.scheme, origin.host.name, origin.port),
        *(agent.id, agent.environment, agent.tier, agent.business_owner, agent.data_owner),
        *(task.id, task.purpose, task.environment, task.on_behalf_of, task.ticket, task.approver),
        task.parent is None,
        question.right.scopes,
    )


def _key(question: Question, about: tuple[object, ...], told: Needs) -> tuple[object, ...]:
    """Everything that goes into the document of a question: equal keys have equal documents."""
    facts, needs = question.request, told.request
    return (
        about,
        question.act.operation.id,
        question.act.operation.fact_groups,
        question.act.facts if told.facts else None,
        question.budgets,
        question.approved,
        facts.query_keys if "query_keys" in needs else None,
        question.method if "method" in needs else None,
        question.target.path.text if "path" in needs else None,
        facts.has_body if "has_body" in needs else None,
        facts.content_type if "content_type" in needs else None,
        facts.upgrade if "upgrade" in needs else None,
        facts.time if "time" in needs else None,
    )


def load_rules(files: Mapping[str, bytes], agents: Iterable[Agent] | None) -> RuleSet | list[Problem]:
    """Validate a rule set: everything that is wrong with it, or the rules, ready to decide.

    ``files`` are names relative to the rules directory and their contents: ``policies/*.cedar``,
    ``services/*.yaml`` and whatever else belongs into the bundle (``agents.yaml``).
    ``agents`` are the registered ones; None if the registry is broken, then names of agents are not
    checked. Never raises.
    """
    rules = check_rules(files, None if agents is None else tuple(agents))
    return RuleSet(rules) if isinstance(rules, LoadedRules) else rules
