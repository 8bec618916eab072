"""Attribution: asked on every call anew, answered from memory."""

import timeit
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.errors import Code, Refusal
from proxy.identity.attribution import Attributor
from proxy.identity.claims import SessionClaims
from proxy.identity.jws import LEEWAY_S, SigningKey, VerifyingKeys, sign_session
from proxy.identity.presented import Presented
from proxy.identity.principal import Agent, Evidence, Principal, Task, TaskState
from proxy.identity.task import Manifest, make_task

NOW = 1_800_000_000
PEER = "127.0.0.1:40000"
AGENT = Agent("coder", "development", "2", "ada", "grace")


class World:
    """A registry, a book of tasks and an issuer."""

    def __init__(self) -> None:
        private = Ed25519PrivateKey.generate()
        self.key = SigningKey.of(private)
        self.agents: dict[str, Agent] = {AGENT.id: AGENT}
        self.tasks: dict[str, Task] = {}
        keys = VerifyingKeys(private.public_key())
        self.attributor = Attributor(keys, "iss", "aud", self.agents, self.tasks, cache_size=3)
        self.task = self.start()

    def start(self, **changes: object) -> Task:
        manifest = Manifest(
            "coder", "p", ("a",), "development", NOW, NOW + 600, None, f"{len(self.tasks):032x}"
        )
        task = make_task(replace(manifest, **changes))
        self.tasks[task.id] = task
        return task

    def change(self, task: Task, **changes: object) -> None:
        self.tasks[task.id] = replace(task, **changes)

    def token(self, task: Task | None = None, **changes: object) -> Presented:
        task = task or self.task
        claims = SessionClaims("iss", task.agent, "aud", "j1", task.id, NOW, task.expires_at, task.scopes)
        return Presented("basic", sign_session(replace(claims, **changes), self.key).encode())

    def ask(self, token: Presented, now: int = NOW) -> Principal | Code:
        result = self.attributor.attribute(token, PEER, now)
        return result.code if isinstance(result, Refusal) else result


@pytest.fixture
def world():
    return World()


def test_a_token_becomes_a_principal_with_its_evidence(world):
    principal = world.ask(world.token())
    assert principal.agent == AGENT
    assert principal.task == world.task
    evidence = principal.evidence
    assert evidence == Evidence("session-token", "iss", world.key.key_id, "j1", evidence.token_sha256, PEER)
    assert len(evidence.token_sha256) == 64


def test_the_second_call_does_not_verify_again_and_says_the_same(world):
    token = world.token()
    assert world.ask(token) == world.ask(token)
    assert world.attributor.attribute(token, "127.0.0.1:40001", NOW).evidence.peer == "127.0.0.1:40001"


@pytest.mark.parametrize("warm", [False, True])
class TestEveryCallIsAskedAnew:
    @pytest.fixture
    def token(self, world, warm):
        token = world.token()
        if warm:
            assert isinstance(world.ask(token), Principal)
        return token

    @pytest.mark.parametrize("state", [TaskState.ENDED, TaskState.EXPIRED, TaskState.REVOKED])
    def test_the_task_is_over(self, world, token, state):
        world.change(world.task, state=state)
        assert world.ask(token) is Code.TASK_ENDED

    def test_the_task_is_past_its_time_though_nobody_marked_it(self, world, token):
        world.change(world.task, expires_at=NOW)
        assert world.ask(token) is Code.TASK_ENDED

    def test_the_task_is_gone(self, world, token):
        del world.tasks[world.task.id]
        assert world.ask(token) is Code.TASK_UNKNOWN

    def test_the_agent_is_gone(self, world, token):
        del world.agents["coder"]
        assert world.ask(token) is Code.AGENT_UNKNOWN

    def test_the_agent_has_moved_to_another_environment(self, world, token):
        world.agents["coder"] = replace(AGENT, environment="production")
        assert world.ask(token) is Code.TASK_ENDED

    def test_the_task_is_another_agent_s(self, world, token):
        world.change(world.task, agent="other")
        assert world.ask(token) is Code.IDENTITY_INVALID

    def test_the_token_s_scopes_are_not_the_task_s(self, world, token):
        world.change(world.task, scopes=("a", "b"))
        assert world.ask(token) is Code.IDENTITY_INVALID

    def test_the_token_has_expired(self, world, token):
        assert world.ask(token, world.task.expires_at + LEEWAY_S) is Code.IDENTITY_EXPIRED

    def test_the_clock_was_set_back_before_the_token(self, world, token):
        assert world.ask(token, NOW - LEEWAY_S - 1) is Code.IDENTITY_INVALID


def test_within_the_token_s_leeway_the_task_s_own_end_counts(world):
    assert world.ask(world.token(), world.task.expires_at) is Code.TASK_ENDED


def test_a_token_that_is_not_ours(world):
    assert world.ask(Presented("bearer", b"a.b.c")) is Code.IDENTITY_INVALID
    assert world.ask(World().token()) is Code.IDENTITY_INVALID


def test_the_cache_is_bounded_and_only_what_verified_is_in_it(world):
    tokens = [world.token(token_id=f"j{number}") for number in range(10)]
    for token in tokens + tokens:
        assert isinstance(world.ask(token), Principal)
        assert world.ask(Presented("basic", token.token[:-1])) is Code.IDENTITY_INVALID
    assert len(world.attributor._verified) == 3


def test_an_expired_token_leaves_the_cache(world):
    token = world.token()
    world.ask(token)
    world.ask(token, NOW + 9999)
    assert not world.attributor._verified


def test_a_listener_s_fixed_identity_is_checked_like_any_other(world):
    fixed = world.attributor.fixed
    assert fixed("coder", world.task.id, PEER, NOW) == Principal(
        AGENT, world.task, Evidence("listener", "iss", "", "", "", PEER)
    )
    assert fixed("nobody", world.task.id, PEER, NOW).code is Code.AGENT_UNKNOWN
    assert fixed("coder", "t-none", PEER, NOW).code is Code.TASK_UNKNOWN
    world.change(world.task, state=TaskState.REVOKED)
    assert fixed("coder", world.task.id, PEER, NOW).code is Code.TASK_ENDED


def test_a_hit_is_cheap(world):
    token = world.token()
    world.ask(token)
    best = (
        min(timeit.repeat(lambda: world.attributor.attribute(token, PEER, NOW), number=2000, repeat=5)) / 2000
    )
    # The budget is 5 us; a verification costs over 100, and a shared machine may be slow.
    assert best < 25e-6
