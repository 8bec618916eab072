"""gatepass with everything on: identity token, Cedar, placeholder swap, durable log (``README.md``).

The real key is in a file that only gatepass reads; the client holds a placeholder and a session token.
"""

import base64
import contextlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from bench.calls import Route, trusting
from bench.machine import Failed, Started, free_port, running
from bench.mint import HOST
from bench.systems import Bed, Standing, System, headers, tunnel

PROGRAM = (sys.executable, "-m", "proxy")
AGENTS = """\
agents:
  - id: bench
    environment: development
    tier: standard
    business_owner: bench@example.com
    data_owner: bench@example.com
    purpose: measures the relay
"""
POLICY = """\
@id("bench-may-read")
permit(principal == Agent::"bench", action in Action::"read", resource in Service::"bench");
"""


@contextlib.contextmanager
def gatepass(bed: Bed) -> Iterator[Standing]:
    """``gatepass serve`` over rules of one agent, one service, one permit."""
    directory = bed.directory / "gatepass"
    told = directory / "task.json"
    if not directory.exists():
        write_rules(directory, bed)
        told.write_text(start_task(directory))
    task = json.loads(told.read_text())
    [placeholder] = task["placeholders"].values()
    with serving(directory, bed) as (started, listen):
        route = partial(way, directory, listen, task["token"], placeholder)
        yield Standing(route, started.process.pid, started.start_ms)


@contextlib.contextmanager
def serving(directory: Path, bed: Bed, **settings: object) -> Iterator[tuple[Started, int]]:
    """``gatepass serve`` on the rules in ``directory``, and the port it listens on."""
    listen = free_port()
    _write_config(directory, bed, listen, settings)
    command = [*PROGRAM, "serve", "--config", str(directory / "gatepass.yaml")]
    with running(command, listen, bed.cores.proxy, directory / "log.txt") as started:
        yield started, listen


def way(directory: Path, listen: int, token: str, placeholder: str, port: int) -> Route:
    """How whoever holds this token and this placeholder gets to a port of the API."""
    trust = trusting(directory / "state" / "ca.pem")
    connect = tunnel(HOST, port, f"Proxy-Authorization: {basic(token)}")
    return Route(listen, connect, HOST, trust, headers(HOST, port, placeholder))


def basic(token: str, name: str = "task") -> str:
    """The credential that a token is presented in."""
    return "Basic " + base64.b64encode(f"{name}:{token}".encode()).decode()


def write_rules(directory: Path, bed: Bed, agents: str = AGENTS, policy: str = POLICY) -> None:
    """Rules for one service, the API; its key is a file."""
    rules, roots, key = directory / "rules", directory / "roots", directory / "api-key"
    for each in (rules / "policies", rules / "services", roots):
        each.mkdir(parents=True)
    key.touch(mode=0o600)
    key.write_text(bed.api_key)
    (roots / "api.pem").write_bytes(bed.roots.read_bytes())
    (rules / "agents.yaml").write_text(agents)
    (rules / "policies" / "bench.cedar").write_text(policy)
    service = {
        "name": "bench",
        "hosts": [HOST],
        "ports": [bed.api_port, bed.link_port],
        "owner": "bench@example.com",
        "data_owner": "bench@example.com",
        "sensitivity": "internal",
        "environments": ["development"],
        "credential": {"provider": "file", "name": str(key), "header": {}, "variables": ["BENCH_API_KEY"]},
    }
    (rules / "services" / "bench.yaml").write_text(json.dumps(service, indent=2))  # JSON is YAML 1.2


def _write_config(directory: Path, bed: Bed, listen: int, settings: Mapping[str, object]) -> None:
    ports = [bed.api_port, bed.link_port]
    config = {
        "state": str(directory / "state"),
        "rules": str(directory / "rules"),
        "listen": [{"address": f"127.0.0.1:{listen}"}],
        "upstream": {
            "roots": str(directory / "roots"),
            "hosts": {HOST: ["127.0.0.1"]},
            "ports": ports,
            "allow_private": [{"host": HOST, "cidr": "127.0.0.0/8", "port": port} for port in ports],
        },
        **settings,
    }
    (directory / "gatepass.yaml").write_text(json.dumps(config, indent=2))


def start_task(directory: Path) -> str:
    """What ``gatepass task start --json`` says of a new task of ``bench``."""
    places = ["--state", str(directory / "state"), "--rules", str(directory / "rules")]
    command = [*PROGRAM, "task", "start", *places, "--agent", "bench", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise Failed(f"gatepass task start: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def _missing() -> str | None:
    return None if importlib.util.find_spec("proxy.__main__") else "proxy/__main__.py is not there"


GATEPASS = System("gatepass", _missing, gatepass)
