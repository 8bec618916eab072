"""How fast an order holds: streams of many agents open through one sidecar, one order, and the last byte.

The agent ``bench`` has delegated a task to each of the others, through its desk; they stream. The order is
about ``bench``, so it reaches all of them through their chains. Each measurement has a sidecar of its own,
because what is revoked stays revoked.
"""

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import governed
from bench.calls import BUFFER, WOULD_BLOCK, Caller, Route, drive, opened
from bench.machine import LOOPBACK, Failed, free_port
from bench.systems import Bed

FLOWING = 3  # pieces that each stream has had before the order comes
PATIENCE_S = 20.0  # a stream that still flows so long after the order fails the row
POLICY = """\
@id("all-may-read")
permit(principal, action in Action::"read", resource in Service::"bench");
"""

OWNED = {
    "environment": "development",
    "tier": "standard",
    "business_owner": "bench@example.com",
    "data_owner": "bench@example.com",
}


@dataclass(slots=True)
class Watch:
    """What the streams have in common: ``order`` is called when all ``left`` of them flow."""

    left: int
    order: Callable[[], None]
    deadline: float = float("inf")
    ends: list[float] = field(default_factory=list)

    def flows(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.deadline = time.monotonic() + PATIENCE_S
            self.order()


def revoke(bed: Bed, streams: int, *, control: bool) -> float:
    """Milliseconds from just before the order until the last of the streams has seen its end.

    :raises Failed: a stream cannot be opened, ends too early, or goes on.
    """
    directory = Path(tempfile.mkdtemp(prefix="streams-", dir=bed.directory))
    others = [f"agent-{number}" for number in range(streams)]
    governed.write_rules(directory, bed, _agents("bench", *others), POLICY)
    root = json.loads(governed.start_task(directory))
    port = free_port()
    with governed.serving(directory, bed, control={"address": f"{LOOPBACK}:{port}"}) as (_, listen):
        routes = [
            governed.way(directory, listen, child["token"], child["placeholders"]["bench"], bed.api_port)
            for child in _delegated(listen, root["token"], others)
        ]
        return _measure(directory / "state", routes, port if control else None)


def _agents(*names: str) -> str:
    """``agents.yaml`` with these; JSON is YAML 1.2."""
    return json.dumps({"agents": [{"id": name, **OWNED} for name in names]})


def _delegated(listen: int, token: str, others: list[str]) -> list[dict[str, dict[str, str]]]:
    """What the desk says of a task for each of the others."""
    line = http.client.HTTPConnection(LOOPBACK, listen, timeout=30)
    said = []
    for name in others:
        body = json.dumps({"agent": name, "purpose": "streams"})
        identity = {"Proxy-Authorization": governed.basic(token)}
        line.request("POST", "http://gatepass.internal/delegate", body, identity)
        answer = line.getresponse()
        read = answer.read()
        if answer.status not in {200, 201}:
            raise Failed(f"the desk answered {answer.status}: {read[:300]!r}")
        said.append(json.loads(read))
    line.close()
    return said


def _measure(state: Path, routes: list[Route], control: int | None) -> float:
    command = [sys.executable, "-m", "bench.order", str(state), "bench"]
    command += [] if control is None else [str(control)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            other.stdout.readline()
            watch = Watch(len(routes), partial(_give, other))
            drive([_stream(route, watch) for route in routes])
            told = json.loads(other.stdout.readline() or "null")
        finally:
            other.kill()
    if told is None:
        raise Failed("the order was not given")
    if min(watch.ends) < told["at"]:
        raise Failed("a stream ended before the order")
    if told["connections"] not in {None, len(routes)}:
        raise Failed(f"{told['connections']} connections were cut, not {len(routes)}")
    return (max(watch.ends) - told["at"]) * 1000


def _give(other: subprocess.Popen[str]) -> None:
    other.stdin.write("go\n")
    other.stdin.flush()


def _stream(route: Route, watch: Watch) -> Caller:
    """Read a stream to its end, whatever that is: nothing after it can be a byte of it."""
    sock = yield from opened(route)
    with sock:
        sock.send(route.request("/stream"))
        pieces = 0
        while True:
            try:
                piece = sock.recv(BUFFER)
            except WOULD_BLOCK:
                if time.monotonic() > watch.deadline:
                    raise Failed("a stream still flows") from None
                yield None
                continue
            except OSError:
                piece = b""
            if not piece:
                watch.ends.append(time.monotonic())
                return
            if not pieces and not piece.startswith(b"HTTP/1.1 200"):
                raise Failed(f"answered {piece[:300]!r}")
            pieces += 1
            if pieces == FLOWING:
                watch.flows()
