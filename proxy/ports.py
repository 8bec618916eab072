"""The seams: what the engine needs from the other parts, a port per need.

Shell packages do not import each other; ``wiring`` joins them through these Protocols. What leaves
a port is ours: no library's exception crosses it.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from proxy.credential.binding import Binding
from proxy.credential.placeholder import Holding
from proxy.credential.secret import Secret
from proxy.errors import Refusal
from proxy.identity.keyset import KeySet
from proxy.identity.principal import Principal, Task
from proxy.policy.approval import Approval, Asked, Declined, Waiting
from proxy.policy.decision import Question, Ruling


class LogUnavailable(Exception):
    """The log could not make a record durable. Nothing may leave."""


class Log(Protocol):
    """The audit log as the engine sees it."""

    def append(self, entry: bytes, *, urgent: bool = True) -> Awaitable[int]:
        """Append one entry; resolves to its leaf index once it is durable. ``urgent``: somebody waits.

        :raises LogUnavailable: if it cannot be made durable; once raised it stays raised until restart.
        """
        ...


class Clock(Protocol):
    """Time, as an argument."""

    def wall_ns(self) -> int:
        """POSIX time in nanoseconds."""
        ...

    def mono_ns(self) -> int:
        """Monotonic time in nanoseconds; only differences mean anything."""
        ...


class Resolver(Protocol):
    """Name resolution. It is asked only after the decision is durable."""

    async def resolve(self, name: str) -> tuple[str, ...] | Refusal:
        """Every address of a canonical host name, as printed addresses; DNS_ERROR if there is none."""
        ...


class Tasks(Protocol):
    """The tasks this sidecar knows, answered from memory."""

    def get(self, task_id: str) -> Task | None:
        """The task with this id in its present state, or None."""
        ...

    def holding(self, placeholder: bytes) -> Holding | None:
        """What this placeholder stands for (looked up by digest), or None if it is not one of ours."""
        ...

    async def refresh(self) -> None:
        """Look again at once for what other processes wrote; concurrent calls share one look."""
        ...

    def on_end(self, callback: Callable[[Task], None]) -> None:
        """Call back, on the event loop, for every task that leaves the state ``open``."""
        ...


class Keys(Protocol):
    """The keys of foreign issuers, answered from memory; ``issuer`` is its URL or a trust domain's id."""

    def get(self, issuer: str) -> KeySet | None:
        """The keys that may be used now (fresh, or stale within their cap), or None."""
        ...

    async def want(self, issuer: str, key_id: str) -> None:
        """Look for a key that ``get`` did not have. Never raises.

        Concurrent calls share one look, and looks are rare: it may return at once because there was one
        a moment ago.
        """
        ...


class Ask(NamedTuple):
    """One request to the desk. ``parameters`` are the query's, decoded, in order."""

    method: str
    path: str
    parameters: tuple[tuple[str, str], ...]
    body: bytes


class Answer(NamedTuple):
    """The desk's answer: JSON in ``body``."""

    status: int
    body: bytes


class Desk(Protocol):
    """What an agent may ask about itself at ``http://gatepass.internal/``."""

    async def answer(self, principal: Principal, ask: Ask) -> Answer | Refusal:
        """Serve one request of an attributed caller. Its record is durable."""
        ...


class Approvals(Protocol):
    """The queue of held requests, and what people have said of them."""

    async def redeem(self, asked: Asked) -> Approval | Declined | None:
        """Take one use of an approval of exactly this request, durably; None if there is none (any more).

        Never raises: if it cannot be looked up there is none.
        """
        ...

    async def file(self, asked: Asked) -> Waiting | Refusal:
        """Queue a request for a person, or find it queued already; APPROVALS_FULL if too many wait."""
        ...

    async def answered(self, waiting: Waiting, seconds: float) -> bool:
        """Wait until a person has answered, for so long at most; whether that was so."""
        ...


class RemotePdp(Protocol):
    """A policy decision point elsewhere (OPA, AuthZEN)."""

    async def decide(self, question: Question) -> Ruling:
        """Ask it. Never raises: whatever fails, and no answer in time, is a Deny with PDP_UNAVAILABLE."""
        ...


class Credentials(Protocol):
    """Where credentials come from (a broker). Asked only after the decision is durable."""

    async def fetch(self, binding: Binding, task: Task) -> Secret | Refusal:
        """The credential of this binding for this task; CREDENTIAL_UNAVAILABLE if there is none."""
        ...

    async def release(self, task: Task) -> int:
        """The task is over: revoke every lease issued for it; returns how many there were. Never raises."""
        ...
