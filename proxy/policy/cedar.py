"""The policy decision point (XACML's PDP): Cedar, in process, on a validated rule set.

An allow needs Cedar's ``Allow`` *and* an empty list of errors: a forbid whose condition fails is
skipped by Cedar, and only the list of errors tells. Reasons are the policies' ``@id``s, because the
policies are given to Cedar under these names instead of their positions.

Decided: the base entities carry the schema, because a handle built without it does not know that
``github.issues.create`` is in ``write``, and ``action in Action::"write"`` would silently not match.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import version

import cedarpy

from proxy.credential.placeholder import redact
from proxy.errors import Code, Refusal
from proxy.http.canonical import Origin
from proxy.identity.principal import Agent
from proxy.policy import document
from proxy.policy.bundle import digest
from proxy.policy.decision import Allow, Deny, Question, Ruling, Site
from proxy.policy.document import Parts
from proxy.policy.load import LoadedRules, check_rules
from proxy.policy.needs import NOTHING
from proxy.problems import Problem

ENGINE = f"cedarpy/{version('cedarpy')}"
SCHEMA_FILE = "schema.cedarschema"
POLICIES_FILE = "policies.json"
_MAX_CACHED_PATH = 512
_MAX_SHOWN = 200
_MAX_RULINGS = 1024  # most are of the same second
_MAX_REMEMBERED = 4096  # octets
_NOTHING = b"null"


class RuleSet:
    """A validated rule set that decides; ``load_rules`` makes one.

    ``bundle`` are the files by which its decisions can be taken again: those it was read from, the
    policies under their ids (``policies.json``) and the schema. ``sha256`` is their digest.
    """

    def __init__(self, rules: LoadedRules) -> None:
        self.catalogue = rules.catalogue
        self.policies = rules.policies
        by_id = {policy.id: policy.json for policy in rules.policies}
        policies = document.canonical({"staticPolicies": by_id, "templates": {}, "templateLinks": []})
        self.bundle: Mapping[str, bytes] = {
            **rules.files,
            SCHEMA_FILE: rules.schema.encode(),
            POLICIES_FILE: policies,
        }
        self.sha256 = digest(self.bundle)
        self._reasons = {policy.id: policy.reason for policy in rules.policies}
        self._schema = cedarpy.Schema.from_str(rules.schema)
        self._set = cedarpy.PolicySet.from_json_str(policies.decode("utf-8"))
        self._rulings: dict[bytes, Ruling] = {}
        self._agent = lru_cache(maxsize=256)(self._base)
        self._cached = lru_cache(maxsize=1024)(self._entities)

    # -- entities --

    def _base(self, agent: Agent) -> cedarpy.Entities:
        text = document.agent_entity(agent).decode("utf-8")
        return cedarpy.Entities.from_json_str(f"[{text}]", self._schema)

    def _entities(self, agent: Agent, origin: Origin, path: str) -> tuple[Parts, cedarpy.Entities]:
        service, pattern = self.catalogue.locate(origin) or (None, origin.host.name)
        parts = document.parts(agent, origin, path, service, pattern)
        delta = parts.endpoint.decode("utf-8")
        return parts, self._agent(agent).with_added_json_str(f"[{delta}]", self._schema)

    # -- decisions --

    def site(self, origin: Origin) -> Site:
        """See ``Pdp``."""
        return Site(self.catalogue.find(origin), NOTHING)

    def could(self, question: Question) -> bool:
        """See ``Pdp``."""
        return not isinstance(self.decide(question).decision, Deny)

    def decide(self, question: Question) -> Ruling:
        """Decide. Whatever goes wrong is a Deny with POLICY_ERROR; never raises."""
        origin, path = question.target.origin, question.target.path.text
        service = self.catalogue.find(origin)
        action = question.act.operation.id
        text = _NOTHING  # what is recorded if the question cannot even be written down
        try:
            entities = self._cached if len(path) <= _MAX_CACHED_PATH else self._entities
            parts, handle = entities(question.agent, origin, path)
            context, name = document.context(question), document.uid("Action", action)
            text = parts.document(name, context)
            if (known := self._rulings.get(text)) is not None:
                return known
            request = {
                "principal": parts.principal,
                "action": name,
                "resource": parts.resource,
                "context": context.decode("utf-8"),
            }
            answer = cedarpy.is_authorized(request, self._set, handle, self._schema)
            decision = self._judge(question, action, answer)
        except Exception as error:  # noqa: BLE001 - fail closed: an engine that fails has not allowed anything
            failed = _error(question, (f"{type(error).__name__}: {error}",))
            return Ruling(failed, text, service, action, self.sha256, ENGINE, observed=False)
        ruling = Ruling(decision, text, service, action, self.sha256, ENGINE, observed=False)
        self._remember(text, ruling)
        return ruling

    def _remember(self, text: bytes, ruling: Ruling) -> None:
        """Evaluation is pure: the same input under the same rules has the same answer."""
        if len(text) > _MAX_REMEMBERED:
            return
        if len(self._rulings) >= _MAX_RULINGS:
            del self._rulings[next(iter(self._rulings))]
        self._rulings[text] = ruling

    def _judge(self, question: Question, action: str, answer: cedarpy.AuthzResult) -> Allow | Deny:
        reasons = tuple(sorted(answer.diagnostics.reasons))
        errors = tuple(redact(error) for error in answer.diagnostics.errors)
        if answer.decision is cedarpy.Decision.Allow and reasons and not errors:
            return Allow(reasons)
        if answer.decision is not cedarpy.Decision.Deny or (errors and not reasons):
            return _error(question, errors)
        if not reasons:
            detail = f"no rule permits {action} for agent {question.agent.id}: {_words(question)}"
            return Deny(Refusal(Code.DEFAULT_DENY, detail), (), ())
        rule = reasons[0]
        detail = self._reasons[rule] or f"the rule {rule} forbids {_words(question)}"
        return Deny(Refusal(Code.POLICY_DENY, detail, rule), reasons, errors)


def _words(question: Question) -> str:
    """The request in plain words: method, host and path."""
    url = document.endpoint_name(question.target.origin, question.target.path.text)
    return f"{question.method} {url if len(url) <= _MAX_SHOWN else url[:_MAX_SHOWN] + '...'}"


def _error(question: Question, errors: tuple[str, ...]) -> Deny:
    detail = f"the rules could not be evaluated for {_words(question)}"
    return Deny(Refusal(Code.POLICY_ERROR, detail), (), errors)


def load_rules(files: Mapping[str, bytes], agents: Iterable[Agent] | None) -> RuleSet | list[Problem]:
    """Validate a rule set: everything that is wrong with it, or the rules, ready to decide.

    ``files`` are names relative to the rules directory and their contents: ``policies/*.cedar``,
    ``services/*.yaml`` and whatever else belongs into the bundle (``agents.yaml``).
    ``agents`` are the registered ones; None if the registry is broken, then names of agents are not
    checked. Never raises.
    """
    rules = check_rules(files, None if agents is None else tuple(agents))
    return RuleSet(rules) if isinstance(rules, LoadedRules) else rules
