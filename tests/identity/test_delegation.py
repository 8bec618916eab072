"""Delegation: every link is checked anew, and no sequence of delegations ever widens anything."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.identity.claims import MAX_SESSION_S
from proxy.identity.delegation import MAX_CHAIN, Wanted, chain, fresh, narrow
from proxy.identity.principal import Budgets, Ceiling, TaskState
from proxy.identity.rights import limits, meet, own, within, within_budgets
from proxy.identity.task import MAX_DEPTH, Manifest, make_task
from tests.identity.families import HOUR, NOW, Agents, Family, Tasks, agent, manifest

NONCE = "11" * 16
THIS = "this task"
ABOVE = "a task that this one was delegated from"


def family() -> Family:
    return Family(agent("lead"), agent("coder"), agent("tester"), agent("robot", "production"))


def three(world: Family):
    """A chain of three that holds: lead, coder, tester."""
    root = world.begin("lead")
    middle = world.child(root, "coder")
    return root, middle, world.child(middle, "tester")


def refused(world: Family, task, now: int = NOW) -> tuple[Code, str]:
    refusal = chain(task, world.tasks, world.agents, now)
    assert isinstance(refusal, Refusal), refusal
    return refusal.code, refusal.detail


# Chains


def test_a_task_of_nobodys_is_a_chain_of_one():
    world = family()
    root = world.begin("lead")
    (link,) = world.links(root)
    assert (link.agent, link.task) == (world.agents.get("lead"), root)
    assert link.right == own(link.agent, root)


def test_a_chain_begins_at_its_root():
    world = family()
    tasks = three(world)
    assert tuple(link.task for link in world.links(tasks[-1])) == tasks


def test_each_link_has_what_all_before_it_leave():
    world = Family(
        agent("lead", ceiling=Ceiling(scopes=("issues:write", "repo:read"))),
        agent("coder", ceiling=Ceiling(scopes=("repo:read", "repo:write"))),
        agent("tester"),
    )
    root = world.begin("lead", services=("github", "npm"))
    middle = world.child(root, "coder", services=("github", "pypi"), scopes=("issues:write", "repo:read"))
    leaf = world.child(middle, "tester", services=None, scopes=("issues:write", "repo:read", "repo:write"))
    links = world.links(leaf)
    assert [sorted(link.right.scopes) for link in links] == [
        ["issues:write", "repo:read"],
        ["repo:read"],
        ["repo:read"],
    ]
    assert [link.right.services for link in links] == [{"github", "npm"}, {"github"}, {"github"}]


def test_an_agent_that_is_not_registered_has_no_chain():
    world = family()
    *_, leaf = three(world)
    del world.agents.by_id["coder"]
    assert refused(world, leaf) == (Code.AGENT_UNKNOWN, f"the agent of {ABOVE} is not in the registry")
    del world.agents.by_id["tester"]
    assert refused(world, leaf) == (Code.AGENT_UNKNOWN, f"the agent of {THIS} is not in the registry")


@pytest.mark.parametrize("state", [state for state in TaskState if state is not TaskState.OPEN])
@pytest.mark.parametrize(("which", "words"), [(0, ABOVE), (1, ABOVE), (2, THIS)])
def test_the_end_of_any_link_ends_the_chain(which, words, state):
    world = family()
    tasks = three(world)
    ended = world.swap(tasks[which], state=state)
    leaf = ended if which == 2 else tasks[-1]
    code = Code.REVOKED if state is TaskState.REVOKED else Code.TASK_ENDED
    assert refused(world, leaf) == (code, f"{words} is {state.value}")


def test_time_ends_the_chain():
    world = family()
    root = world.begin("lead")
    leaf = world.child(root, "coder", expires_at=NOW + 60)
    assert len(world.links(leaf, NOW + 59)) == 2
    assert refused(world, leaf, NOW + 60) == (Code.TASK_ENDED, f"{THIS} has expired")
    world.swap(root, expires_at=NOW + 60)
    slow = world.swap(leaf, expires_at=NOW + 70)
    assert refused(world, slow, NOW + 60) == (Code.TASK_ENDED, f"{ABOVE} has expired")


def test_a_task_stays_in_its_environment():
    world = family()
    root = world.begin("lead")
    world.agents.by_id["lead"] = agent("lead", "production")
    code, detail = refused(world, root)
    assert code is Code.ENVIRONMENT_FOREIGN
    assert detail == f"{THIS} belongs to development, its agent to production"


def test_a_chain_stays_in_its_environment():
    world = family()
    leaf = world.child(world.begin("lead"), "robot", environment="production")
    assert refused(world, leaf)[0] is Code.ENVIRONMENT_FOREIGN


@pytest.mark.parametrize(
    "changes",
    [
        {"parent": "t-" + "a" * 26},
        {"depth": 3},
        {"depth": 4},
        {"expires_at": NOW + HOUR + 1},
        {"on_behalf_of": None},
        {"on_behalf_of": "root@example.org"},
    ],
    ids=repr,
)
def test_a_link_that_does_not_fit_breaks_the_chain(changes):
    world = family()
    leaf = world.child(world.begin("lead"), "coder", **changes)
    assert refused(world, leaf)[0] is Code.CHAIN_INVALID
    below = world.child(leaf, "tester")
    assert refused(world, below)[0] is Code.CHAIN_INVALID


def test_no_agent_is_in_a_chain_twice():
    world = family()
    root = world.begin("lead")
    assert refused(world, world.child(root, "lead"))[0] is Code.CHAIN_INVALID
    again = world.child(world.child(root, "coder"), "lead")
    assert refused(world, again) == (Code.CHAIN_INVALID, "the agent lead is in the chain twice")


def test_tasks_that_are_their_own_parents_are_no_chain():
    """An id commits to the parent's, so there is no such task; if a store had one, it would not hang us."""
    world = family()
    root, middle, _ = three(world)
    circle = world.swap(root, parent=middle.id)
    assert refused(world, circle)[0] is Code.CHAIN_INVALID
    itself = world.swap(root, parent=root.id)
    assert refused(world, itself)[0] is Code.CHAIN_INVALID


def test_a_chain_has_eight_links_at_most():
    world = Family(*(agent(f"a{number}") for number in range(MAX_CHAIN + 1)))
    task = world.begin("a0", depth=MAX_DEPTH)
    for number in range(1, MAX_CHAIN):
        task = world.child(task, f"a{number}")
    assert len(world.links(task)) == MAX_CHAIN
    assert task.depth == 0
    deeper = [world.swap(held, depth=held.depth + 1) for held in list(world.tasks.by_id.values())]
    leaf = world.child(deeper[-1], f"a{MAX_CHAIN}")
    assert refused(world, leaf) == (Code.CHAIN_INVALID, f"the chain has more than {MAX_CHAIN} tasks")


def test_what_is_nearest_to_the_caller_is_said_first():
    world = family()
    root, middle, leaf = three(world)
    world.swap(root, state=TaskState.REVOKED)
    world.swap(middle, environment="production")
    ended = world.swap(leaf, state=TaskState.ENDED)
    assert refused(world, ended) == (Code.TASK_ENDED, f"{THIS} is ended")
    assert refused(world, leaf)[0] is Code.ENVIRONMENT_FOREIGN


# Freshness


def test_a_chain_is_fresh_until_something_changes():
    world = family()
    links = world.links(three(world)[-1])
    assert fresh(links, world.tasks, world.agents, NOW + HOUR - 1)
    assert not fresh(links, world.tasks, world.agents, NOW + HOUR)


def test_an_empty_chain_is_not_fresh():
    assert not fresh((), Tasks(), Agents([]), NOW)


@pytest.mark.parametrize("which", range(3))
def test_a_change_at_any_link_is_seen(which):
    world = family()
    links = world.links(three(world)[-1])
    task, who = links[which].task, links[which].agent
    world.swap(task)  # an equal one: what is equal today may have been another in between
    assert not fresh(links, world.tasks, world.agents, NOW)
    world.tasks.by_id[task.id] = task
    assert fresh(links, world.tasks, world.agents, NOW)
    world.agents.by_id[who.id] = replace(who)
    assert not fresh(links, world.tasks, world.agents, NOW)
    del world.agents.by_id[who.id]
    assert not fresh(links, world.tasks, world.agents, NOW)
    world.agents.by_id[who.id] = who
    del world.tasks.by_id[task.id]
    assert not fresh(links, world.tasks, world.agents, NOW)


# Handing on

PLAIN = Wanted("coder", "run the tests")
BOTH = ("issues:write", "repo:read")


def handed(world: Family, task, wanted: Wanted, now: int = NOW + 60) -> Manifest | Refusal:
    return narrow(world.links(task, now), wanted, world.agents.get(wanted.agent), now, NONCE)


def test_what_is_not_asked_for_is_as_the_parent_has_it():
    world = family()
    root = world.begin("lead", services=("github", "npm"), budgets=Budgets(100, None))
    assert handed(world, root, PLAIN) == Manifest(
        agent="coder",
        purpose="run the tests",
        scopes=BOTH,
        environment="development",
        issued_at=NOW + 60,
        expires_at=NOW + HOUR,
        on_behalf_of="ada@example.org",
        nonce=NONCE,
        services=("github", "npm"),
        budgets=Budgets(100, None),
        ticket="ISSUE-7",
        approver=None,
        parent=root.id,
        depth=2,
    )


def test_what_is_asked_for_is_given_if_it_is_there():
    world = family()
    wanted = Wanted("coder", "read", ("repo:read",), ("github",), 600, Budgets(10, 1000), 0)
    child = handed(world, world.begin("lead", budgets=Budgets(10, 1000)), wanted)
    assert isinstance(child, Manifest)
    assert (child.scopes, child.services) == (("repo:read",), ("github",))
    assert (child.expires_at, child.budgets, child.depth) == (NOW + 660, Budgets(10, 1000), 0)


def test_all_the_time_that_is_left_may_be_asked_for():
    world = family()
    child = handed(world, world.begin("lead"), replace(PLAIN, ttl_s=HOUR - 60))
    assert isinstance(child, Manifest)
    assert child.expires_at == NOW + HOUR


def test_no_child_outlives_the_token_that_speaks_for_it():
    """Standing tasks live longer than session tokens may; a token of theirs would never be accepted."""
    world = family()
    root = world.begin("lead", expires_at=NOW + 366 * 24 * HOUR)
    child = handed(world, root, PLAIN)
    assert isinstance(child, Manifest)
    assert child.expires_at - child.issued_at == MAX_SESSION_S
    longest = handed(world, root, replace(PLAIN, ttl_s=MAX_SESSION_S))
    assert isinstance(longest, Manifest)
    longer = handed(world, root, replace(PLAIN, ttl_s=MAX_SESSION_S + 1))
    assert isinstance(longer, Refusal)
    assert longer.code is Code.DELEGATION_REFUSED
    assert "that a token may live" in longer.detail


def test_nothing_can_be_handed_on():
    world = family()
    child = handed(world, world.begin("lead"), replace(PLAIN, scopes=(), services=()))
    assert isinstance(child, Manifest)
    assert (child.scopes, child.services) == ((), ())


def test_what_the_chain_has_left_is_handed_on_not_what_the_manifest_says():
    world = Family(agent("lead", ceiling=Ceiling(("repo:read",), ("npm",), Budgets(5, 50))), agent("coder"))
    root = world.begin("lead", budgets=Budgets(requests=3))
    child = handed(world, root, PLAIN)
    assert isinstance(child, Manifest)
    assert (child.scopes, child.services, child.budgets) == (("repo:read",), ("npm",), Budgets(3, 50))


def test_the_ceiling_of_the_child_narrows_when_it_calls():
    world = Family(agent("lead"), agent("coder", ceiling=Ceiling(("repo:read",), ("npm",))))
    child = handed(world, world.begin("lead"), PLAIN)
    assert isinstance(child, Manifest)
    right = world.links(world.tasks.add(make_task(child)))[-1].right
    assert (right.scopes, right.services) == ({"repo:read"}, {"npm"})


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (replace(PLAIN, agent="nobody"), "the agent 'nobody' is not registered"),
        (replace(PLAIN, agent="robot"), "the agent robot is of another environment"),
        (replace(PLAIN, agent="lead"), "the agent lead is already in the chain of this task"),
        (replace(PLAIN, depth=3), "the depth 3 is not smaller than the 3 of this task"),
        (replace(PLAIN, depth=7), "the depth 7 is not smaller than the 3 of this task"),
        (replace(PLAIN, depth=-1), "the depth is not 0 to 7"),
        (replace(PLAIN, scopes=("admin", "repo:read")), "the scope 'admin' is not one of this task"),
        (replace(PLAIN, services=("npm",)), "the service 'npm' is not one of this task"),
        (replace(PLAIN, ttl_s=HOUR - 59), "3541 s are longer than the 3540 s that this task has left"),
        (replace(PLAIN, ttl_s=0), "the lifetime is not 1 s to 366 days"),
        (
            replace(PLAIN, budgets=Budgets(requests=101)),
            "a budget of 101 requests is larger than the 100 of this task",
        ),
        (
            replace(PLAIN, budgets=Budgets(octets=1001)),
            "a budget of 1001 octets is larger than the 1000 of this task",
        ),
        (replace(PLAIN, budgets=Budgets(requests=0)), "a budget is not 1 to 2^53-1"),
        (replace(PLAIN, purpose="a\nb"), "the purpose is too long or not plain text"),
        (
            replace(PLAIN, agent="tester", scopes=BOTH),
            "the scope 'issues:write' is above the ceiling of the agent tester",
        ),
        (
            replace(PLAIN, agent="tester", services=("github",)),
            "the service 'github' is above the ceiling of the agent tester",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_more_than_there_is_is_refused(wanted, words):
    world = family()
    world.agents.by_id["tester"] = agent("tester", ceiling=Ceiling(("repo:read",), ()))
    root = world.begin("lead", services=("github",), budgets=Budgets(100, 1000))
    assert handed(world, root, wanted) == Refusal(Code.DELEGATION_REFUSED, words)


def test_a_task_without_depth_is_not_handed_on():
    world = family()
    words = "this task may not be delegated any further"
    assert handed(world, world.begin("lead", depth=0), PLAIN) == Refusal(Code.DELEGATION_REFUSED, words)


def test_a_task_that_is_over_is_not_handed_on():
    world = family()
    links = world.links(world.begin("lead"))
    refusal = narrow(links, PLAIN, world.agents.get("coder"), NOW + HOUR, NONCE)
    assert refusal == Refusal(Code.DELEGATION_REFUSED, "this task has expired")


def test_the_agent_that_was_asked_for_is_the_one_that_gets_it():
    world = family()
    links = world.links(world.begin("lead"))
    assert isinstance(narrow(links, PLAIN, world.agents.get("tester"), NOW, NONCE), Refusal)


def test_a_task_is_not_handed_back_to_whoever_had_it():
    world = family()
    leaf = three(world)[-1]
    for name in ("lead", "coder", "tester"):
        assert isinstance(handed(world, leaf, replace(PLAIN, agent=name)), Refusal)


def test_a_grandchild_gets_no_more_than_the_least_of_the_chain():
    world = family()
    middle = world.child(world.begin("lead", budgets=Budgets(10, None)), "coder", budgets=Budgets(50, 99))
    child = handed(world, middle, replace(PLAIN, agent="tester"))
    assert isinstance(child, Manifest)
    assert child.budgets == Budgets(10, 99)
    assert isinstance(handed(world, middle, Wanted("tester", "p", budgets=Budgets(requests=11))), Refusal)


# The heart of it: no sequence of delegations ever widens anything.

SCOPES, SERVICES, NAMES = ("a", "b", "c"), ("github", "npm", "pypi"), tuple("lmnopqrst")
amount = st.none() | st.integers(1, 6)
budget = st.builds(Budgets, amount, amount)


def subset(words, least=0):
    return st.sets(st.sampled_from(words), min_size=least).map(lambda them: tuple(sorted(them)))


def mostly(usual, otherwise):
    """Sequences of sensible wishes go deep; absurd ones come in between."""
    return st.integers(0, 7).flatmap(lambda die: otherwise if die == 7 else usual)


ceilings = mostly(
    st.builds(Ceiling, st.none(), st.none(), budget),
    st.builds(Ceiling, st.none() | subset(SCOPES), st.none() | subset(SERVICES), budget),
)
environments = mostly(st.just("development"), st.just("production"))
everybody = st.tuples(*(st.builds(agent, st.just(name), environments, ceilings) for name in NAMES))
wishes = st.builds(
    Wanted,
    agent=mostly(st.sampled_from(NAMES), st.sampled_from(["nobody", ""])),
    purpose=st.sampled_from(["p", "q"]),
    scopes=mostly(st.none(), subset((*SCOPES, "z"))),
    services=mostly(st.none(), subset((*SERVICES, "zzz"))),
    ttl_s=mostly(st.none() | st.integers(HOUR // 2, HOUR), st.integers(-2, 2 * HOUR)),
    budgets=mostly(st.just(Budgets()), st.builds(Budgets, amount, st.none() | st.integers(-1, 9))),
    depth=mostly(st.none(), st.integers(-1, 9)),
)
steps = st.lists(
    st.tuples(mostly(st.just(-1), st.integers(0, 20)), wishes, st.integers(0, 120)), min_size=4, max_size=14
)
roots = st.builds(
    lambda **changes: manifest("l", **changes),
    scopes=mostly(st.just(SCOPES), subset(SCOPES)),
    services=st.none() | subset(SERVICES, 1),
    budgets=budget,
    depth=st.sampled_from([MAX_DEPTH, 5, 3, 1, 0]),
    on_behalf_of=st.none() | st.just("ada@example.org"),
)


def play(agents, root: Manifest, moves):
    """Every task that comes of handing the root on and on, and the time at the end."""
    world, now = Family(*agents), NOW
    world.agents.by_id["l"] = replace(world.agents.by_id["l"], environment="development")
    made = [world.tasks.add(make_task(root))]
    for number, (which, wanted, pause) in enumerate(moves):
        now += pause
        holder = made[which % len(made)] if which >= 0 else made[-1]
        links = chain(holder, world.tasks, world.agents, now)
        if isinstance(links, Refusal):
            assert links.code is Code.TASK_ENDED
            continue
        child = narrow(links, wanted, world.agents.get(wanted.agent), now, f"{number + 1:032x}")
        if isinstance(child, Refusal):
            assert child.code is Code.DELEGATION_REFUSED
        else:
            made.append(world.tasks.add(make_task(child)))
    return world, made, now


@given(everybody, roots, steps)
def test_no_sequence_of_delegations_ever_widens_anything(agents, root, moves):
    world, made, _ = play(agents, root, moves)
    for task in made:
        links = chain(task, world.tasks, world.agents, task.issued_at)
        assert isinstance(links, tuple)
        assert links[0].task.id == made[0].id
        assert links[-1].task is task
        assert len({link.agent.id for link in links}) == len(links) <= MAX_CHAIN
        whole = own(links[0].agent, links[0].task)
        for above, below in pairwise(links):
            whole = meet(whole, own(below.agent, below.task))
            assert within(below.right, above.right)
            # Already the manifest is no wider than what the parent had in effect.
            assert set(below.task.scopes) <= above.right.scopes
            if above.right.services is not None:
                assert below.task.services is not None
                assert set(below.task.services) <= above.right.services
            assert below.task.expires_at <= above.task.expires_at
            assert below.task.depth < above.task.depth
            assert below.task.environment == above.task.environment == below.agent.environment
            assert below.task.on_behalf_of == above.task.on_behalf_of
            assert below.task.ticket == above.task.ticket
            assert below.task.approver is None
            assert within_budgets(below.task.budgets, limits(above.agent, above.task))
        assert links[-1].right == whole
        assert all(within(links[-1].right, own(link.agent, link.task)) for link in links)


@given(everybody, roots, steps, st.data())
def test_whatever_ends_takes_all_below_it_along(agents, root, moves, data):
    world, made, now = play(agents, root, moves)
    held = {task.id: chain(task, world.tasks, world.agents, now) for task in made}
    ended = data.draw(st.sampled_from(made))
    world.swap(ended, state=TaskState.REVOKED)
    for task in made:
        links = held[task.id]
        if isinstance(links, Refusal):
            continue
        below = any(link.task is ended for link in links)
        assert fresh(links, world.tasks, world.agents, now) is not below
        again = chain(world.tasks.by_id[task.id], world.tasks, world.agents, now)
        assert isinstance(again, Refusal) is below


@given(everybody, roots, steps, st.data())
def test_a_ceiling_that_sinks_later_counts_for_all_below_it(agents, root, moves, data):
    world, made, now = play(agents, root, moves)
    low = data.draw(st.builds(Ceiling, subset(SCOPES), subset(SERVICES)))
    sunk = data.draw(st.sampled_from(NAMES))
    world.agents.by_id[sunk] = replace(world.agents.by_id[sunk], ceiling=low)
    for task in made:
        links = chain(task, world.tasks, world.agents, now)
        if isinstance(links, tuple) and any(link.agent.id == sunk for link in links):
            assert links[-1].right.scopes <= set(low.scopes or ())
            assert (links[-1].right.services or frozenset()) <= set(low.services or ())
            assert links[-1].right.services is not None
