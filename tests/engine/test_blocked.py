"""What was refused a task lately: its own, the newest first, and no more than there is room for."""

import pytest

from proxy.credential import placeholder
from proxy.engine.blocked import Block, Blocked
from proxy.engine.seen import Seen
from proxy.errors import Code, Refusal
from proxy.http.canonical import parse_target
from proxy.identity.principal import Evidence, Method, Principal
from tests.engine.lines import plain_world
from tests.engine.ports import BEARER, TOKEN, engine
from tests.identity.families import Family, agent
from tests.support import demo_rules
from tests.support.rawclient import basic

NO = Refusal(Code.DEFAULT_DENY, "no rule")


@pytest.fixture
def blocked():
    return Blocked()


def principal(number: int = 0) -> Principal:
    family = Family(agent("coder"))
    task = family.begin("coder", nonce=f"{number:032x}")
    return Principal(family.links(task), (Evidence(Method.SESSION, "here"),))


def seen(who: Principal | None, url: str = "http://api.test:81/a?b=c", **changes) -> Seen:
    host = url.split("/")[2].encode()
    target = parse_target("GET", url.encode(), tunnel=None, hosts=[host], version="1.1")
    return Seen("127.0.0.1:1", principal=who, method="GET", target=target, **changes)


def test_it_says_when_what_and_why(blocked):
    who = principal()
    blocked.note(seen(who), NO, "R1", 5)
    assert blocked.of(who.task.id) == (Block(5, "R1", "GET", "http://api.test:81/a", NO),)


def test_no_query_and_no_placeholder_comes_this_far(blocked):
    who, secret = principal(), placeholder.mint(b"s" * 24)
    blocked.note(seen(who, f"http://api.test/{secret}?key={secret}"), NO, "R", 1)
    (block,) = blocked.of(who.task.id)
    assert secret not in str(block)
    assert block.url.startswith("http://api.test/")


def test_a_call_without_a_target_says_what_was_asked_for(blocked):
    who = principal()
    blocked.note(Seen("p", principal=who, method="CONNECT", authority="127.0.0.1:22"), NO, "R", 1)
    assert [block.url for block in blocked.of(who.task.id)] == ["127.0.0.1:22"]


def test_the_newest_first_and_the_oldest_gone(blocked):
    who = principal()
    for number in range(60):
        blocked.note(seen(who), NO, f"R{number}", number)
    assert [block.record for block in blocked.of(who.task.id)] == [
        f"R{number}" for number in range(59, 9, -1)
    ]


def test_long_urls_take_little_room(blocked):
    who = principal()
    blocked.note(seen(who, "http://api.test/" + "a" * 10_000), NO, "R", 1)
    (block,) = blocked.of(who.task.id)
    assert len(block.url) < 600
    assert block.url.endswith("a...")


def test_a_task_sees_its_own_alone(blocked):
    one, other = principal(1), principal(2)
    blocked.note(seen(one), NO, "R1", 1)
    assert blocked.of(other.task.id) == ()
    assert blocked.of("") == ()


def test_nobody_knows_what_nobody_was_refused(blocked):
    blocked.note(seen(None), NO, "R1", 1)
    assert blocked._tasks == {}


def test_the_tasks_that_were_refused_longest_ago_are_forgotten(blocked):
    who = [principal(number) for number in range(1030)]
    for one in who[:1024]:
        blocked.note(seen(one), NO, "R", 1)
    blocked.note(seen(who[0]), NO, "again", 2)
    for one in who[1024:]:
        blocked.note(seen(one), NO, "R", 3)
    assert len(blocked._tasks) == 1024
    assert [block.record for block in blocked.of(who[0].task.id)] == ["again", "R"]
    assert [len(blocked.of(one.task.id)) for one in who[1:7]] == [0] * 6
    assert len(blocked.of(who[7].task.id)) == 1


# -- over the engine --


async def test_every_refusal_before_the_call_leaves_is_remembered_as_it_was_told():
    async with engine() as e:
        told = [
            await e.call("/x", "Expect: the-unexpected"),
            await e.call(f"/{TOKEN}", BEARER),
        ]
        assert [block.record for block in e.blocked.of("one")] == [
            answer.json()["record"] for answer in told[::-1]
        ]
        assert TOKEN not in str(e.blocked.of("one"))
        assert e.blocked.of("two") == ()


async def test_an_agent_reads_what_it_was_refused_and_nobody_elses(tmp_path):
    agents = [demo_rules.agent(), demo_rules.agent("other")]
    async with plain_world(tmp_path, agents=agents, policies=[]) as w, await w.client() as client:

        async def ask(url: str, token: str):
            host = url.split("/")[2]
            head = (
                f"GET {url} HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: {basic('task', token)}\r\n\r\n"
            )
            await client.send(head.encode())
            return await client.read_response()

        other = w.another_task(agent="other")
        refused = (await ask(f"http://{w.authority}/a?secret=1", w.started.token)).json()
        await ask(f"http://{w.authority}/b", other.token)
        (entry,) = (await ask("http://gatepass.internal/blocked", w.started.token)).json()["blocked"]
        assert (entry["method"], entry["url"]) == ("GET", f"http://{w.authority}/a")
        assert (entry["code"], entry["detail"], entry["record"]) == (
            "default_deny",
            refused["detail"],
            refused["record"],
        )
        assert entry["next"]
        assert int(entry["time_ns"]) >= w.decisions[0].time
