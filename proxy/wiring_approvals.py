"""Approvals, joined: the log is told of every one, operators answer them, agents see their own.

Commands answer while no sidecar runs. So records are made from what the file says has happened, in its
order, and the main log keeps a mark there: the event up to which its records are durable. A start goes on
behind the mark; what had happened before it is told with ``late`` and the time, ``at_ns``. The logs of
further sidecars of a state directory keep no mark: they tell what happens while they live. The mark moves
over durable records alone: after a crash in between, the next start tells an event again rather than never.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import orjson

from proxy.audit.canonical import Json
from proxy.engine.scribe import Scribe
from proxy.errors import Code, Refusal
from proxy.identity.principal import Principal
from proxy.identity.registry import Registry
from proxy.policy.approval import ADMIN, Approver, Denial, Entry, Grant, State, Unanswered
from proxy.store.approvals import ApprovalBook, ApprovalStore, ApprovalStoreError, Event, Kind
from proxy.store.approvals_file import APPROVALS

__all__ = ["APPROVALS", "Answers", "ApprovalBook", "ApprovalChronicle", "approver", "event_record", "own"]

PATIENCE_S = 1.0
_AGAIN_S = 1.0
_PAGE = 200
_NS = 1_000_000_000
_UNTOLD = "approvals are recorded later"

T = TypeVar("T")


class ApprovalChronicle:
    """See the module. ``log`` names the mark; None is a log that keeps none.

    A start, and a stop, waits at most ``patience`` seconds for the records of a long history; what is
    left is told while the sidecar runs, or by the next one.
    """

    def __init__(
        self,
        book: ApprovalBook,
        scribe: Scribe,
        alarm: Callable[[str], None],
        log: str | None,
        patience: float = PATIENCE_S,
    ) -> None:
        self._book = book
        self._scribe = scribe
        self._alarm = alarm
        self._log = log
        self._patience = patience
        self._first = 0  # what had happened before this start
        self._told: int | None = None
        self._woken = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._failing = False

    async def start(self) -> None:
        """Tell what is still to be told, as far as patience goes; then go on, with that and what comes.

        :raises ApprovalStoreError: the file cannot be read.
        """
        log = self._log
        self._book.on_change(self._woken.set)
        self._first = self._told = await self._book.ask(ApprovalStore.last)
        if log is not None:
            self._told = await self._book.ask(lambda store: store.recorded(log))
        await self._tell(self._patience)
        self._woken.set()
        self._follower = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Tell what has happened so far, as far as patience goes. The book is still open."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
            await self._try(self._patience)

    async def _follow(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            if not await self._try(math.inf):
                await asyncio.sleep(_AGAIN_S)  # a file that could not be read tells nobody when it can
                self._woken.set()

    async def _try(self, seconds: float) -> bool:
        """What cannot be read or written now is tried again; the operator is told once."""
        try:
            await self._tell(seconds)
        except Exception as error:  # noqa: BLE001 - whatever it is, there are no records meanwhile
            if not self._failing:
                self._alarm(f"{_UNTOLD}: {type(error).__name__}: {error}")
            self._failing = True
            return False
        self._failing = False
        return True

    async def _tell(self, seconds: float) -> None:
        """Record what has happened, a page at a time, until there is no more or time is up."""
        loop, log = asyncio.get_running_loop(), self._log
        deadline = loop.time() + seconds
        assert self._told is not None, "it tells only after start"
        while loop.time() < deadline:
            page = partial(ApprovalStore.history, after=self._told, limit=_PAGE)
            events = await self._book.ask(page)
            if not events:
                return
            for event in events:
                kind, body = event_record(event)
                if event.seq <= self._first:
                    body |= {"late": True, "at_ns": str(event.at * _NS)}
                self._scribe.note(kind, body)
                self._told = event.seq
            if not await self._scribe.written():
                continue  # the log has lost something: no mark moves any more
            if log is not None:
                await self._book.ask(partial(ApprovalStore.set_recorded, log=log, seq=self._told))


def event_record(event: Event) -> tuple[str, dict[str, Json]]:
    """What the log says of an event: its type, and everything that the approval binds."""
    asked, facts = event.asked, event.facts
    body: dict[str, Json] = {
        "id": event.id,
        "agent": asked.agent,
        "task": asked.task,
        "purpose": asked.purpose,
        "chain": list(asked.chain),
        "owners": list(asked.owners),
        "method": asked.method,
        "url": asked.url,
        "actions": list(asked.actions),
        "facts": orjson.loads(asked.facts),
        "rules": list(asked.rules),
        "request_sha256": asked.request_sha256,
        "ruleset_sha256": asked.ruleset_sha256,
        "asked_at": asked.asked_at,
        "expires_at": event.expires_at,
        "at": event.at,
        "detail": f"{event.id}: {asked.method} {asked.url} {_what(event)}",
    }
    return f"approval.{event.kind.value}", body | dict(facts)


def _what(event: Event) -> str:
    facts = event.facts
    match event.kind:
        case Kind.REQUEST:
            return "waits for approval"
        case Kind.GRANT:
            uses = "once" if facts["uses"] == 1 else f"{facts['uses']} times"
            return f"approved {uses} by {facts['approver']}"
        case Kind.DENY:
            return f"denied by {facts['approver']}"
        case Kind.USE:
            return f"use {facts['use']} of {facts['uses']}, approved by {facts['approver']}"
        case Kind.EXPIRE:
            return f"is over: {facts['why']}"


class Answers:
    """What operators may do with requests; ``path`` is the file, ``registry`` the present agents."""

    def __init__(self, path: Path, registry: Callable[[], Registry]) -> None:
        self._path = path
        self._registry = registry

    async def entries(self, state: State | None, limit: int) -> Sequence[Entry]:
        """The latest ``limit`` requests in this state (None: in any), the newest first.

        :raises ApprovalStoreError: if the file cannot be read.
        """
        return await asyncio.to_thread(self._with, lambda store: store.list(state, limit=limit))

    async def entry(self, request_id: str) -> Entry | None:
        """One request, or None if it is not known.

        :raises ApprovalStoreError: if the file cannot be read.
        """
        return await asyncio.to_thread(self._with, lambda store: store.get(request_id))

    async def answer(self, request_id: str, said: Grant | Denial, operator: str) -> Entry | Unanswered:
        """An operator's word; it is durable when this returns, and sidecars hear of it in a moment.

        :raises ApprovalStoreError: if it cannot be kept.
        """
        who, now = approver(operator, self._registry()), int(time.time())
        return await asyncio.to_thread(self._with, lambda store: store.answer(request_id, said, who, now))

    def _with(self, job: Callable[[ApprovalStore], T]) -> T:
        with ApprovalStore.open(self._path) as store:
            return job(store)


def approver(operator: str, registry: Registry) -> Approver:
    """An operator of the control API, ``admin`` or ``ISSUER:SUBJECT``, as the one who answers."""
    issuer, colon, subject = operator.partition(":")
    if operator == ADMIN or not colon:
        return Approver(operator, frozenset())
    return Approver(operator, frozenset(agent.id for agent in registry.by_token(issuer, subject, {})))


async def own(book: ApprovalBook, principal: Principal) -> Sequence[Mapping[str, object]] | Refusal:
    """The caller's requests for the desk: those of its task, and of them no more than it has sent itself."""
    try:
        entries = await book.of_task(principal.task.id)
    except ApprovalStoreError:
        return Refusal(Code.INTERNAL, "the queue of approvals cannot be read")
    return [
        {
            "id": entry.id,
            "state": entry.state.value,
            "method": entry.asked.method,
            "url": entry.asked.url,
            "asked_at": entry.asked.asked_at,
            "expires_at": entry.granted_until or entry.expires_at,
            "reason": entry.reason if entry.state is State.DENIED else "",
        }
        for entry in entries
        if entry.asked.agent == principal.agent.id
    ]
