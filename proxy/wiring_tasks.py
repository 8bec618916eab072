"""How a task begins: identity, store, keys and the catalogue's placeholders, joined without printing.

1. The agent is registered and owned, and nothing is asked for above its ceiling. 2. The manifest has no
flaw. 3. A placeholder is minted for every service with a credential in the agent's environment that the
task reaches. 4. The task is durable in the store. 5. Only then is there a token.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from proxy.control.operations import TaskAsked
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

DELEGATION_DEPTH = 3
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


@dataclass(frozen=True, slots=True)
class Draft:
    """A task as it is to be kept: nothing of it exists before it is in the store."""

    task: Task
    manifest: bytes = field(repr=False)
    holdings: tuple[Holding, ...]
    placeholders: dict[str, str] = field(repr=False)
    variables: dict[str, str] = field(repr=False)

    @property
    def standing(self) -> Standing:
        """What the task's agent is given, once it is kept."""
        return Standing(self.task, self.placeholders, self.variables)


@dataclass(frozen=True, slots=True)
class Office:
    """What it takes to start a task.

    ``services`` are all of the catalogue; ``depth`` is how often, by default, a task may be delegated on;
    ``randomness`` gives that many octets, as ``os.urandom`` does.
    """

    keyring: Keyring
    registry: Registry
    services: tuple[Service, ...]
    randomness: Callable[[int], bytes]
    depth: int = DELEGATION_DEPTH

    def draft(self, asked: TaskAsked, now: int, *, standing: bool = False) -> Draft | Problem:
        """A task as asked for at ``now`` (POSIX seconds); ``asked.agent`` "" takes the only one."""
        who = _agent(self.registry, asked.agent)
        if isinstance(who, Problem):
            return who
        longest = MAX_TASK_S if standing else MAX_SESSION_S
        if not 0 < asked.ttl_s <= longest:
            return Problem(_SUBJECT, None, f"a task lives 1 second to {longest // 86400} days")
        words = _unowned(who) or _above_ceiling(who, asked) or self._strangers(asked)
        if words:
            return Problem(AGENTS_FILE, None, words)
        return self.of_manifest(
            Manifest(
                agent=who.id,
                purpose=asked.purpose or who.purpose,
                scopes=tuple(sorted(set(asked.scopes))),
                environment=who.environment,
                issued_at=now,
                expires_at=now + asked.ttl_s,
                on_behalf_of=asked.on_behalf_of,
                nonce=self.randomness(16).hex(),
                services=None if asked.services is None else tuple(sorted(set(asked.services))),
                budgets=asked.budgets,
                ticket=asked.ticket,
                approver=asked.approver,
                depth=self.depth if asked.depth is None else asked.depth,
            ),
            who.ceiling.services,
        )

    def of_manifest(self, manifest: Manifest, ceiling: Collection[str] | None) -> Draft | Problem:
        """The task of a manifest, with a placeholder for each service that it reaches."""
        words = flaw(manifest)
        if words:
            return Problem(_SUBJECT, None, words)
        task = make_task(manifest)
        bound = [
            service
            for service in bound_services(self.services, manifest.environment)
            if (manifest.services is None or service.name in manifest.services)
            and (ceiling is None or service.name in ceiling)
        ]
        placeholders = {
            service.name: placeholder.mint(self.randomness(placeholder.MIN_RANDOMNESS)) for service in bound
        }
        variables = _variables(bound, placeholders)
        if isinstance(variables, Problem):
            return variables
        holdings = tuple(_holdings(task, placeholders))
        return Draft(task, manifest_bytes(manifest), holdings, placeholders, variables)

    def token(self, task: Task) -> str:
        """A session token that speaks for the task."""
        return _token(task, self.keyring, self.randomness(16).hex())

    def _strangers(self, asked: TaskAsked) -> str | None:
        known = {service.name for service in self.services}
        unknown = sorted(set(asked.services or ()) - known)
        return f"there is no service {unknown[0]!r} in the catalogue" if unknown else None


def start_task(store: TaskStore, office: Office, asked: TaskAsked, now: int) -> Started | Problem:
    """Start a task; ``now`` is POSIX seconds.

    :raises TaskStoreError: if the task cannot be kept; then there is none.
    """
    draft = office.draft(asked, now)
    if isinstance(draft, Problem):
        return draft
    store.create(draft.task, draft.manifest, draft.holdings, "cli")
    return Started(draft.task, draft.placeholders, draft.variables, office.token(draft.task))


def standing_task(
    store: TaskStore, office: Office, *, agent: str, purpose: str, now: int
) -> Standing | Problem:
    """Start the standing task of an agent that names none: no token, its entry's scopes, the longest life.

    :raises TaskStoreError: if the task cannot be kept; then there is none.
    """
    who = office.registry.get(agent)
    scopes = () if who is None else who.standing
    draft = office.draft(TaskAsked(agent, purpose, MAX_TASK_S, scopes), now, standing=True)
    if isinstance(draft, Problem):
        return draft
    store.create(draft.task, draft.manifest, draft.holdings, "listener")
    return draft.standing


def bound_services(services: Iterable[Service], environment: str) -> list[Service]:
    """Those whose credential a task in ``environment`` holds a placeholder for."""
    return [service for service in services if service.credential and environment in service.environments]


def _agent(registry: Registry, agent_id: str) -> Agent | Problem:
    if len(registry) == 0:
        words = "no agent is registered, so nobody may call; add one, rules/IDENTITY.md shows how"
        return Problem(AGENTS_FILE, None, words)
    if not agent_id:
        sole = registry.sole()
        if sole is None:
            return Problem(AGENTS_FILE, None, f"{len(registry)} agents are registered; name one with --agent")
        return sole
    found = registry.get(agent_id)
    if found is None:
        known = ", ".join(agent.id for agent in registry) or "none"
        return Problem(AGENTS_FILE, None, f"the agent {agent_id!r} is not registered (registered: {known})")
    return found


def _unowned(agent: Agent) -> str | None:
    if not agent.unowned:
        return None
    return f"nobody answers for {agent.id}: name its business_owner and data_owner ({agent.environment})"


def _above_ceiling(agent: Agent, asked: TaskAsked) -> str | None:
    ceiling = agent.ceiling
    for kind, wanted, most in (
        ("scope", asked.scopes, ceiling.scopes),
        ("service", asked.services or (), ceiling.services),
    ):
        beyond = [] if most is None else sorted(set(wanted) - set(most))
        if beyond:
            return f"the {kind} {beyond[0]!r} is above the ceiling of {agent.id}"
    for kind, amount, limit in (
        ("requests", asked.budgets.requests, ceiling.budgets.requests),
        ("octets", asked.budgets.octets, ceiling.budgets.octets),
    ):
        if amount is not None and limit is not None and amount > limit:
            return f"a budget of {amount} {kind} is above the ceiling of {agent.id}, which is {limit}"
    return None


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
