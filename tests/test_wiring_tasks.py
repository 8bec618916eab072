"""How a task begins: nothing is handed out before it is durable."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.control.operations import TaskAsked
from proxy.credential.binding import Binding, HeaderSurface
from proxy.credential.placeholder import digest, find
from proxy.errors import Code, Refusal
from proxy.identity.arrival import Arrival
from proxy.identity.attribution import Attributor
from proxy.identity.claims import MAX_SESSION_S
from proxy.identity.presented import Presented
from proxy.identity.principal import Agent, Budgets, Ceiling, Principal
from proxy.identity.registry import Registry
from proxy.identity.task import make_task, parse_manifest, task_id
from proxy.policy.catalogue import Service
from proxy.problems import Problem
from proxy.store.keyring import Keyring
from proxy.store.tasks import TaskStore, TaskStoreError
from proxy.wiring_tasks import Office, Standing, Started, standing_task, start_task
from tests.support.believing import sessions_of

NOW = 1_800_000_000
CODER = Agent("coder", "development", "low", "ada", "grace", "fixes issues")
DEPLOYER = Agent("deployer", "production", "high", "ada", "grace")


def service(
    name: str, *variables: str, environments: tuple[str, ...] = ("development",), bound: bool = True
) -> Service:
    binding = Binding(name, "env", "REAL", HeaderSurface(), variables) if bound else None
    return Service(
        name,
        (f"{name}.example.com",),
        ("https",),
        (443,),
        "ada",
        "grace",
        "internal",
        environments,
        (),
        binding,
    )


class World:
    def __init__(self, path) -> None:
        self.path = path / "tasks.sqlite3"
        self.store = TaskStore.open(self.path)
        self.keyring = Keyring.open(path / "state")
        self.registry = Registry.of([CODER])
        self.services = [
            service("forge", "FORGE_TOKEN", "GH_TOKEN"),
            service("mail", "MAIL_KEY"),
            service("open", bound=False),
            service("prod", "PROD_KEY", environments=("production",)),
        ]
        self.drawn = 0
        self.depth = 3

    def randomness(self, octets: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(octets, "big")

    @property
    def office(self) -> Office:
        return Office(self.keyring, self.registry, tuple(self.services), self.randomness, self.depth)

    def start(self, **changes: object) -> Started | Problem:
        wishes = {"agent": "", "purpose": "p", "ttl_s": 600} | changes
        return start_task(self.store, self.office, TaskAsked(**wishes), NOW)

    def standing(self, agent: str) -> Standing | Problem:
        return standing_task(self.store, self.office, agent=agent, purpose="", now=NOW)

    def attribute(self, started: Started, keyring: Keyring | None = None):
        """Who the token says is calling."""
        trust = sessions_of(keyring or self.keyring)
        attributor = Attributor(trust, self.registry, {started.task.id: started.task})
        token = Presented("basic", started.token.encode())
        return attributor.attribute(Arrival("127.0.0.1:1", "127.0.0.1"), token, NOW)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.store.close()


def test_the_token_attributes_a_call_to_the_task(world):
    started = world.start(scopes=["b", "a", "b"], on_behalf_of="ada")
    task = started.task
    assert (task.agent, task.purpose, task.scopes, task.on_behalf_of) == ("coder", "p", ("a", "b"), "ada")
    assert (task.issued_at, task.expires_at, task.environment) == (NOW, NOW + 600, "development")
    stored = world.store.get(task.id)
    assert stored.task == task
    assert stored.opened_by == "cli"
    principal = world.attribute(started)
    assert isinstance(principal, Principal)
    assert principal.task == task


def test_a_token_of_one_sidecar_is_refused_by_another(world, tmp_path):
    started = world.start()
    refusal = world.attribute(started, Keyring.open(tmp_path / "other"))
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.IDENTITY_INVALID


def test_placeholders_for_every_bound_service_of_the_agent_s_environment(world):
    started = world.start()
    assert set(started.placeholders) == {"forge", "mail"}
    assert started.variables == {
        "FORGE_TOKEN": started.placeholders["forge"],
        "GH_TOKEN": started.placeholders["forge"],
        "MAIL_KEY": started.placeholders["mail"],
    }
    for value in started.placeholders.values():
        assert find(value.encode()) == [value.encode()]
    held = {each.service: each for each in world.store.holdings(started.task)}
    for name, value in started.placeholders.items():
        assert held[name].placeholder_sha256 == digest(value.encode())
        assert (held[name].task_id, held[name].agent) == (started.task.id, "coder")


def test_two_tasks_share_nothing(world):
    one, other = world.start(), world.start()
    assert one.task.id != other.task.id
    assert one.token != other.token
    assert not set(one.placeholders.values()) & set(other.placeholders.values())


def test_the_agent_s_purpose_is_the_default(world):
    assert world.start(purpose="").task.purpose == "fixes issues"


def test_the_sole_agent_is_the_default_otherwise_it_is_named(world):
    world.registry = Registry.of([CODER, DEPLOYER])
    assert "--agent" in world.start().message
    assert world.start(agent="deployer").task.environment == "production"
    assert set(world.start(agent="deployer").placeholders) == {"prod"}
    world.registry = Registry.of([])
    assert "no agent is registered" in world.start().message


@pytest.mark.parametrize(
    "wish",
    [
        {"agent": "nobody"},
        {"ttl_s": 0},
        {"ttl_s": MAX_SESSION_S + 1},
        {"purpose": "a\nb"},
        {"scopes": ["a b"]},
        {"on_behalf_of": ""},
    ],
    ids=repr,
)
def test_what_is_wrong_is_said_and_nothing_is_kept(world, wish):
    problem = world.start(**wish)
    assert isinstance(problem, Problem)
    assert problem.line is None
    assert world.store.list() == ()


def test_what_an_agent_is_given_at_most(world):
    ceiling = Ceiling(("read",), ("forge",), Budgets(10, 1000))
    world.registry = Registry.of([replace(CODER, ceiling=ceiling)])
    for wish, words in (
        ({"scopes": ("write",)}, "the scope 'write' is above the ceiling of coder"),
        ({"services": ("forge", "mail")}, "the service 'mail' is above the ceiling of coder"),
        ({"budgets": Budgets(11)}, "a budget of 11 requests is above the ceiling of coder, which is 10"),
        ({"budgets": Budgets(octets=1001)}, "a budget of 1001 octets is above"),
    ):
        assert words in world.start(**wish).message
    assert world.store.list() == ()
    started = world.start(scopes=("read",), budgets=Budgets(10, 1000))
    assert isinstance(started, Started)
    assert set(started.placeholders) == {"forge"}  # not named, and cut off all the same


def test_a_ceiling_that_is_empty_gives_nothing(world):
    world.registry = Registry.of([replace(CODER, ceiling=Ceiling((), ()))])
    assert isinstance(world.start(scopes=("read",)), Problem)
    assert isinstance(world.start(services=("forge",)), Problem)
    assert world.start().placeholders == {}


def test_a_task_has_placeholders_for_its_services_alone(world):
    started = world.start(services=("open", "mail", "mail"))
    assert started.task.services == ("mail", "open")
    assert set(started.placeholders) == {"mail"}
    assert world.start(services=()).placeholders == {}
    assert "no service 'mial'" in world.start(services=("mial",)).message


def test_nobody_works_in_production_for_whom_nobody_answers(world):
    for lacking in ({"business_owner": ""}, {"data_owner": ""}):
        world.registry = Registry.of([replace(DEPLOYER, **lacking)])
        assert world.start().message == (
            "nobody answers for deployer: name its business_owner and data_owner (production)"
        )
        assert isinstance(world.standing("deployer"), Problem)
        world.registry = Registry.of([replace(CODER, **lacking)])
        assert isinstance(world.start(), Started)
    assert {stored.task.agent for stored in world.store.list()} == {"coder"}


def test_how_often_a_task_may_be_delegated_on(world):
    assert world.start().task.depth == 3
    assert world.start(depth=0).task.depth == 0
    world.depth = 1
    assert world.start().task.depth == 1
    assert world.start(depth=7).task.depth == 7  # whoever starts it says otherwise
    assert "depth" in world.start(depth=8).message


def test_what_was_agreed_is_in_the_task_and_under_its_id(world):
    task = world.start(ticket="OPS-7", approver="grace", budgets=Budgets(5)).task
    assert (task.ticket, task.approver, task.budgets, task.parent) == ("OPS-7", "grace", Budgets(5), None)
    with closing(sqlite3.connect(world.path)) as file:
        ((manifest,),) = file.execute("SELECT manifest FROM tasks")
    assert task_id(manifest) == task.id
    assert make_task(parse_manifest(manifest)) == task


def test_two_services_cannot_fill_one_variable(world):
    world.services.append(service("other", "GH_TOKEN"))
    problem = world.start()
    assert "forge" in problem.message
    assert "other" in problem.message
    assert "GH_TOKEN" in problem.message
    assert world.store.list() == ()


def test_no_token_if_the_task_cannot_be_kept(world):
    blocker = sqlite3.connect(world.path, isolation_level=None)
    blocker.execute("DROP TABLE holdings")
    blocker.close()
    with pytest.raises(TaskStoreError):
        world.start()
    assert world.store.list() == ()


def test_neither_token_nor_placeholders_are_in_the_store_or_in_a_repr(world):
    started = world.start()
    world.store.close()
    content = b"".join(path.read_bytes() for path in world.path.parent.glob("tasks.sqlite3*"))
    for secret in (started.token, *started.placeholders.values()):
        assert secret.encode() not in content
        assert secret not in repr(started)


def test_a_listener_s_standing_task_is_kept_like_any_other(world):
    standing = world.standing("coder")
    task = standing.task
    assert world.store.get(task.id).task == task
    assert task.scopes == ()
    assert {held.service: held.placeholder_sha256 for held in world.store.holdings(task)} == {
        service: digest(value.encode()) for service, value in standing.placeholders.items()
    }
    assert set(standing.variables) == {"FORGE_TOKEN", "GH_TOKEN", "MAIL_KEY"}
    assert task.expires_at - NOW == 366 * 86_400
    assert isinstance(world.standing("nobody"), Problem)


def test_a_standing_task_without_a_possible_manifest_is_a_problem(world):
    world.registry = Registry.of([Agent("coder", "", "low", "ada", "grace")])
    assert isinstance(world.standing("coder"), Problem)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.text(max_size=30), st.integers(-10, 10**8), st.lists(st.text(max_size=9), max_size=4))
def test_any_wish_gets_a_task_or_a_problem(world, purpose, ttl, scopes):
    started = world.start(purpose=purpose, ttl_s=ttl, scopes=scopes)
    if isinstance(started, Started):
        assert world.store.get(started.task.id).task == started.task
    else:
        assert started.message
