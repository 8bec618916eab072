"""A call that nobody made: judged as one that was made, for people who ask what would happen.

(1) the head is guarded, (2) the target made canonical, (3) the call classified, (4) the rules asked about
every act, (5) the grant of the task looked at. What only a sidecar knows (is the task alive, what is left of
its own budgets, may the address be reached) is not asked, and nobody stands above the caller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from proxy.errors import Code, Refusal
from proxy.http.canonical import Target, parse_target
from proxy.http.guard import Guarded, guard_request
from proxy.http.message import Headers, NoBody, RequestHead, first, values
from proxy.identity.principal import Agent, Right, Task
from proxy.identity.rights import not_granted
from proxy.policy.catalogue import Service
from proxy.policy.classify import classify
from proxy.policy.content import Act, Call, NeedBody
from proxy.policy.decision import Allow, Deny, Hold, Pdp, Question, RequestFacts, Ruling
from proxy.policy.query import parameters

CONTENT_LIMIT = 1_048_576  # octets of content that rules may read, as ``gatepass.yaml`` has it by default


class Sent(NamedTuple):
    """A request as an agent would send it. ``headers`` need no Host; ``body`` None is no content."""

    method: str
    url: str
    headers: Headers
    body: bytes | None


class Asker(NamedTuple):
    """Who asks, and what its chain leaves it. ``approved``: as if a person had said yes."""

    agent: Agent
    task: Task
    right: Right
    approved: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """The questions that a request comes to, one for each act."""

    service: Service | None
    target: Target
    questions: tuple[Question, ...]

    @property
    def actions(self) -> tuple[str, ...]:
        """What the request was classified as."""
        return tuple(question.act.operation.id for question in self.questions)


class Outcome(NamedTuple):
    """What became of the questions. ``rules`` are those that spoke; ``refusal`` None: it is allowed.

    ``effect`` is allow, deny or hold.
    """

    effect: str
    rules: tuple[str, ...]
    refusal: Refusal | None
    rulings: tuple[Ruling, ...]


def put(
    pdp: Pdp,
    asker: Asker,
    sent: Sent,
    time: int,
    used: Mapping[str, int] | None = None,
    limit: int = CONTENT_LIMIT,
) -> Trial | Refusal:
    """Turn a request into questions, as the engine does. ``used``: of the service's budgets, by name."""
    url = sent.url.encode("utf-8")
    headers = _whole(sent)
    guarded = guard_request(RequestHead(sent.method, url, "1.1", headers))
    if isinstance(guarded, Refusal):
        return guarded
    hosts = values(headers, b"host")
    target = parse_target(sent.method, url, tunnel=None, hosts=hosts, version="1.1", encoded_slash=True)
    if isinstance(target, Refusal):
        return target
    site = pdp.site(target.origin)
    if "%2F" in target.path.text and not (site.service is not None and site.service.encoded_slash):
        return Refusal(
            Code.TARGET_MALFORMED,
            "the path has an encoded slash, and no service at this host declares encoded_slash",
        )
    pairs = parameters(target.query, site.service)
    if isinstance(pairs, Refusal):
        return pairs
    has_body = not isinstance(guarded.framing, NoBody)
    call = Call(sent.method, target.path.text, pairs, guarded.forward, has_body, None)
    found = classify(call, site.service, site.needs, limit)
    if isinstance(found, NeedBody):
        content = sent.body or b""
        if len(content) > found.limit:
            return Refusal(Code.BODY_TOO_LARGE, f"rules read {found.limit} octets of a request and no more")
        found = classify(call._replace(body=content), site.service, site.needs, limit)
        assert not isinstance(found, NeedBody), "the content is there"
    if isinstance(found, Refusal):
        return found
    request = _facts(guarded, tuple(name for name, _ in pairs), time)
    return questions(asker, sent.method, target, site.service, request, found.acts, used or {})


def questions(
    asker: Asker,
    method: str,
    target: Target,
    service: Service | None,
    request: RequestFacts,
    acts: Sequence[Act],
    used: Mapping[str, int],
) -> Trial:
    """The questions about these acts. What is not in ``used`` has not been used at all."""
    budgets = budgets_document(service, used)
    asked = (
        Question(asker.agent, asker.task, asker.right, method, target, request, act, budgets, asker.approved)
        for act in acts
    )
    return Trial(service, target, tuple(asked))


def budgets_document(service: Service | None, used: Mapping[str, int]) -> bytes:
    """``context.budgets`` as ``window`` writes it, with these figures."""
    budgets = () if service is None else service.budgets
    members = {budget.name: {"limit": budget.limit, "used": used.get(budget.name, 0)} for budget in budgets}
    return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)


def decide(pdp: Pdp, trial: Trial) -> Outcome:
    """Ask about every act: a denial decides, then a grant that is missing, then a hold."""
    rulings = tuple(pdp.decide(question) for question in trial.questions)
    refusals = [ruling.decision for ruling in rulings if not isinstance(ruling.decision, Allow)]
    denial = next((decision for decision in refusals if isinstance(decision, Deny)), None)
    if denial is not None:
        return Outcome("deny", denial.rules, denial.refusal, rulings)
    service = trial.service
    missing = not_granted(trial.questions[0].right, None if service is None else service.name)
    if missing is not None:
        return Outcome("deny", (), missing, rulings)
    rules = tuple(dict.fromkeys(rule for ruling in rulings for rule in ruling.decision.rules))
    holds = [decision for decision in refusals if isinstance(decision, Hold)]
    if holds:
        waiting = tuple(dict.fromkeys(rule for decision in holds for rule in decision.rules))
        return Outcome("hold", waiting, holds[0].refusal, rulings)
    return Outcome("allow", rules, None, rulings)


def _whole(sent: Sent) -> Headers:
    """The headers that every client adds."""
    headers = sent.headers
    names = {name.lower() for name, _ in headers}
    if b"host" not in names:
        authority = sent.url.partition("://")[2].partition("/")[0].partition("?")[0]
        headers = ((b"Host", authority.encode("utf-8")), *headers)
    if sent.body is not None and not names & {b"content-length", b"transfer-encoding"}:
        headers = (*headers, (b"Content-Length", b"%d" % len(sent.body)))
    return headers


def _facts(guarded: Guarded, query_keys: tuple[str, ...], time: int) -> RequestFacts:
    content_type = first(guarded.forward, b"content-type") or b""
    return RequestFacts(
        has_body=not isinstance(guarded.framing, NoBody),
        content_type=content_type.partition(b";")[0].strip().lower().decode("ascii", "replace"),
        query_keys=query_keys,
        upgrade=guarded.upgrade,
        time=time,
    )
