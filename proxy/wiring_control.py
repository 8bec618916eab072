"""The control API, joined to tasks and orders: who is an operator, and what each of their words does.

Operators have the local admin token (``<state>/control/admin.token``, made at the first start) or a token
of an issuer that ``control.operators`` describes.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path

from proxy.control.guard import admin_token
from proxy.control.operations import Declined, Delegated, Health, RevokeReport, TaskAsked, TaskFacts
from proxy.errors import Code, Refusal
from proxy.identity import ways
from proxy.identity.assertion import KeysWanted, Peek, SignedAssertion, peek, verify_oidc
from proxy.identity.budget import Spending
from proxy.identity.delegation import chain
from proxy.identity.principal import NO_BUDGETS, Budgets, Task, TaskState
from proxy.identity.proof import Trust
from proxy.identity.registry import Registry
from proxy.identity.revocation import Kind, Order, Revocations
from proxy.identity.rights import meet_budgets
from proxy.policy.approval import Denial, Entry, Grant, State, Unanswered
from proxy.ports import Keys
from proxy.problems import Problem
from proxy.settings import ControlSettings
from proxy.store.private_file import load_or_create, private_directory
from proxy.store.tasks import TaskBook, TaskOverError, TaskStore
from proxy.wiring_approvals import APPROVALS, Answers
from proxy.wiring_revocation import Consequences
from proxy.wiring_tasks import Office

Alarm = Callable[[str], None]
TOKEN_FILE = "admin.token"  # noqa: S105 - a file's name
_STRANGER = Refusal(Code.IDENTITY_INVALID, "the token is not an operator's")


class Operators:
    """Says which operator a token is of. An agent of the present ``registry`` is none, whatever it shows."""

    def __init__(
        self,
        settings: ControlSettings,
        token: bytes,
        trust: Trust,
        keys: Keys,
        revocations: Callable[[], Revocations],
        registry: Callable[[], Registry],
    ) -> None:
        self._token = token
        self._trust = trust
        self._keys = keys
        self._revocations = revocations
        self._registry = registry
        entries = (ways.token(one.issuer, one.subject, one.claims) for one in settings.operators)
        self._ways = ways.Ways((str(number), way) for number, way in enumerate(entries))

    async def authenticate(self, token: bytes) -> str | Refusal:
        """The operator's name: ``admin``, or issuer and subject."""
        if admin_token(self._token, token):
            return "admin"
        seen = peek(token)
        issuer = self._trust.issuers.get(seen.issuer) if isinstance(seen, Peek) else None
        if issuer is None:
            return _STRANGER
        now = int(time.time())
        found = verify_oidc(token, issuer, self._keys.get(issuer.url), now)
        if isinstance(found, KeysWanted):
            await self._keys.want(found.issuer, found.key_id)
            found = verify_oidc(token, issuer, self._keys.get(issuer.url), now)
        if isinstance(found, KeysWanted):
            return _STRANGER
        if not isinstance(found, SignedAssertion):
            return found
        return self._known(issuer.name, found)

    def _known(self, issuer: str, found: SignedAssertion) -> str | Refusal:
        refusal = self._revocations().discredited(found.evidence)
        if refusal is not None:
            return refusal
        if not self._ways.fitting(ways.token(issuer, found.subject, found.claims)):
            words = f"{found.subject} of {issuer} is not one of control.operators"
            return Refusal(Code.AUTHENTICATION_UNSUITABLE, words)
        agents = self._registry().by_token(issuer, found.subject, found.claims)
        if agents:
            words = f"{found.subject} of {issuer} is the agent {agents[0].id}, and no agent is an operator"
            return Refusal(Code.AUTHENTICATION_UNSUITABLE, words)
        return f"{issuer}:{found.subject}"


class Orders:
    """Implements ``control.operations.Operations``. ``office`` is the present one."""

    def __init__(
        self,
        path: Path,
        book: TaskBook,
        office: Callable[[], Office],
        consequences: Consequences,
        spending: Spending,
        health: Callable[[], Health],
    ) -> None:
        self._path = path
        self._book = book
        self._office = office
        self._consequences = consequences
        self._spending = spending
        self._health = health
        self._answers = Answers(path.with_name(APPROVALS), lambda: office().registry)

    async def start_task(self, asked: TaskAsked, by: str) -> Delegated | Declined:
        """See ``Operations``."""
        office = self._office()
        draft = office.draft(asked, int(time.time()))
        if isinstance(draft, Problem):
            return Declined(draft.message)
        try:
            await self._book.create(draft.task, draft.manifest, draft.holdings, by)
        except TaskOverError as error:
            return Declined(str(error))
        token = office.token(draft.task)
        return Delegated(draft.task, token, draft.placeholders, draft.variables)

    async def tasks(self, state: TaskState | None, limit: int) -> Sequence[Task]:
        """See ``Operations``."""
        return await asyncio.to_thread(self._list, state, limit)

    async def task(self, task_id: str) -> TaskFacts | None:
        """See ``Operations``."""
        task = self._book.get(task_id) or await asyncio.to_thread(self._look_up, task_id)
        if task is None:
            return None
        links = chain(task, self._book, self._office().registry, int(time.time()))
        if isinstance(links, Refusal):  # it is over: what is left of it is of no use to anybody
            return TaskFacts(task, (task,), NO_BUDGETS)
        left: Budgets = reduce(meet_budgets, (self._spending.left(link) for link in links))
        return TaskFacts(task, tuple(link.task for link in links), left)

    async def end_task(self, task_id: str, reason: str, by: str) -> int | None:
        """See ``Operations``."""
        ended = await self._book.end(task_id, reason or f"ended by {by}", by=by)
        return None if ended is None else len(ended)

    async def revoke(self, kind: Kind, identity: str, reason: str, by: str) -> RevokeReport | None:
        """See ``Operations``."""
        return await self._consequences.revoke(Order(kind, identity, reason, by, time.time_ns()))

    async def lift(self, kind: Kind, identity: str, by: str) -> bool:
        """See ``Operations``."""
        return await self._consequences.lift(kind, identity, by)

    def revocations(self) -> Sequence[Order]:
        """See ``Operations``."""
        return tuple(self._book.revocations)

    async def approvals(self, state: State | None, limit: int) -> Sequence[Entry]:
        """See ``Operations``."""
        return await self._answers.entries(state, limit)

    async def approval(self, request_id: str) -> Entry | None:
        """See ``Operations``."""
        return await self._answers.entry(request_id)

    async def answer(self, request_id: str, said: Grant | Denial, operator: str) -> Entry | Unanswered:
        """See ``Operations``."""
        return await self._answers.answer(request_id, said, operator)

    def health(self) -> Health:
        """See ``Operations``."""
        return self._health()

    def _list(self, state: TaskState | None, limit: int) -> Sequence[Task]:
        with TaskStore.open(self._path) as store:
            return [stored.task for stored in store.list(state)[:limit]]

    def _look_up(self, task_id: str) -> Task | None:
        with TaskStore.open(self._path) as store:
            stored = store.get(task_id)
            return None if stored is None else stored.task


def token_path(state: Path) -> Path:
    """Where the local admin token is kept."""
    return state / "control" / TOKEN_FILE


def control_token(state: Path, randomness: Callable[[int], bytes]) -> bytes:
    """The local admin token, made if there is none yet.

    :raises KeyringError: others can read it, or it cannot be read or written.
    """
    private_directory(state / "control")
    made = load_or_create(
        token_path(state),
        lambda: randomness(32).hex().encode("ascii") + b"\n",
    )
    return made.strip()


class Control:
    """The control API of a sidecar. What it needs of aiohttp is imported here, so that others do without."""

    def __init__(self, address: tuple[str, int], orders: Orders, operators: Operators, alarm: Alarm) -> None:
        from proxy.control.api import ControlApi  # noqa: PLC0415 - see the class

        self._host, self._wanted = address
        self._api = ControlApi(orders, operators.authenticate, alarm)
        self.port: int | None = None

    async def start(self) -> None:
        """Listen.

        :raises OSError: if it cannot.
        """
        self.port = await self._api.start(self._host, self._wanted)

    async def close(self) -> None:
        """Stop listening."""
        await self._api.close()

    def own(self) -> frozenset[tuple[str, int]]:
        """Its address: no agent's request may be relayed to it."""
        if self.port is None:
            return frozenset()
        local = self._host in {"0.0.0.0", "::", "localhost"}  # noqa: S104 - compared with, not bound to
        hosts = {self._host, "localhost", "127.0.0.1", "::1"} if local else {self._host}
        return frozenset((host, self.port) for host in hosts)
