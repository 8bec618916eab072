"""Decision records as a sidecar writes them, without one: the engine's own words about a real ruling."""

import copy
from collections.abc import Iterable
from typing import Any

import orjson

from proxy.audit import record
from proxy.audit.record import Stamp
from proxy.engine import facts
from proxy.engine.reasons import why
from proxy.engine.seen import Seen
from proxy.errors import Code, Refusal
from proxy.identity.principal import Agent, Evidence, Link, Method, Principal, Task
from proxy.identity.rights import meet, own
from proxy.policy.approval import Approval
from proxy.policy.decision import Allow, Deny, Pdp
from proxy.policy.recorded import RecordedCall, read_call
from proxy.policy.trial import Asker, Sent, Trial, decide, put
from tests.policy import worlds

TIME = 1_700_000_000
JSON = ((b"Content-Type", b"application/json"),)
EVIDENCE = (Evidence(Method.SESSION, "urn:gatepass:test"),)
APPROVAL = Approval("a-1", "0" * 64, "ada", TIME, TIME + 60, 1, 1)


def task(agent: Agent, scopes: Iterable[str] = (), parent: str | None = None, services=None) -> Task:
    name = f"t-{agent.id}"
    return Task(
        name, agent.id, "fix it", tuple(sorted(scopes)), agent.environment, TIME, TIME + 3600, "0" * 64,
        parent=parent, services=services,
    )  # fmt: skip


def raw(
    pdp: Pdp,
    method: str,
    url: str,
    *,
    agents: tuple[Agent, ...] = (worlds.CODER,),
    scopes: Iterable[str] = (),
    body: bytes | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = JSON,
    used: dict[str, int] | None = None,
    approved: bool = False,
    services: tuple[str, ...] | None = None,
    otherwise: Refusal | None = None,
    told: bool = False,
    identity: str = "01HZZZZZZZZZZZZZZZZZZZZZZZ",
) -> dict[str, Any]:
    """The record of one call; ``agents`` are the chain, the caller last. ``otherwise``: refused after rules.

    ``told``: with what the protocol says of the call, as records have it since rules are told less.
    """
    links: list[Link] = []
    for number, agent in enumerate(agents):
        its = task(agent, scopes, f"t-{agents[number - 1].id}" if number else None, services)
        right = own(agent, its)
        links.append(Link(agent, its, meet(links[-1].right, right) if links else right))
    asked: list[Trial] = []
    for link in links:
        found = put(
            pdp,
            Asker(link.agent, link.task, link.right, approved),
            Sent(method, url, headers if body is not None else (), body),
            TIME,
            used,
        )
        assert isinstance(found, Trial), found
        asked.append(found)
    outcomes = [decide(pdp, trial) for trial in asked]
    own_rulings = sorted(outcomes[-1].rulings, key=lambda one: isinstance(one.decision, Allow))
    own_rulings.sort(key=lambda one: not isinstance(one.decision, Deny))
    refusal = next((one.refusal for one in (outcomes[-1], *outcomes[:-1]) if one.refusal is not None), None)
    question = asked[-1].questions[0]
    seen = Seen(
        "127.0.0.1:1",
        principal=Principal(tuple(links), EVIDENCE),
        method=method,
        version="1.1",
        target=question.target,
        query_keys=question.request.query_keys,
        request=question.request,
        ruling=own_rulings[0],
        told=tuple(one.act.told for one in asked[-1].questions) if told else (),
        batch=tuple(own_rulings[1:]),
        above=tuple(
            (link, ruling) for link, one in zip(links, outcomes[:-1], strict=False) for ruling in one.rulings
        ),
        approval=APPROVAL if approved else None,
    )
    entry = record.decision(
        Stamp(identity, TIME * 1_000_000_000, 0, "test", "boot", 0),
        who=facts.who(seen),
        what=facts.what(seen),
        why=why(seen, refusal or otherwise),
        credential=None,
    )
    whole: dict[str, Any] = orjson.loads(entry)
    return whole


def read(whole: dict[str, Any]) -> RecordedCall:
    found = read_call(whole)
    assert found is not None
    return found


def call(pdp: Pdp, method: str, url: str, **more: Any) -> RecordedCall:
    """One recorded call, read back."""
    return read(raw(pdp, method, url, **more))


def changed(whole: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with another value at a dotted path."""
    altered = copy.deepcopy(whole)
    holder: Any = altered
    *above, last = path.split(".")
    for name in above:
        holder = holder[int(name)] if isinstance(holder, list) else holder[name]
    holder[int(last) if isinstance(holder, list) else last] = value
    return altered


SPENT = Refusal(Code.BUDGET_EXCEEDED, "the task has no requests left")
