"""Listeners with a fixed identity: the standing task of each agent, and the file its container reads.

``<state>/agents/<agent>.env`` (0600) holds the variables, as lines for a shell (``set -a; . FILE``):
where the proxy is, whom to trust, and the placeholders. There is no token in it: the listener speaks
for the agent.

Decided: a restart keeps task and placeholders, which is told from the file and the task's holdings,
because the agent's container has read the file long ago; only where the two no longer fit what is
configured is there a new task, and the old one ends. A proxy variable is left out for port 0.
"""

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from proxy.cli.ending import stop, stop_for, tell
from proxy.cli.environment import POINTING, variables
from proxy.cli.serving import Prepared, office, tasks_path
from proxy.credential.placeholder import digest
from proxy.identity.arrival import Fixed
from proxy.identity.principal import Agent, Task, TaskState
from proxy.identity.task import MAX_TASK_S
from proxy.policy.catalogue import Service
from proxy.problems import Problem
from proxy.settings import Listen
from proxy.store.in_use import in_use
from proxy.store.private_file import KeyringError, keep, private_directory
from proxy.store.tasks import TaskStore, TaskStoreError
from proxy.store.truststore import java_truststore
from proxy.wiring_tasks import bound_services, standing_task

_RENEW_S = 30 * 24 * 3600  # a start this close to the end begins a new task
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an agent cannot call such an address


def standing_tasks(prepared: Prepared, listen: Sequence[Listen]) -> dict[str, Fixed]:
    """The identities of those listeners that carry one, by agent; exits 2 if one cannot have it."""
    places: dict[str, list[Listen]] = {}
    for listener in listen:
        if listener.agent is not None:
            places.setdefault(listener.agent, []).append(listener)
    if not places:
        return {}
    state = prepared.config.state
    try:
        if in_use(state / "log"):  # its listeners' tasks are not ours to replace
            stop(f"another gatepass uses {state}; stop it, or give this one its own --state")
        directory = private_directory(state / "agents")
        with TaskStore.open(tasks_path(state)) as store:
            return {
                agent: Fixed(agent, _standing(prepared, store, agent, where, directory))
                for agent, where in places.items()
            }
    except (KeyringError, TaskStoreError, OSError) as error:
        stop(str(error))


def agent_file(directory: Path, agent: str) -> Path:
    """The file of an agent; a SPIFFE ID has slashes, a file name has none."""
    return directory / f"{quote(agent, safe='')}.env"


def _standing(
    prepared: Prepared, store: TaskStore, agent: str, where: Sequence[Listen], directory: Path
) -> str:
    """Reuse or start the task of one agent, write its file; returns the task's id."""
    services = prepared.rules.ruleset.catalogue.services if prepared.rules.ruleset else ()
    purpose = "listener " + ", ".join(listener.address for listener in where)
    file, now = agent_file(directory, agent), int(time.time())
    who = prepared.rules.registry.get(agent)
    store.expire(now)
    standing = [stored.task for stored in store.list(TaskState.OPEN) if _is_standing(stored.task, agent)]
    for task in standing:
        held = None if who is None else _still_held(store, task, who, purpose, services, file, now)
        if held is not None:
            _write(prepared, file, where[0], held)
            return task.id
    begun = standing_task(store, office(prepared), agent=agent, purpose=purpose, now=now)
    if isinstance(begun, Problem):
        stop_for([begun])
    for task in standing:
        store.end(task.id, f"replaced by {begun.task.id}", now)
    _write(prepared, file, where[0], begun.variables)
    return begun.task.id


def _is_standing(task: Task, agent: str) -> bool:
    """Whether a listener's task: nobody can start one that lives as long."""
    return task.agent == agent and task.expires_at - task.issued_at == MAX_TASK_S


def _still_held(
    store: TaskStore,
    task: Task,
    agent: Agent,
    purpose: str,
    services: Iterable[Service],
    file: Path,
    now: int,
) -> dict[str, str] | None:
    """The placeholders by variable that an earlier start wrote, if task and file are still what is wanted."""
    if task.purpose != purpose or task.environment != agent.environment or task.expires_at - now < _RENEW_S:
        return None
    written = _read(file)
    held = {(holding.service, holding.placeholder_sha256) for holding in store.holdings(task)}
    bound = bound_services(services, agent.environment)
    if {service for service, _ in held} != {service.name for service in bound}:
        return None
    found: dict[str, str] = {}
    for service in bound:
        for name in service.credential.variables if service.credential else ():
            value = written.get(name, "")
            if (service.name, digest(value.encode())) not in held:
                return None
            found[name] = value
    return found


def _read(file: Path) -> Mapping[str, str]:
    """The variables in a file; none if there is no such file, or somebody else wrote it."""
    try:
        words = shlex.split(file.read_text(), comments=True)
    except (OSError, ValueError):
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def _write(prepared: Prepared, file: Path, listener: Listen, placeholders: Mapping[str, str]) -> None:
    host = _EVERYWHERE.get(listener.host, listener.host)
    bundle = prepared.keyring.bundle_path.absolute()
    found = variables(
        host,
        listener.port,
        None,
        bundle=bundle,
        truststore=java_truststore(bundle),
        placeholders=placeholders,
    )
    if listener.port == 0:
        found = {name: value for name, value in found.items() if name not in POINTING}
    lines = [f"# for agent {listener.agent}: set -a; . {shlex.quote(str(file.absolute()))}"]
    lines += [f"{name}={shlex.quote(value)}" for name, value in found.items()]
    keep(file, ("\n".join(lines) + "\n").encode())
    tell(f"the variables of agent {listener.agent} are in {file}")
