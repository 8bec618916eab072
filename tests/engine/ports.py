"""An engine put together from its ports, each of which a test may replace: what fails, fails for real.

The upstream is plain, the listeners carry fixed identities (``AGENTS``), the log is in memory.
"""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.audit.ledger import Ledger
from proxy.audit.record import Record, parse
from proxy.credential import placeholder
from proxy.credential.binding import Binding
from proxy.credential.placeholder import Holding, digest
from proxy.credential.secret import Secret
from proxy.engine.blocked import Blocked
from proxy.engine.caller import Doorman
from proxy.engine.deadlines import Deadlines
from proxy.engine.decide import Decider
from proxy.engine.destination import Destinations
from proxy.engine.dial import Dialer
from proxy.engine.enforce import Enforcer
from proxy.engine.front import Terms
from proxy.engine.holding import Holding as Waiting
from proxy.engine.judge import Judge
from proxy.engine.leaf import Mint
from proxy.engine.leaf_cache import LeafCache, anonymous_files
from proxy.engine.panel import Panel
from proxy.engine.pool import Pool
from proxy.engine.response import Patience
from proxy.engine.room import Room
from proxy.engine.scribe import Scribe
from proxy.engine.server import Listener, Server
from proxy.errors import Refusal
from proxy.http.address import AllowPrivate
from proxy.identity.arrival import Fixed
from proxy.identity.attribution import Attributor
from proxy.identity.budget import Spending
from proxy.identity.jws import VerifyingKeys
from proxy.identity.keyset import KeySet
from proxy.identity.principal import NO_BUDGETS, Agent, Budgets, Task, TaskState
from proxy.identity.proof import Trust
from proxy.identity.registry import Registry
from proxy.identity.revocation import Order, Revocations
from proxy.policy import approval
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.decision import Allow, Pdp, Ruling, Site
from proxy.policy.needs import NOTHING
from proxy.policy.observe import observe
from proxy.policy.window import Windows
from proxy.ports import Answer, Approvals, Clock, Credentials, Desk, Log, LogUnavailable, Resolver
from proxy.store import authority
from proxy.wiring import SystemClock
from tests.support.rawclient import RawClient, Response, basic
from tests.support.resolver import ScriptedResolver
from tests.support.upstream import Upstream

AGENTS = ("one", "two")
TOKEN = placeholder.mint(b"r" * 24)
HELD = Holding(placeholder.digest(TOKEN.encode()), "one", "api", "one")
BEARER = f"Authorization: Bearer {TOKEN}"
YES = Allow(("yes",))


class Journal:
    """A log in memory. ``broken``: nothing can be made durable any more; ``held``: not before it is set."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.broken = False
        self.held: asyncio.Event | None = None
        self.waiting = 0

    async def append(self, entry: bytes, *, urgent: bool = True) -> int:
        if (held := self.held) is not None:
            self.waiting += 1
            await held.wait()
            self.waiting -= 1
        if self.broken:
            raise LogUnavailable("the disk is full")
        self.entries.append(entry)
        return len(self.entries) - 1


class Book:
    """The tasks of ``AGENTS``, one each, and what they hold. Implements ``ports.Tasks``."""

    def __init__(self, holdings: Iterable[Holding] = (), budgets: Budgets = NO_BUDGETS) -> None:
        self.revocations = Revocations()
        self._holdings = {holding.placeholder_sha256: holding for holding in holdings}
        self.tasks = {
            name: Task(
                name, name, "a test", (), "development", 0, 1 << 40, "0" * 64, budgets=budgets, depth=3
            )
            for name in AGENTS
        }

    def delegate(self, parent: str, agent: str, **changes: object) -> Task:
        """A task of ``agent`` that was handed on from the task ``parent``."""
        above = self.tasks[parent]
        same = {"parent": parent, "depth": above.depth - 1, "manifest_sha256": "1" * 64}
        task_id = "t-" + "abcdefgh"[len(self.tasks)] * 26
        task = replace(above, id=task_id, agent=agent, **{"budgets": NO_BUDGETS, **same, **changes})
        self.tasks[task.id] = task
        return task

    def get(self, task_id: str) -> Task | None:
        return self.tasks.get(task_id)

    def holding(self, placeholder: bytes) -> Holding | None:
        return self._holdings.get(digest(placeholder))

    async def refresh(self) -> None:
        return None

    def on_end(self, callback: Callable[[Task], None]) -> None:
        raise AssertionError("nobody is told here: the test ends tasks itself")

    def end(self, name: str) -> None:
        self.tasks[name] = replace(self.tasks[name], state=TaskState.ENDED)

    def revoke(self, order: Order) -> None:
        self.revocations = Revocations([*self.revocations, order])


def named(task: Task) -> str:
    """The header in which a client of a listener with an identity names another task of its agent."""
    return f"Proxy-Authorization: {basic(task.id, '')}"


class NoKeys:
    """Nobody else issues tokens. Implements ``ports.Keys``."""

    def get(self, issuer: str) -> KeySet | None:
        return None

    async def want(self, issuer: str, key_id: str) -> None:
        return None


class Echo:
    """A desk that says what it was asked. Implements ``ports.Desk``."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []

    async def answer(self, principal, ask) -> Answer:
        self.asked.append((principal.agent.id, ask))
        return Answer(200, ask.body or b"{}")


class Nobody:
    """An office where nobody ever answers. Implements ``ports.Approvals``."""

    async def redeem(self, asked):
        return None

    async def file(self, asked):
        return approval.Waiting("a-1", asked.asked_at + 60)

    async def answered(self, waiting, seconds):
        return False


class Purse:
    """One credential for whoever asks, and what was handed back."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released: list[str] = []

    async def fetch(self, binding: Binding, task: Task) -> Secret | Refusal:
        self.asked.append(binding.service)
        return Secret("token", b"live")

    async def release(self, task: Task) -> int:
        self.released.append(task.id)
        return 1


SERVICE = b"""\
{"name": "api", "hosts": ["api.test"], "owner": "ada", "data_owner": "grace", "sensitivity": "internal",
 "environments": ["development"], "credential": {"provider": "env", "name": "API_TOKEN"}}
"""


def api():
    rules = load_rules({"services/api.yaml": SERVICE, "policies/none.cedar": b""}, [])
    assert isinstance(rules, RuleSet), rules
    return rules.catalogue.services[0]


class Says:
    """A PDP that has made up its mind."""

    def __init__(self, decision) -> None:
        self.decision, self.asked, self.service = decision, 0, api()

    def site(self, origin) -> Site:
        return Site(self.service, NOTHING)

    def decide(self, question) -> Ruling:
        self.asked += 1
        return Ruling(self.decision, b"{}", self.service, "read", "0" * 64, "test", observed=False)


class Explodes:
    """Any port whose every method fails with an exception that nobody foresaw."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def site(self, origin):
        raise self.error

    def decide(self, question):
        raise self.error

    async def fetch(self, binding, task):
        raise self.error

    async def answer(self, principal, ask):
        raise self.error

    async def resolve(self, name):
        raise self.error


@dataclass
class Engine:
    server: Server
    enforcer: Enforcer
    scribe: Scribe
    pool: Pool
    deadlines: Deadlines
    journal: Journal
    book: Book
    upstream: Upstream
    judge: Judge
    spending: Spending
    desk: Desk
    blocked: Blocked
    alarms: list[str] = field(default_factory=list)

    @property
    def records(self) -> list[Record]:
        return [parse(entry) for entry in self.journal.entries]

    @property
    def decisions(self) -> list[tuple[str, str, int | None]]:
        return [(r.effect, r.code, r.status) for r in self.records if r.kind == "decision"]

    @property
    def outcomes(self) -> list[tuple[str, str, int | None]]:
        return [(r.result, r.code, r.status) for r in self.records if r.kind == "outcome"]

    def consistent(self) -> bool:
        """Whether the records so far are a log without faults (``audit.ledger``)."""
        ledger = Ledger("test")
        faults = [fault for entry in self.journal.entries if (fault := ledger.add(entry)) is not None]
        assert not faults, faults
        return True

    async def client(self, agent: str = "one") -> RawClient:
        return await RawClient.connect(self.server.addresses[AGENTS.index(agent)])

    def head(self, path: str = "/", *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
        where = f"{self.upstream.hosts[0]}:{self.upstream.port}"
        lines = [f"{method} http://{where}{path} HTTP/{version}", f"Host: {where}", *headers, "", ""]
        return "\r\n".join(lines).encode()

    def to_desk(
        self, path: str = "/whoami", *headers: str, method: str = "GET", version: str = "1.1"
    ) -> bytes:
        lines = [
            f"{method} http://gatepass.internal{path} HTTP/{version}",
            "Host: gatepass.internal",
            *headers,
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    async def call(self, path: str = "/", *headers: str, method: str = "GET", agent: str = "one") -> Response:
        """One request on a connection of its own."""
        async with await self.client(agent) as client:
            await client.send(self.head(path, *headers, method=method))
            return await client.read_response(to_head=method == "HEAD")


def leaves() -> LeafCache:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    mint = Mint(key, x509.load_pem_x509_certificate(authority.certificate(key, now, 1)), lambda _: True)
    assert anonymous_files(), "these tests need a system with files in memory"
    return LeafCache(
        mint,
        now=lambda: datetime.now(UTC),
        serial=x509.random_serial_number,
        spill=lambda _: contextlib.nullcontext(""),
    )


PATIENCE = Patience(
    first_byte=30, upstream_idle=30, downstream_idle=30, head=65_536, header_count=100, header_line=8_192
)


@contextlib.asynccontextmanager
async def engine(
    *,
    upstream: Upstream | None = None,
    pdp: Pdp | None = None,
    credentials: Credentials | None = None,
    holdings: Iterable[Holding] = (),
    resolver: Resolver | None = None,
    journal: Journal | None = None,
    log: Log | None = None,
    now: Callable[[], float] | None = None,
    pool_size: int = 8,
    pool_idle: float = 60,
    patience: Patience = PATIENCE,
    connections: int = 100,
    entropy: Callable[[int], bytes] = os.urandom,
    opened: bool = True,
    budgets: Budgets = NO_BUDGETS,
    desk: Desk | None = None,
    clock: Clock | None = None,
    approvals: Approvals | None = None,
    content: int = 65_536,
    room: Room | None = None,
) -> AsyncIterator[Engine]:
    """An engine in front of ``upstream``, with everything that is not given in good order.

    ``opened``: the upstream's loopback address may be dialled. ``now`` is the connections' own clock.
    """
    loop, clock, alarms = asyncio.get_running_loop(), clock or SystemClock(), []
    async with upstream or Upstream("api.test", tls=False) as up:
        book, kept = Book(holdings, budgets), journal or Journal()
        spending, blocked, served = Spending(), Blocked(), desk or Echo()
        allowed = [AllowPrivate(name, "127.0.0.0/8", up.port) for name in up.hosts] if opened else []
        registry = Registry.of(Agent(name, "development", "low", "ada", "grace") for name in AGENTS)
        trust = Trust(VerifyingKeys(), "test", "test", {}, frozenset(), "test", NoKeys())
        attributor = Attributor(trust, registry, book, revocations=lambda: book.revocations)
        doorman, panel = Doorman(attributor, NoKeys(), book, clock), Panel(spending, Windows())
        waiting = Waiting(approvals or Nobody(), clock, wait=0, link=None, over=doorman.over)
        judge = Judge(
            doorman=doorman,
            panel=panel,
            decider=Decider(panel, book, clock, content, waiting),
            rules=lambda: pdp or observe(),
            destinations=Destinations(None, allowed, frozenset, ip_literals=False),
            header_count=100,
            header_line=8_192,
            target=8_192,
            encoded_slash=lambda _: False,
        )
        scribe = Scribe(
            log=log or kept, clock=clock, entropy=entropy, origin="test", boot="BOOT", alarm=alarms.append
        )
        enforcer = Enforcer(
            judge=judge,
            scribe=scribe,
            clock=clock,
            credentials=credentials or Purse(),
            blocked=blocked,
        )
        deadlines = Deadlines(loop.time)
        answers = ScriptedResolver({name: [("127.0.0.1",)] for name in up.hosts})
        context = ssl.create_default_context(cadata=up.ca_pem.decode())
        dialer = Dialer(resolver or answers, context, deadlines, allowed, 10, frozenset)
        pool = Pool(dialer, pool_size, pool_idle, loop.time)
        terms = Terms(
            enforcer=enforcer,
            desk=served,
            pool=pool,
            leaves=leaves(),
            clock=clock,
            patience=patience,
            head_timeout=30,
            handshake_timeout=30,
            idle_timeout=30,
            connections_per_agent=50,
            now=now or loop.time,
            room=room or Room(),
        )
        server = Server(terms, deadlines, connections, alarms.append)
        await server.listen([Listener("127.0.0.1", 0, Fixed(name, name)) for name in AGENTS])
        try:
            yield Engine(
                server,
                enforcer,
                scribe,
                pool,
                deadlines,
                kept,
                book,
                up,
                judge,
                spending,
                served,
                blocked,
                alarms,
            )
        finally:
            await server.drain(2)
            await enforcer.settled()
