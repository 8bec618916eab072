"""D12: acting for another never adds anything to what both may do (egress.md, section 5)."""

import pytest

from proxy.errors import Code
from tests.hostile.assertions import inside
from tests.hostile.callers import (
    ask,
    calls,
    delegate,
    house,
    through,
    tunnel,
    turned_away,
    two_services,
)
from tests.support import demo_rules
from tests.support.rawclient import basic


def chain_of(w, *tasks: str) -> list[dict[str, str]]:
    kept = [w.sidecar.book.get(task) for task in tasks]
    return [{"agent": one.agent, "task": one.id, "grant_sha256": one.manifest_sha256} for one in kept]


def scoped(agent: str) -> str:
    return (
        f'@id("{agent}-deploys") permit(principal == Agent::"{agent}", action, resource in Service::"api")'
        ' when { context.task.scopes.contains("deploy") };'
    )


ONLY_B = [demo_rules.permit("b-alone", who="b", actions=("read", "write", "delete"))]
DEPUTIES = [
    pytest.param({"policies": ONLY_B}, {}, Code.DEFAULT_DENY, id="D12-rules-permit-the-deputy-alone"),
    pytest.param(
        {
            "policies": [
                *ONLY_B,
                demo_rules.permit("a-may", who="a"),
                demo_rules.forbid("not-a", who="a", actions=("read",)),
            ]
        },
        {},
        Code.POLICY_DENY,
        id="D12-rules-forbid-the-one-it-acts-for",
    ),
    pytest.param({}, {"services": ("rest",)}, Code.SERVICE_NOT_GRANTED, id="D12-through-services"),
    pytest.param({}, {"services": ()}, Code.SERVICE_NOT_GRANTED, id="D12-through-no-services"),
    pytest.param({"policies": [scoped("a"), scoped("b")]}, {}, Code.DEFAULT_DENY, id="D12-through-scopes"),
]


@pytest.mark.parametrize(("rules", "given", "code"), DEPUTIES)
async def test_d12_a_deputy_has_no_right_of_its_own_while_it_acts_for_another(tmp_path, rules, given, code):
    """B may call X under a task of its own, and may not on behalf of A, who may not."""
    async with house(tmp_path, "a", "b", services=two_services, **rules) as w:
        own = w.another_task(agent="b", scopes=("deploy",))
        root = w.another_task(agent="a", **given)
        child = await delegate(w, root.token, "b")
        w.started = root
        async with tunnel(w, basic("task", child.token)) as client:
            await client.send(inside(w, "/x"))
            answer = await client.read_response()
        record = await turned_away(w, answer, code, agent="b", token=child.token)
        assert record.task == child.task
        assert record.raw["who"]["chain"] == chain_of(w, root.task.id, child.task)
        (above,) = record.raw["why"]["above"]
        assert (above["agent"], above["task"]) == ("a", root.task.id)
        assert above["effect"] == ("allow" if code is Code.SERVICE_NOT_GRANTED else "deny")
        assert (await through(w, own.token)).status == 200


async def test_d12_the_same_is_said_beforehand(tmp_path):
    """``/may`` is answered by the judge itself."""
    async with house(tmp_path, "a", "b", policies=ONLY_B) as w:
        child = await delegate(w, w.started.token, "b")
        url = f"/may?method=GET&url=https%3A%2F%2F{w.authority.replace(':', '%3A')}%2F"
        told = (await ask(w, child.token, url)).json()
        assert (told["allowed"], told["why"]["code"]) == (False, Code.DEFAULT_DENY)
        assert told["why"]["detail"].startswith("a, for whom this task was delegated")
        own = w.another_task(agent="b")
        assert (await ask(w, own.token, url)).json()["allowed"]


async def test_d12_what_both_may_is_allowed_and_the_record_says_so_of_each(tmp_path):
    async with house(tmp_path, "a", "b", "c") as w:
        child = await delegate(w, w.started.token, "b")
        grandchild = await delegate(w, child.token, "c")
        assert (await through(w, grandchild.token, "/x")).status == 200
        await w.settled()
        (record,) = calls(w)
        assert (record.effect, record.agent) == ("allow", "c")
        assert record.raw["who"]["chain"] == chain_of(w, w.started.task.id, child.task, grandchild.task)
        above = [(one["agent"], one["task"], one["effect"]) for one in record.raw["why"]["above"]]
        assert above == [("a", w.started.task.id, "allow"), ("b", child.task, "allow")]


async def test_d12_a_placeholder_of_the_one_it_acts_for_is_not_the_deputy_s(tmp_path):
    """Each task holds its own; what A was given speaks for A alone."""
    async with house(tmp_path, "a", "b") as w:
        child = await delegate(w, w.started.token, "b")
        theirs = f"Authorization: Bearer {w.placeholder}"
        async with tunnel(w, basic("task", child.token)) as client:
            await client.send(inside(w, "/x", theirs))
            answer = await client.read_response()
        await turned_away(w, answer, Code.PLACEHOLDER_TASK_MISMATCH, agent="b", token=child.token)
        own = f"Authorization: Bearer {child.placeholders['api']}"
        assert (await through(w, child.token, "/x", own)).status == 200
