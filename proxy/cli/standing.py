"""Identities that come without a session token: the standing task of each such agent, and its file.

A listener speaks for its agent, and a token of an issuer, an SVID or the kernel for whom it is about.
``<state>/agents/<agent>.env`` (0600) holds the variables, as lines for a shell (``set -a; . FILE``):
whom to trust, the placeholders, and where the proxy is, if the agent has a plain listener of its own; an
agent that proves itself may come in by several. There is no token in it.

Decided: a restart keeps task and placeholders, which is told from the file and the task's holdings,
because the agent's container has read the file long ago; only where the two no longer fit what is
configured is there a new task, and the old one ends. An agent that may not call, because it is revoked or
nobody answers for it, has no task: the others are served, and its calls are refused with that reason.
"""

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from proxy.cli.ending import stop, stop_for, tell
from proxy.cli.environment import POINTING, variables
from proxy.cli.serving import Prepared, office, tasks_path
from proxy.cli.standing_agents import Standing, standing_agents
from proxy.credential.placeholder import digest
from proxy.identity.arrival import Fixed
from proxy.identity.gaps import gaps
from proxy.identity.principal import Agent, Task, TaskState
from proxy.identity.registry import Registry
from proxy.identity.revocation import revoked
from proxy.identity.task import MAX_TASK_S
from proxy.policy.catalogue import Service
from proxy.problems import Problem
from proxy.settings import Listen
from proxy.store.in_use import in_use
from proxy.store.private_file import KeyringError, keep, private_directory
from proxy.store.tasks import TaskOverError, TaskStore, TaskStoreError
from proxy.store.truststore import java_truststore
from proxy.wiring_tasks import bound_services, standing_task

_RENEW_S = 30 * 24 * 3600  # a start this close to the end begins a new task
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an agent cannot call such an address


def standing_tasks(prepared: Prepared, listen: Sequence[Listen]) -> dict[str, Fixed]:
    """The identities of listeners, and of agents that prove themselves, by agent; exits 2 on any problem."""
    wanted = standing_agents(prepared.config.settings.identity, prepared.rules.registry, listen)
    if not wanted:
        return {}
    state = prepared.config.state
    try:
        if in_use(state / "log"):  # its agents' tasks are not ours to replace
            stop(f"another gatepass uses {state}; stop it, or give this one its own --state")
        directory = private_directory(state / "agents")
        with TaskStore.open(tasks_path(state)) as store:
            return {one.agent: Fixed(one.agent, _task(prepared, store, one, directory)) for one in wanted}
    except (KeyringError, TaskStoreError, OSError) as error:
        stop(str(error))


def agent_file(directory: Path, agent: str) -> Path:
    """The file of an agent; a SPIFFE ID has slashes, a file name has none."""
    return directory / f"{quote(agent, safe='')}.env"


def _task(prepared: Prepared, store: TaskStore, wanted: Standing, directory: Path) -> str:
    """The id of the agent's standing task; "" if it may have none."""
    words = _barred(store, prepared.rules.registry, wanted.agent)
    if words is None:
        try:
            return _standing(prepared, store, wanted, agent_file(directory, wanted.agent))
        except TaskOverError as error:  # an order that came just now
            words = str(error)
    tell(f"the agent {wanted.agent} has no task and its calls are refused: {words}")
    return ""


def _barred(store: TaskStore, registry: Registry, agent: str) -> str | None:
    """Why the agent may not call, or None."""
    gap = next((gap for gap in gaps(registry) if gap.refused and gap.agent.id == agent), None)
    if gap is not None:
        return str(gap.problem)
    order = next((order for order in store.orders() if order.withdraws(agent)), None)
    return None if order is None else revoked(order).detail


def _standing(prepared: Prepared, store: TaskStore, wanted: Standing, file: Path) -> str:
    """Reuse or start the task of one agent, write its file; returns the task's id.

    :raises TaskOverError: if the agent is revoked.
    """
    services = prepared.rules.ruleset.catalogue.services if prepared.rules.ruleset else ()
    who, now = prepared.rules.registry.get(wanted.agent), int(time.time())
    store.expire(now)
    standing = [
        stored.task for stored in store.list(TaskState.OPEN) if _is_standing(stored.task, wanted.agent)
    ]
    for task in standing:
        held = None if who is None else _still_held(store, task, who, wanted.purpose, services, file, now)
        if held is not None:
            _write(prepared, file, wanted, held)
            return task.id
    begun = standing_task(store, office(prepared), agent=wanted.agent, purpose=wanted.purpose, now=now)
    if isinstance(begun, Problem):
        stop_for([begun])
    for task in standing:
        store.end(task.id, f"replaced by {begun.task.id}", now, by="cli")
    _write(prepared, file, wanted, begun.variables)
    return begun.task.id


def _is_standing(task: Task, agent: str) -> bool:
    """Whether a listener's task: nobody can start one that lives as long."""
    return task.agent == agent and task.parent is None and task.expires_at - task.issued_at == MAX_TASK_S


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
    if tuple(sorted(task.scopes)) != agent.standing:
        return None
    written = _read(file)
    held = {(holding.service, holding.placeholder_sha256) for holding in store.holdings(task)}
    ceiling = agent.ceiling.services
    bound = [
        service
        for service in bound_services(services, agent.environment)
        if ceiling is None or service.name in ceiling  # as ``Office.of_manifest`` gives placeholders
    ]
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


def _write(prepared: Prepared, file: Path, wanted: Standing, placeholders: Mapping[str, str]) -> None:
    proxy = wanted.proxy
    bundle = prepared.keyring.bundle_path.absolute()
    found = variables(
        "" if proxy is None else _EVERYWHERE.get(proxy.host, proxy.host),
        0 if proxy is None else proxy.port,
        None,
        bundle=bundle,
        truststore=java_truststore(bundle),
        placeholders=placeholders,
    )
    if proxy is None:
        found = {name: value for name, value in found.items() if name not in POINTING}
    lines = [f"# for agent {wanted.agent}: set -a; . {shlex.quote(str(file.absolute()))}"]
    lines += [f"{name}={shlex.quote(value)}" for name, value in found.items()]
    keep(file, ("\n".join(lines) + "\n").encode())
    tell(f"the variables of agent {wanted.agent} are in {file}")
