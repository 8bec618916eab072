"""One downstream connection from accept to close: absolute-form requests, or one CONNECT and what is in it.

Requests on a connection are judged one at a time and in order. Whatever ends a connection leaves a
record, except an end between requests.
"""

from collections.abc import Callable
from dataclasses import dataclass

from proxy.engine import desk, reply
from proxy.engine.caller import Caller
from proxy.engine.census import Census
from proxy.engine.enforce import Called, Enforcer, Refused
from proxy.engine.facts import Outcome
from proxy.engine.head import HeadTooLarge, MalformedHead, Reading, parse_request
from proxy.engine.intake import Intake
from proxy.engine.intercept import Spoken, sniff
from proxy.engine.judge import Tunnel
from proxy.engine.leaf_cache import LeafCache
from proxy.engine.manner import PLAIN, Manner, manner
from proxy.engine.pool import Pool
from proxy.engine.relay import Transfer, relay
from proxy.engine.response import Patience
from proxy.engine.room import Room
from proxy.engine.seen import Seen
from proxy.engine.wire import Wire
from proxy.engine.wire_error import Cut, Expired, WireError
from proxy.errors import Code, Refusal
from proxy.http.canonical import Origin
from proxy.http.message import RequestHead
from proxy.identity.principal import Principal
from proxy.ports import Clock, Desk

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Terms:
    """What every connection is held to, and what serves it: made once in ``wiring``."""

    enforcer: Enforcer
    desk: Desk
    pool: Pool
    leaves: LeafCache
    clock: Clock
    patience: Patience
    head_timeout: float
    handshake_timeout: float
    idle_timeout: float
    connections_per_agent: int
    now: Callable[[], float]
    room: Room


class Connection:
    """See the module."""

    def __init__(self, wire: Wire, caller: Caller, terms: Terms, census: Census) -> None:
        self.busy = False  # an exchange is running
        self.stopping = False  # answer what is running, then close
        self._wire = wire
        self._caller = caller
        self._terms = terms
        self._census = census
        self._reading = Reading(wire)
        self._transfer: Transfer | None = None
        self._principal: Principal | None = None
        self._tunnel: Tunnel | None = None
        self._record: Refused | None = None  # a refusal of the whole tunnel, already recorded
        self._intake: Intake | None = None  # of the request that is running
        self._over: Refusal | None = None  # why it was cut
        self._called: Called | None = None  # a call to the desk that is being served

    async def serve(self) -> None:
        """Serve the connection to its end. What it raises is a bug of ours."""
        try:
            while not self.stopping and await self._one():
                pass
            self._wire.close()
        except WireError:
            self._wire.abort()
        except BaseException:
            self._wire.abort()  # a failure of ours, which the server reports; nobody is left waiting
            raise
        finally:
            if self._principal is not None:
                self._census.leave(self, self._principal.agent.id, self._principal.task.id)

    def cut(self, refusal: Refusal) -> None:
        """End the connection now: its task is over, or the drain deadline has passed.

        Whoever ends its own task at the desk is still told so.
        """
        self._over = refusal
        if self._called is not None and self._called.heard and refusal.code is Code.TASK_ENDED:
            return
        if self._transfer is not None:
            self._transfer.cut(refusal)
        else:
            self._wire.cut()

    def stop(self) -> None:
        """Take no further request; close at once if none is running."""
        self.stopping = True
        if self._intake is not None:
            self._intake.stopping = True
        if not self.busy:
            self._wire.fail(Cut)

    # -- one request --

    async def _one(self) -> bool:
        """One request head and what follows from it; False when the connection is over."""
        try:
            head = await self._next_head()
        except Cut:
            if self._over is not None:
                raise
            return False  # stopped between requests: what was answered may still be on its way
        if head is None:
            return False
        self.busy = True
        try:
            if self._record is not None:
                method = "" if isinstance(head, Refusal) else head.method
                return await self._say(self._record, method, keep=False)
            if isinstance(head, Refusal):
                refused = await self._terms.enforcer.refuse(self._seen(self._tunnel, ""), head)
                return await self._say(refused, "", keep=False)
            if head.method == "CONNECT":
                return await self._connect(head)
            return await self._request(head)
        finally:
            self.busy = False
            if self._intake is not None:
                self._intake.release()
                self._intake = None

    async def _next_head(self) -> RequestHead | Refusal | None:
        terms, wire = self._terms, self._wire
        wire.deadline = terms.now() + terms.idle_timeout
        if not self._reading.rest:
            data = await self._wait_for_first()
            if not data:
                return None
            self._reading.unread(data)
        wire.deadline = terms.now() + terms.head_timeout
        try:
            raw = await self._reading.head(terms.patience.head)
        except HeadTooLarge:
            return Refusal(Code.HEAD_TOO_LARGE, f"the head is larger than {terms.patience.head} octets")
        except MalformedHead as error:
            return Refusal(Code.MALFORMED, str(error))
        except Expired:
            wire.forgive()
            return Refusal(Code.HEAD_TIMEOUT, "the request head did not arrive in time")
        wire.deadline = None
        return None if raw is None else parse_request(raw)

    async def _wait_for_first(self) -> bytes:
        """The first octets of a request; a connection that idles out between requests just ends."""
        try:
            return await self._wire.read()
        except Expired:
            self._wire.forgive()
            return b""

    async def _request(self, head: RequestHead) -> bool:
        terms = self._terms
        self._intake = intake = Intake(self._reading, terms.patience.downstream_idle, terms.room)
        intake.interim = head.version != "1.0"
        admitted = await terms.enforcer.admit(self._caller, head, intake)
        if isinstance(admitted, Refused):
            keep = reply.can_continue(head, whole=intake.content is not None)
            return await self._say(admitted, head.method, keep=keep, manner=manner(head, intake.content))
        agent = admitted.principal.agent.id
        counted = self._principal is not None and self._principal.agent.id == agent
        crowded = None if counted else self._crowded(agent)
        if crowded is not None:
            terms.enforcer.settle(admitted, Outcome("refused", crowded, crowded.status))
            refused = Refused(crowded, admitted.exchange.id, admitted.principal)
            return await self._say(refused, head.method, keep=False)
        self._enter(admitted.principal)
        if isinstance(admitted, Called):
            return await self._desk(admitted, head)
        self._transfer = Transfer(self._reading, admitted, terms.pool, terms.patience, terms.clock)
        if self._over is not None:  # cut while it was being decided
            self._transfer.cut(self._over)
        try:
            kept = await relay(self._transfer, admitted, terms.enforcer)
        finally:
            self._transfer = None
        if isinstance(kept, Refused):
            keep = reply.can_continue(head, whole=intake.content is not None)
            return await self._say(kept, head.method, keep=keep, manner=manner(head, intake.content))
        if not kept:
            await reply.linger(self._wire, terms.now)
        return kept

    async def _desk(self, called: Called, head: RequestHead) -> bool:
        if self._over is not None:  # cut while it was being recorded
            self._terms.enforcer.settle(called, Outcome("cut", self._over))
            return False
        self._wire.deadline = self._terms.now() + self._terms.patience.downstream_idle
        self._called = called
        try:
            answer = await desk.serve(self._reading, called, self._terms.desk, self._terms.enforcer)
        finally:
            self._called = None
        self._wire.deadline = None
        if isinstance(answer, Refused):
            return await self._say(answer, head.method, keep=reply.can_continue(head))
        self._wire.write(answer)
        keep = called.errand.guarded.keep_alive and not self.stopping and self._over is None
        if not keep:
            await reply.linger(self._wire, self._terms.now)
        return keep

    # -- CONNECT --

    async def _connect(self, head: RequestHead) -> bool:
        terms = self._terms
        if self._caller.tunnel is not None:
            refusal = Refusal(Code.METHOD_UNSUPPORTED, "CONNECT inside a tunnel")
            return await self._say(
                await terms.enforcer.refuse(self._seen(self._tunnel), refusal), "CONNECT", keep=False
            )
        tunnel = await terms.enforcer.admit_tunnel(self._caller, head)
        if isinstance(tunnel, Refused):
            return await self._say(tunnel, "CONNECT", keep=reply.can_continue(head))
        crowded = self._crowded(tunnel.principal.agent.id)
        if crowded is not None:
            return await self._say(
                await terms.enforcer.refuse(self._seen(tunnel), crowded), "CONNECT", keep=False
            )
        self._enter(tunnel.principal)
        self._wire.write(_ESTABLISHED)
        return await self._enter_tunnel(tunnel)

    async def _enter_tunnel(self, tunnel: Tunnel) -> bool:
        terms, wire = self._terms, self._wire
        wire.deadline = terms.now() + terms.handshake_timeout
        try:
            spoken = await sniff(self._reading, tunnel.host, terms.leaves)
        except Expired:
            spoken = Refusal(Code.NOT_TLS, f"no TLS handshake within {terms.handshake_timeout:g} s")
        wire.deadline = None
        if spoken is None:
            return False
        if isinstance(spoken, Refusal):
            await terms.enforcer.refuse(self._seen(tunnel), spoken)
            wire.close()
            return False
        assert isinstance(spoken, Spoken)
        self._tunnel = tunnel
        self._caller.presented = tunnel.presented
        self._caller.tunnel = Origin(spoken.scheme, tunnel.host, tunnel.port)
        if spoken.refusal is not None:
            self._record = await terms.enforcer.refuse(self._seen(tunnel), spoken.refusal)
        return True

    def _seen(self, tunnel: Tunnel | None = None, method: str = "CONNECT") -> Seen:
        """What is known where there is no request to judge: the tunnel, if this is one."""
        seen = Seen(self._wire.peer, method=method)
        if tunnel is not None:
            seen.principal = tunnel.principal
            seen.authority = f"{tunnel.host.name}:{tunnel.port}"
        return seen

    def _crowded(self, agent: str) -> Refusal | None:
        limit = self._terms.connections_per_agent
        if self._census.by_agent.get(agent, 0) < limit:
            return None
        return Refusal(Code.TUNNELS_EXCEEDED, f"{agent} has {limit} connections", None, 1)

    @property
    def principal(self) -> Principal | None:
        """Whose connection this is, as of its last admitted request; None until there was one."""
        return self._principal

    def _enter(self, principal: Principal) -> None:
        """Count this connection for its agent and task; on a kept-alive one the task may change."""
        before, self._principal = self._principal, principal
        if before is principal:
            return
        if before is not None:
            self._census.leave(self, before.agent.id, before.task.id)
        self._census.enter(self, principal.agent.id, principal.task.id)

    # -- answers --

    async def _say(self, refused: Refused, method: str, *, keep: bool, manner: Manner = PLAIN) -> bool:
        keep = keep and not self.stopping and self._over is None
        self._wire.write(reply.refusal(refused, method=method, keep=keep, manner=manner))
        if not keep:
            await reply.linger(self._wire, self._terms.now)
        elif not self._wire.writable:  # who sends requests and reads no answers must not fill our memory
            self._wire.deadline = self._terms.now() + self._terms.patience.downstream_idle
            await self._wire.drain()
        return keep
