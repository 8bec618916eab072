"""How a task begins: identity, store, keys and the catalogue's placeholders, joined without printing.

1. The agent is registered. 2. The manifest has no flaw. 3. A placeholder is minted for every service with
a credential in the agent's environment. 4. The task is durable in the store. 5. Only then is there a token.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from proxy.credential import placeholder
from proxy.credential.placeholder import Holding
from proxy.identity.claims import MAX_SESSION_S, SessionClaims
from proxy.identity.jws import sign_session
from proxy.identity.principal import Agent, Task
from proxy.identity.registry import Registry
from proxy.identity.task import MAX_TASK_S, Manifest, flaw, make_task, manifest_bytes
from proxy.policy.catalogue import Service
from proxy.problems import Problem
from proxy.store.keyring import Keyring
from proxy.store.tasks import TaskStore

AGENTS_FILE = "agents.yaml"
_SUBJECT = "task"


@dataclass(frozen=True, slots=True)
class Standing:
    """The task of a listener that has begun. ``placeholders`` exist here and with the agent alone.

    ``placeholders`` are by service; ``variables`` are the same by environment variable.
    """

    task: Task
    placeholders: dict[str, str] = field(repr=False)
    variables: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Started(Standing):
    """A task that has begun, and the session token that speaks for it."""

    token: str = field(repr=False)


def start_task(
    store: TaskStore,
    keyring: Keyring,
    registry: Registry,
    services: Iterable[Service],
    *,
    agent: str | None,
    purpose: str,
    ttl_s: int,
    scopes: Sequence[str],
    on_behalf_of: str | None,
    now: int,
    randomness: Callable[[int], bytes],
) -> Started | Problem:
    """Start a task. ``agent`` may be None if only one is registered; ``now`` is POSIX seconds.

    ``randomness`` gives that many octets, as ``os.urandom`` does. ``services`` are all of the catalogue.

    :raises TaskStoreError: if the task cannot be kept; then there is none.
    """
    who = _agent(registry, agent)
    if isinstance(who, Problem):
        return who
    if not 0 < ttl_s <= MAX_SESSION_S:
        return Problem(_SUBJECT, None, f"a task lives 1 second to {MAX_SESSION_S // 86400} days")
    manifest = _manifest(
        who,
        purpose=purpose,
        ttl_s=ttl_s,
        scopes=scopes,
        on_behalf_of=on_behalf_of,
        now=now,
        randomness=randomness,
    )
    begun = _begin(store, manifest, services, randomness)
    if isinstance(begun, Problem):
        return begun
    token = _token(begun.task, keyring, randomness(16).hex())
    return Started(begun.task, begun.placeholders, begun.variables, token)


def standing_task(
    store: TaskStore,
    registry: Registry,
    services: Iterable[Service],
    *,
    agent: str,
    purpose: str,
    now: int,
    randomness: Callable[[int], bytes],
) -> Standing | Problem:
    """Start the task of a listener with a fixed identity: no token, and the longest life.

    :raises TaskStoreError: if the task cannot be kept; then there is none.
    """
    who = _agent(registry, agent)
    if isinstance(who, Problem):
        return who
    manifest = _manifest(
        who,
        purpose=purpose,
        ttl_s=MAX_TASK_S,
        scopes=(),
        on_behalf_of=None,
        now=now,
        randomness=randomness,
    )
    return _begin(store, manifest, services, randomness)


def bound_services(services: Iterable[Service], environment: str) -> list[Service]:
    """Those whose credential a task in ``environment`` holds a placeholder for."""
    return [service for service in services if service.credential and environment in service.environments]


def _begin(
    store: TaskStore, manifest: Manifest, services: Iterable[Service], randomness: Callable[[int], bytes]
) -> Standing | Problem:
    words = flaw(manifest)
    if words:
        return Problem(_SUBJECT, None, words)
    task, bound = make_task(manifest), bound_services(services, manifest.environment)
    placeholders = {
        service.name: placeholder.mint(randomness(placeholder.MIN_RANDOMNESS)) for service in bound
    }
    variables = _variables(bound, placeholders)
    if isinstance(variables, Problem):
        return variables
    store.create(task, manifest_bytes(manifest), _holdings(task, placeholders))
    return Standing(task, placeholders, variables)


def _agent(registry: Registry, agent_id: str | None) -> Agent | Problem:
    if len(registry) == 0:
        words = "no agent is registered, so nobody may call; add one, rules/README.md shows how"
        return Problem(AGENTS_FILE, None, words)
    if agent_id is None:
        sole = registry.sole()
        if sole is None:
            return Problem(AGENTS_FILE, None, f"{len(registry)} agents are registered; name one with --agent")
        return sole
    found = registry.get(agent_id)
    if found is None:
        known = ", ".join(agent.id for agent in registry) or "none"
        return Problem(AGENTS_FILE, None, f"the agent {agent_id!r} is not registered (registered: {known})")
    return found


def _manifest(
    agent: Agent,
    *,
    purpose: str,
    ttl_s: int,
    scopes: Sequence[str],
    on_behalf_of: str | None,
    now: int,
    randomness: Callable[[int], bytes],
) -> Manifest:
    return Manifest(
        agent=agent.id,
        purpose=purpose or agent.purpose,
        scopes=tuple(sorted(set(scopes))),
        environment=agent.environment,
        issued_at=now,
        expires_at=now + ttl_s,
        on_behalf_of=on_behalf_of,
        nonce=randomness(16).hex(),
    )


def _variables(services: Sequence[Service], placeholders: dict[str, str]) -> dict[str, str] | Problem:
    owners: dict[str, str] = {}
    for service in services:
        for variable in service.credential.variables if service.credential else ():
            owner = owners.setdefault(variable, service.name)
            if owner != service.name:
                words = (
                    f"{owner} and {service.name} both set {variable}; list other variables for one of them"
                )
                return Problem("services", None, words)
    return {variable: placeholders[owner] for variable, owner in owners.items()}


def _holdings(task: Task, placeholders: dict[str, str]) -> list[Holding]:
    return [
        Holding(placeholder.digest(value.encode()), task.id, service, task.agent)
        for service, value in placeholders.items()
    ]


def _token(task: Task, keyring: Keyring, token_id: str) -> str:
    claims = SessionClaims(
        issuer=keyring.issuer,
        subject=task.agent,
        audience=keyring.audience,
        token_id=token_id,
        task=task.id,
        issued_at=task.issued_at,
        expires_at=task.expires_at,
        scopes=task.scopes,
    )
    return sign_session(claims, keyring.session_key)
