"""From evidence to a ``Principal``, on every request anew (the PIP of XACML, for the subject).

What was verified once is remembered by the digest of the token until it runs out, or its issuer has other
keys. That no link of the chain has ended, that every agent is still registered and that nothing of it is
revoked is asked each time, from memory, so a revocation holds from the next request on.

The order of the questions: (1) every proof holds by itself; (2) they agree on one agent and one task;
(3) the agent may prove itself in these ways; (4) nothing of it is revoked; (5) the chain of delegation
holds; (6) somebody answers for every agent in it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from proxy.errors import Code, Refusal
from proxy.identity import proof
from proxy.identity.arrival import Arrival, Certificate, Fixed, Process
from proxy.identity.assertion import KeysWanted
from proxy.identity.delegation import chain, fresh
from proxy.identity.keyset import KeySet
from proxy.identity.known import KnownAgents, KnownTasks
from proxy.identity.presented import Presented
from proxy.identity.principal import (
    Agent,
    Evidence,
    Link,
    Method,
    Principal,
    Task,
)
from proxy.identity.proof import Proof, Trust
from proxy.identity.revocation import Revocations
from proxy.identity.task import TASK_ID

CACHE_SIZE = 4096  # about 2 KiB each

_MISSING = Refusal(Code.IDENTITY_MISSING, "no Proxy-Authorization was sent")
_NO_TOKEN = Refusal(Code.IDENTITY_INVALID, "Proxy-Authorization carries no token")
_ANOTHER = Refusal(
    Code.AUTHENTICATION_UNSUITABLE, "the agent's entry was changed while the call was decided; send it again"
)
_NO_TASK = Refusal(
    Code.TASK_UNKNOWN,
    "no task was named: send a task's id as the user name of Proxy-Authorization: Basic",
)

Key = tuple[bytes, str, Fixed | None, Process | None, Certificate | None]


@dataclass(slots=True)
class _Known:
    """A principal as attributed, and how long that may be repeated without looking again."""

    principal: Principal
    since: int
    until: int
    revocations: Revocations
    keys: tuple[tuple[str, KeySet], ...]


@dataclass(frozen=True, slots=True)
class Unfit:
    """Somebody who was identified, and is refused all the same: what the record says of them.

    ``agent`` and ``task`` are None where they are not known here.
    """

    refusal: Refusal
    agent: Agent | None
    task: Task | None
    evidence: tuple[Evidence, ...]


class Attributor:
    """Says who is calling. ``standing`` maps agents to the task they have when they name none."""

    def __init__(
        self,
        trust: Trust,
        agents: KnownAgents,
        tasks: KnownTasks,
        *,
        standing: Mapping[str, str] | None = None,
        revocations: Callable[[], Revocations] = Revocations,
        cache_size: int = CACHE_SIZE,
    ) -> None:
        self._trust = trust
        self._agents = agents
        self._tasks = tasks
        self._standing = standing or {}
        self._revocations = revocations
        self._cache_size = cache_size
        self._known: dict[Key, _Known] = {}

    def attribute(
        self, arrival: Arrival, presented: Presented | None, now: int
    ) -> Principal | Unfit | Refusal | KeysWanted:
        """The principal that all evidence speaks for; ``now`` is POSIX seconds."""
        key = _key(arrival, presented)
        known = self._known.get(key)
        if known is not None:
            if (
                known.since <= now < known.until
                and known.revocations is self._revocations()
                and all(self._trust.keys.get(issuer) is keys for issuer, keys in known.keys)
                and fresh(known.principal.chain, self._tasks, self._agents, now)
            ):
                return known.principal
            del self._known[key]
        proofs = self._proofs(arrival, presented, now)
        if not isinstance(proofs, list):
            return proofs
        principal = self._agree(arrival, presented, proofs, now)
        if isinstance(principal, Principal):
            # Only what verified is remembered, so nobody can fill the cache with rubbish.
            if len(self._known) >= self._cache_size:
                del self._known[next(iter(self._known))]
            since, until = max(one.since for one in proofs), min(one.until for one in proofs)
            keys = tuple(one.keys for one in proofs if one.keys is not None)
            self._known[key] = _Known(principal, since, until, self._revocations(), keys)
        return principal

    def over(self, principal: Principal, now: int) -> Refusal | None:
        """Why ``principal`` makes no more calls, though it could when it was attributed; or None.

        Also if it is another by now: with another tier, ceiling or owner it may not go on as what it was.
        """
        refusal = self._revocations().refusal(principal)
        if refusal is not None:
            return refusal
        if fresh(principal.chain, self._tasks, self._agents, now):
            return None
        task = self._tasks.get(principal.task.id)
        links = None if task is None else chain(task, self._tasks, self._agents, now)
        if isinstance(links, Refusal):
            return links
        if task is not principal.task:
            return Refusal(Code.TASK_ENDED, "the task is over")
        return None if links == principal.chain else _ANOTHER

    # -- (1) --

    def _proofs(
        self, arrival: Arrival, presented: Presented | None, now: int
    ) -> list[Proof] | Refusal | KeysWanted:
        """Every proof that came with the connection and the request; none at all is a refusal."""
        found = self._of_connection(arrival, now)
        if isinstance(found, Refusal):
            return found
        if presented is not None and presented.token:
            told = proof.of_token(presented.token, self._trust, self._agents, now)
            if not isinstance(told, Proof):
                return told
            found.append(told)
        elif presented is not None and not found:
            return _NO_TOKEN
        return found or _MISSING

    def _of_connection(self, arrival: Arrival, now: int) -> list[Proof] | Refusal:
        found: list[Proof] = []
        if arrival.fixed is not None:
            found.append(proof.of_listener(arrival.fixed.agent, self._trust.session_issuer))
        if arrival.process is not None:
            kernel = proof.of_process(arrival.process, self._agents)
            if isinstance(kernel, Refusal):
                return kernel
            if kernel is not None:
                found.append(kernel)
            elif arrival.fixed is not None and self._agents.may_use(arrival.fixed.agent, Method.UNIX):
                words = "the process on the other side is not one that the agent is known by"
                return Refusal(Code.IDENTITY_CONFLICT, words)
        if arrival.certificate is not None:
            shown = proof.of_certificate(arrival.certificate, self._trust, self._agents, now)
            if isinstance(shown, Refusal):
                return shown
            found.append(shown)
        return found

    # -- (2) to (6) --

    def _agree(
        self, arrival: Arrival, presented: Presented | None, proofs: Sequence[Proof], now: int
    ) -> Principal | Unfit | Refusal:
        names = {one.agent for one in proofs}
        if len(names) > 1:
            words = ", ".join(f"{one.evidence.method.value} says {one.agent}" for one in proofs)
            return Refusal(Code.IDENTITY_CONFLICT, f"who is calling? {words}")
        agent = self._agents.get(proofs[0].agent)
        if agent is None:
            return Refusal(Code.AGENT_UNKNOWN, "the agent is not in the registry")
        evidence = tuple(one.evidence for one in proofs)
        task_id = self._named_task(agent, arrival, presented, proofs)
        task = None if isinstance(task_id, Refusal) else self._tasks.get(task_id)
        refusal = self._unsuitable(agent, proofs) or self._withdrawn(agent, proofs)
        if refusal is not None:
            return Unfit(refusal, agent, task, evidence)
        if isinstance(task_id, Refusal):
            if task_id is not _NO_TASK:
                return task_id
            # Whoever nobody answers for has no standing task, and the reason is that.
            return Unfit(_unanswered(agent) or task_id, agent, None, evidence)
        links = self._links(agent, task, proofs, now)
        if isinstance(links, Refusal):
            return Unfit(links, agent, task, evidence)
        actors = tuple(actor for one in proofs for actor in one.actors)
        principal = Principal(links, evidence, actors)
        refusal = self._revocations().refusal(principal) or unowned(links)
        return principal if refusal is None else Unfit(refusal, agent, task, evidence)

    def _unsuitable(self, agent: Agent, proofs: Sequence[Proof]) -> Refusal | None:
        """(3)."""
        for one in proofs:
            if not self._agents.may_use(agent.id, one.evidence.method):
                words = f"{agent.id} may not authenticate by {one.evidence.method.value}"
                return Refusal(Code.AUTHENTICATION_UNSUITABLE, words)
        return None

    def _withdrawn(self, agent: Agent, proofs: Sequence[Proof]) -> Refusal | None:
        """(4), before the task is looked at, which the same order has ended."""
        return self._revocations().withdrawn(agent.id, [one.evidence for one in proofs])

    def _named_task(
        self, agent: Agent, arrival: Arrival, presented: Presented | None, proofs: Sequence[Proof]
    ) -> str | Refusal:
        """The task that the evidence or the user name names, else the agent's standing one."""
        named = {one.task for one in proofs if one.task is not None}
        if presented is not None and TASK_ID.fullmatch(presented.username):
            named.add(presented.username)
        if len(named) > 1:
            return Refusal(Code.IDENTITY_CONFLICT, "the user name is the id of another task than the token's")
        fallback = arrival.fixed.task if arrival.fixed is not None else ""
        return next(iter(named), "") or fallback or self._standing.get(agent.id, "") or _NO_TASK

    def _links(
        self, agent: Agent, task: Task | None, proofs: Sequence[Proof], now: int
    ) -> tuple[Link, ...] | Refusal:
        """(5)."""
        if task is None:
            return Refusal(Code.TASK_UNKNOWN, "the task is not known to this sidecar")
        if task.agent != agent.id:
            return Refusal(Code.IDENTITY_INVALID, "the task belongs to another agent")
        if any(one.scopes is not None and one.scopes != task.scopes for one in proofs):
            return Refusal(Code.IDENTITY_INVALID, "the session token's scopes are not those of its task")
        return chain(task, self._tasks, self._agents, now)


def unowned(links: Sequence[Link]) -> Refusal | None:
    """(6): outside development and staging nobody calls for whom nobody answers."""
    return next((refusal for link in links if (refusal := _unanswered(link.agent)) is not None), None)


def _unanswered(agent: Agent) -> Refusal | None:
    if not agent.unowned:
        return None
    lacking = " and no ".join(agent.missing_owners).replace("_", " ")
    return Refusal(
        Code.AGENT_UNOWNED, f"{agent.id} has no {lacking}, and in {agent.environment} nothing leaves without"
    )


def _key(arrival: Arrival, presented: Presented | None) -> Key:
    if presented is None:
        return b"", "", arrival.fixed, arrival.process, arrival.certificate
    name = presented.username
    if not name.startswith("t-") or not TASK_ID.fullmatch(name):
        name = ""  # it says nothing; remembered under each such name, one token would crowd out all others
    return presented.digest, name, arrival.fixed, arrival.process, arrival.certificate
