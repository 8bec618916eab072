"""Whoever gives an order, in a process of its own: through the task file as commands do, or the control API.

Run as ``python -m bench.order STATE AGENT [CONTROL_PORT]``. Says ``ready``; a line on its standard input is
the word to go. Then it says in JSON ``at``, the seconds on the machine's monotonic clock just before the
order, and ``connections``, how many the control API says were cut (null through the file).
"""

import http.client
import json
import sys
import time
from pathlib import Path

from bench.machine import LOOPBACK
from proxy.identity.revocation import Kind, Order
from proxy.store.tasks import TaskStore
from proxy.wiring import TASKS


def through_file(state: Path, agent: str) -> None:
    with TaskStore.open(state / TASKS) as store:
        store.revoke(Order(Kind.AGENT, agent, "the benchmark", "cli", time.time_ns()))


def through_control(state: Path, agent: str, port: int) -> int:
    token = (state / "control" / "admin.token").read_text().strip()
    body = json.dumps({"kind": "agent", "id": agent, "reason": "the benchmark"})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    line = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
    line.request("POST", "/v1/revocations", body, headers)
    answer = line.getresponse()
    said = answer.read()
    if answer.status != 200:
        sys.exit(f"the control API answered {answer.status}: {said!r}")
    connections: int = json.loads(said)["connections"]
    return connections


def main(state: Path, agent: str, port: int | None) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    at = time.monotonic()
    connections = through_file(state, agent) if port is None else through_control(state, agent, port)
    print(json.dumps({"at": at, "connections": connections}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
