"""Small rules directories, written to disk: agents, services and Cedar policies in a line each.

Files are written as JSON where gatepass reads YAML 1.2, which contains it.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

ENVIRONMENT = "development"
Entry = Mapping[str, object]


def agent(name: str = "tester", *, environment: str = ENVIRONMENT) -> Entry:
    """One entry of ``agents.yaml``."""
    return {
        "id": name,
        "environment": environment,
        "tier": "standard",
        "business_owner": "ada@example.org",
        "data_owner": "grace@example.org",
        "purpose": "tests",
    }


def service(
    name: str = "api",
    *hosts: str,
    ports: Iterable[int] = (443,),
    schemes: Iterable[str] = ("https",),
    operations: Mapping[str, Entry] | None = None,
    credential: Entry | None = None,
    environments: Iterable[str] = (ENVIRONMENT,),
    encoded_slash: bool | None = None,
    **more: object,
) -> Entry:
    """One file of ``services/``; without hosts it has ``<name>.test``. ``more`` are further members."""
    written: dict[str, object] = {
        "name": name,
        "hosts": list(hosts) or [f"{name}.test"],
        "schemes": list(schemes),
        "ports": list(ports),
        "owner": "ada@example.org",
        "data_owner": "grace@example.org",
        "sensitivity": "internal",
        "environments": list(environments),
        **more,
    }
    if encoded_slash is not None:
        written["encoded_slash"] = encoded_slash
    if operations is not None:
        written["operations"] = dict(operations)
    if credential is not None:
        written["credential"] = dict(credential)
    return written


def from_file(path: Path, **place: Entry) -> Entry:
    """A credential that is read from a file; ``place`` is one of ``header basic query``, default header."""
    return {"provider": "file", "name": str(path.absolute()), **place}


def from_env(variable: str, **place: Entry) -> Entry:
    """A credential that is read from gatepass's own environment."""
    return {"provider": "env", "name": variable, **place}


def permit(rule: str, *, who: str = "tester", actions: Iterable[str] = ("read",), on: str = "api") -> str:
    """``@id(rule) permit(agent, actions, service)``."""
    return _policy("permit", rule, who, actions, on)


def forbid(rule: str, *, who: str = "tester", actions: Iterable[str] = ("delete",), on: str = "api") -> str:
    """``@id(rule) forbid(agent, actions, service)``."""
    return _policy("forbid", rule, who, actions, on)


def _policy(effect: str, rule: str, who: str, actions: Iterable[str], on: str) -> str:
    named = ", ".join(f'Action::"{action}"' for action in actions)
    scope = f'principal == Agent::"{who}", action in [{named}], resource in Service::"{on}"'
    return f'@id("{rule}")\n{effect}({scope});\n'


def write_rules(
    directory: Path,
    *,
    agents: Iterable[Entry] | None = None,
    services: Iterable[Entry] | None = None,
    policies: Iterable[str] | None = None,
) -> Path:
    """Write a rules directory and return it. By default ``tester`` may read ``api.test``, and nothing else."""
    agents = [agent()] if agents is None else agents
    services = [service()] if services is None else services
    policies = [permit("tester-reads-api")] if policies is None else policies
    for folder in ("policies", "services"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    (directory / "agents.yaml").write_text(json.dumps({"agents": list(agents)}, indent=2))
    for each in services:
        (directory / "services" / f"{each['name']}.yaml").write_text(json.dumps(each, indent=2))
    (directory / "policies" / "test.cedar").write_text("\n".join(policies))
    return directory


def write_config(
    file: Path,
    *,
    state: Path,
    rules: Path,
    roots: Path | None = None,
    hosts: Mapping[str, Iterable[str]] | None = None,
    private: Iterable[tuple[str, int]] = (),
    address: str = "127.0.0.1:0",
    **settings: object,
) -> Path:
    """Write a ``gatepass.yaml`` and return it.

    ``hosts`` are static answers; ``private`` are (host, port) that agents may reach on loopback, and
    their ports are opened.
    """
    destinations = list(private)
    upstream: dict[str, object] = {
        "hosts": {name: list(answers) for name, answers in (hosts or {}).items()},
        "ports": sorted({80, 443, *(port for _, port in destinations)}),
        "allow_private": [{"host": host, "cidr": "127.0.0.0/8", "port": port} for host, port in destinations],
    }
    if roots is not None:
        upstream["roots"] = str(roots)
    written = {
        "state": str(state),
        "rules": str(rules),
        "listen": [{"address": address}],
        "upstream": upstream,
    }
    file.write_text(json.dumps({**written, **settings}, indent=2))
    return file


def read_rules(directory: Path) -> dict[str, bytes]:
    """Every file of a rules directory by its relative name, as gatepass's loaders take them."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}
