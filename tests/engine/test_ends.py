"""Every way in which a call can end: one decision each, and one outcome for each that was allowed."""

import pytest

from proxy.engine.relay import Patience
from proxy.errors import Code, Refusal
from proxy.policy.decision import Deny
from tests.engine.lines import until
from tests.engine.ports import Explodes, Says, engine
from tests.support.behaviours import raw
from tests.support.upstream import Upstream

ENDS: dict[str, tuple[int, int]] = {  # decisions, outcomes
    "answered": (1, 1),
    "kept alive": (3, 3),
    "denied": (1, 0),
    "malformed": (1, 0),
    "task over": (1, 0),
    "name fails": (1, 1),
    "no such host": (1, 1),
    "no answer": (1, 1),
    "bad answer": (1, 1),
    "cut answer": (1, 1),
    "slow answer": (1, 1),
    "bad upload": (1, 1),
    "slow upload": (1, 1),
    "client resets": (1, 1),
    "client stops reading": (1, 1),
    "drained": (1, 1),
    "upgrade refused": (1, 1),
}
BIG = b"HTTP/1.1 200 K\r\nContent-Length: 100000000\r\n\r\n"


async def scene(e, name: str) -> None:  # noqa: PLR0912, C901 - one arm for each way to end
    async with await e.client() as client:
        match name:
            case "answered" | "denied" | "name fails" | "no such host" | "slow answer":
                await client.send(e.head("/slow" if name == "slow answer" else "/"))
            case "kept alive":
                await client.send(e.head("/1") + e.head("/2") + e.head("/3"))
                for _ in range(2):
                    await client.read_response()
            case "malformed":
                await client.send(b"nonsense\r\n\r\n")
            case "task over":
                e.book.end("one")
                await client.send(e.head("/"))
            case "no answer":
                await client.send(e.head("/vanish"))
            case "bad answer" | "cut answer" | "client stops reading":
                script = {"bad answer": b"nonsense\r\n\r\n", "cut answer": BIG + b"x"}
                await client.send(e.head("/bytes?n=100000000" if name not in script else "/bad"))
            case "bad upload":
                await client.send(e.head("/", "Transfer-Encoding: chunked", method="POST") + b"x\r\n")
            case "slow upload":
                await client.send(e.head("/", "Content-Length: 9", method="POST") + b"x")
            case "client resets":
                await client.send(e.head("/slow"))
                await e.upstream.until(lambda: bool(e.upstream.requests))
                client.abort()
            case "drained":
                await client.send(e.head("/slow"))
                await e.upstream.until(lambda: bool(e.upstream.requests))
                await e.server.drain(0)
            case "upgrade refused":
                await client.send(e.head("/", "Upgrade: websocket", "Connection: upgrade"))
        if name == "client stops reading":
            client.writer.transport.pause_reading()
        elif name not in {"client resets", "drained"}:
            assert await client.read_some()
        decisions, outcomes = ENDS[name]
        await until(lambda: (len(e.decisions), len(e.outcomes)) == (decisions, outcomes))


@pytest.mark.parametrize("name", ENDS)
async def test_every_end_is_recorded_once(name):
    hurried = Patience(
        first_byte=0.3,
        upstream_idle=0.3,
        downstream_idle=0.3,
        head=65_536,
        header_count=100,
        header_line=8_192,
    )
    upstream = Upstream("api.test", tls=False)
    upstream.on("/bad", raw(b"nonsense\r\n\r\n" if name == "bad answer" else BIG + b"x"))
    denied = Deny(Refusal(Code.POLICY_DENY, "no", "rule"), ("rule",), ())
    given = {
        "denied": {"pdp": Says(denied)},
        "name fails": {"resolver": Explodes(OSError(5, "I/O"))},
        "no such host": {"opened": False},
    }
    async with engine(upstream=upstream, patience=hurried, **given.get(name, {})) as e:
        await scene(e, name)
        await e.server.drain(1)
        await e.enforcer.settled()
        decided = [record for record in e.records if record.kind == "decision"]
        ended = [record.decision_id for record in e.records if record.kind == "outcome"]
        assert (len(decided), len(ended)) == ENDS[name]
        assert sorted(ended) == sorted(record.id for record in decided if record.effect == "allow")
