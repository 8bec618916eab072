"""Who answers a request for approval at the command line: the user, by the kernel's word, and no agent.

A process that runs as this user can do what the user can. Where agents do, give gatepass a user of its own
and approve as that one, or through the control API; what is refused here are the ways that look innocent.
"""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from proxy.cli.environment import PROXY
from proxy.identity.registry import Registry, parse_agents
from proxy.policy.approval import Approver
from proxy.problems import Problem

AGENTS_FILE = "agents.yaml"


def user() -> str:
    """The name of the user that this process runs as, or its number where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


def approver(rules: Path | None) -> Approver | list[Problem]:
    """The user that runs this, with the agents that its processes would pass for at a Unix socket.

    Rules that cannot be read are problems: they could name this user.
    """
    name = f"local:{user()}"
    if rules is None:
        return Approver(name, frozenset())
    file = rules / AGENTS_FILE
    try:
        registry = parse_agents(file.read_bytes(), str(file))
    except FileNotFoundError:
        return Approver(name, frozenset())
    except OSError as error:
        return [Problem(str(file), None, f"cannot be read, and could name you: {error.strerror}")]
    if not isinstance(registry, Registry):
        return registry
    return Approver(name, frozenset(agent.id for agent in registry.by_process(os.getuid(), _executable())))


def agents_token(environment: Mapping[str, str]) -> str | None:
    """The variable through which this process carries an agent's token, or None."""
    for variable in PROXY:
        try:
            identity = urlsplit(environment.get(variable, ""))
        except ValueError:
            continue  # no URL, and so no token of ours
        if identity.username == "task" and identity.password:
            return variable
    return None


def _executable() -> str:
    """What this process runs, as a Unix socket would tell; "" where the system does not say."""
    try:
        return str(Path("/proc/self/exe").readlink())
    except OSError:
        return ""
