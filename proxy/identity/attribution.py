"""From evidence to a ``Principal``, on every request anew (the PIP of XACML, for the subject).

The signature of a token is verified once and remembered by the token's digest until it expires; that
its time has not run out, its task is open and its agent is registered is asked each time, from
memory, so a revocation holds from the next request on.
"""

import hashlib
from typing import Protocol

from proxy.errors import Code, Refusal
from proxy.identity.jws import SignedClaims, VerifyingKeys, out_of_time, verify_session
from proxy.identity.presented import Presented
from proxy.identity.principal import Agent, Evidence, Principal, Task, TaskState

CACHE_SIZE = 4096  # about 1 KiB each


class KnownAgents(Protocol):
    """Where agents are looked up."""

    def get(self, agent_id: str) -> Agent | None:
        """The agent with this id, or None."""
        ...


class KnownTasks(Protocol):
    """Where tasks are looked up."""

    def get(self, task_id: str) -> Task | None:
        """The task with this id in its present state, or None."""
        ...


class Attributor:
    """Says who is calling."""

    def __init__(
        self,
        keys: VerifyingKeys,
        issuer: str,
        audience: str,
        agents: KnownAgents,
        tasks: KnownTasks,
        *,
        cache_size: int = CACHE_SIZE,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._agents = agents
        self._tasks = tasks
        self._cache_size = cache_size
        self._verified: dict[bytes, SignedClaims] = {}

    def attribute(self, presented: Presented, peer: str, now: int) -> Principal | Refusal:
        """The principal a token speaks for; ``peer`` is ``host:port``, ``now`` POSIX seconds."""
        signed = self._verify(presented.token, now)
        if isinstance(signed, Refusal):
            return signed
        claims = signed.claims
        subject = self._subject(claims.subject, claims.task, now)
        if isinstance(subject, Refusal):
            return subject
        agent, task = subject
        if claims.scopes != task.scopes:
            return Refusal(Code.IDENTITY_INVALID, "the session token's scopes are not those of its task")
        return Principal(agent, task, _evidence(signed, peer))

    def fixed(self, agent_id: str, task_id: str, peer: str, now: int) -> Principal | Refusal:
        """The principal of a listener that carries a fixed identity, under its standing task."""
        subject = self._subject(agent_id, task_id, now)
        if isinstance(subject, Refusal):
            return subject
        return Principal(*subject, Evidence("listener", self._issuer, "", "", "", peer))

    def over(self, principal: Principal, now: int) -> Refusal | None:
        """Why ``principal`` makes no more calls, though it could when it was attributed; or None."""
        subject = self._subject(principal.agent.id, principal.task.id, now)
        return subject if isinstance(subject, Refusal) else None

    def _verify(self, token: bytes, now: int) -> SignedClaims | Refusal:
        digest = hashlib.sha256(token).digest()
        known = self._verified.get(digest)
        if known is not None:
            refusal = out_of_time(known.claims, now)
            if refusal is None:
                return known
            del self._verified[digest]
            return refusal
        signed = verify_session(token, self._keys, issuer=self._issuer, audience=self._audience, now=now)
        if isinstance(signed, SignedClaims):
            # Only what verified is remembered, so nobody can fill the cache with rubbish.
            if len(self._verified) >= self._cache_size:
                del self._verified[next(iter(self._verified))]
            self._verified[digest] = signed
        return signed

    def _subject(self, agent_id: str, task_id: str, now: int) -> tuple[Agent, Task] | Refusal:
        agent = self._agents.get(agent_id)
        if agent is None:
            return Refusal(Code.AGENT_UNKNOWN, "the agent is not in the registry")
        task = self._tasks.get(task_id)
        if task is None:
            return Refusal(Code.TASK_UNKNOWN, "the task is not known to this sidecar")
        if task.agent != agent_id:
            return Refusal(Code.IDENTITY_INVALID, "the task belongs to another agent")
        over = _over(agent, task, now)
        return Refusal(Code.TASK_ENDED, over) if over else (agent, task)


def _over(agent: Agent, task: Task, now: int) -> str | None:
    """Why the task makes no more calls, or None."""
    if task.state is not TaskState.OPEN:
        return f"the task is {task.state.value}"
    if task.expires_at <= now:
        return "the task has expired"
    if task.environment != agent.environment:
        return "the agent has moved to another environment since the task began"
    return None


def _evidence(signed: SignedClaims, peer: str) -> Evidence:
    claims = signed.claims
    return Evidence(
        method="session-token",
        issuer=claims.issuer,
        key_id=signed.key_id,
        token_id=claims.token_id,
        token_sha256=signed.token_sha256,
        peer=peer,
    )
