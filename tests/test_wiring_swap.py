"""A running sidecar whose rules change under its callers: every part goes by the new ones with its next question."""

import asyncio
import json

import pytest

from proxy.identity.principal import Evidence, Link, Method, Principal
from proxy.identity.registry import Registry
from proxy.identity.ways import Way
from proxy.store import bundles
from proxy.wiring_farewell import CHANGED, GONE, parting
from tests.broker.pdps import http, pdp, said
from tests.policy.worlds import CODER, right, task
from tests.support import demo_rules
from tests.support.demo_rules import agent, permit
from tests.support.rawclient import RawClient
from tests.support.wire import Malformed
from tests.support.world import World, world

QUICK = {"reload": 0.02}


async def swapped(w: World, before: str) -> str:
    """The digest of the rules in force, once they are not those ``before``."""
    async with asyncio.timeout(20):
        while w.sidecar.parts.rulebook.current.ruleset.sha256 == before:
            await asyncio.sleep(0.01)
    return w.sidecar.parts.rulebook.current.ruleset.sha256


def digest(w: World) -> str:
    return w.sidecar.parts.rulebook.current.ruleset.sha256


def rewrite(w: World, tmp_path, **written) -> None:
    api = demo_rules.service(
        "api",
        *w.upstream.hosts,
        ports=[w.upstream.port],
        credential=demo_rules.from_env("API_TOKEN"),
        encoded_slash=written.pop("encoded_slash", None),
    )
    extra = written.pop("services", [])
    demo_rules.write_rules(tmp_path / "rules", **{"services": [api, *extra], **written})


async def ask(client: RawClient, w: World, path: str = "/", method: str = "GET"):
    await client.send(
        f"{method} {path} HTTP/1.1\r\nHost: {w.authority}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    return await client.read_response()


async def test_the_next_request_on_a_connection_is_decided_by_the_new_rules(tmp_path):
    async with world(tmp_path, follow=True, policy=QUICK, policies=[permit("reads")]) as w:
        async with w.tunnel() as client:
            first = digest(w)
            assert (await ask(client, w)).status == 200
            assert (await w.call(method="DELETE")).status == 403
            rewrite(w, tmp_path, policies=[permit("deletes", actions=("delete",))])
            second = await swapped(w, first)
            assert (await ask(client, w, method="DELETE")).status == 200
            assert (await ask(client, w)).status == 403
        await w.settled()
    told = [(record.raw["why"]["ruleset_sha256"], record.effect) for record in w.decisions]
    assert told == [(first, "allow"), (first, "deny"), (second, "allow"), (second, "deny")]
    loads = [record.raw["body"] for record in w.records if record.kind == "rules.load"]
    assert [(one["ruleset_sha256"], one["previous_sha256"]) for one in loads] == [
        (first, None),
        (second, first),
    ]
    for sha256 in (first, second):
        kept = bundles.unpack((w.state / "log" / bundles.FOLDER / sha256).read_bytes())
        assert "policies/test.cedar" in kept


async def test_an_agent_that_vanishes_is_cut_off_and_the_others_go_on(tmp_path):
    agents = [agent(), agent("other")]
    policies = [permit("a"), permit("b", who="other")]
    async with world(tmp_path, follow=True, policy=QUICK, agents=agents, policies=policies) as w:
        other = w.another_task(agent="other")
        async with w.tunnel() as client, w.tunnel(other) as stays:
            await client.send(f"GET /slow HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode())
            await w.upstream.until(lambda: len(w.upstream.requests) == 1)
            assert (await ask(stays, w)).status == 200
            first = digest(w)
            rewrite(w, tmp_path, agents=[agent("other")], policies=policies[1:])
            await swapped(w, first)
            with pytest.raises((ConnectionError, Malformed)):
                await client.read_response()
            assert (await ask(stays, w)).status == 200
        async with await w.client() as again:
            refused = await again.open_tunnel(w.authority, w.authorization)
            assert refused.status in (403, 407)
        w.upstream.release.set()
        await w.settled()
    ends = [(outcome.result, outcome.code) for outcome in w.outcomes]
    assert sorted(ends) == [("complete", ""), ("complete", ""), ("cut", "agent_unknown")]
    assert w.decisions[-1].code == "agent_unknown"


async def test_new_agents_ports_and_ways_of_writing_paths_count_at_once(tmp_path):
    async with world(tmp_path, follow=True, policy=QUICK, policies=[permit("reads")]) as w:
        first = digest(w)
        delegate = json.dumps({"agent": "helper", "purpose": "help"}).encode()
        assert (await desk(w, "/delegate", delegate)).status == 403
        assert (await w.call("/a%2Fb")).status == 400
        more = demo_rules.service("more", "more.test", ports=[4711])
        may = "/may?method=GET&url=https%3A%2F%2Fmore.test%3A4711%2F"
        assert (await desk(w, may)).json()["why"]["code"] == "port"
        agents, policies = [agent(), agent("helper")], [permit("reads")]
        rewrite(w, tmp_path, agents=agents, policies=policies, services=[more], encoded_slash=True)
        await swapped(w, first)
        assert (await desk(w, "/delegate", delegate)).status == 201
        assert (await w.call("/a%2Fb")).status == 200
        assert (await desk(w, may)).json()["why"]["code"] == "default_deny"


async def desk(w: World, target: str, body: bytes = b""):
    method = "POST" if body else "GET"
    async with await w.client() as client:
        head = (
            f"{method} http://gatepass.internal{target} HTTP/1.1\r\nHost: gatepass.internal\r\n"
            f"Proxy-Authorization: {w.authorization}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        await client.send(head.encode() + body)
        return await client.read_response()


async def test_a_bad_set_is_alarmed_and_recorded_and_the_old_one_goes_on(tmp_path):
    async with world(tmp_path, follow=True, policy=QUICK, policies=[permit("reads")]) as w:
        first = digest(w)
        (tmp_path / "rules/policies/test.cedar").write_text("permit(")
        async with asyncio.timeout(20):
            while not w.alarms:
                await asyncio.sleep(0.01)
        assert (await w.call()).status == 200
        assert digest(w) == first
        await w.settled()
    (refused,) = [record.raw["body"] for record in w.records if record.kind == "rules.refused"]
    assert (refused["kept_sha256"], refused["mode"]) == (first, "enforce")
    assert len(w.alarms) == 1


async def test_the_shadow_is_recorded_where_it_differs_and_never_enforced(tmp_path):
    shadow = demo_rules.write_rules(tmp_path / "shadow", services=[], policies=[permit("x")][:0])
    (shadow / "agents.yaml").unlink()
    (shadow / "policies/test.cedar").write_text('@id("nothing-leaves") forbid(principal, action, resource);')
    policy = {**QUICK, "shadow": str(shadow)}
    async with world(tmp_path, follow=True, policy=policy, policies=[permit("reads")]) as w:
        assert (await w.call()).status == 200
        assert (await w.call(method="DELETE")).status == 403
        await w.settled()
        sha256 = w.sidecar.parts.rulebook.current.shadow.sha256
    allowed, denied = [record.raw["why"] for record in w.decisions]
    assert (allowed["effect"], allowed["shadow"]["effect"]) == ("allow", "deny")
    assert (allowed["shadow"]["rules"], allowed["shadow"]["ruleset_sha256"]) == (["nothing-leaves"], sha256)
    assert (denied["shadow"]["code"], denied["code"]) == ("policy_deny", "default_deny")
    assert (w.state / "log" / bundles.FOLDER / sha256).exists()


async def test_a_decision_point_elsewhere_decides_and_is_recorded(tmp_path):
    answers = (said({"result": {"allow": True, "rules": ["opa-rule"]}}), said({}), http(b"", "500 No"))
    async with pdp(*answers) as server:
        policy = {"engine": {"kind": "opa", "url": server.url, "timeout": 5}}
        async with world(tmp_path, policy=policy, policies=[]) as w:
            answered = [await w.call() for _ in range(3)]
            assert [answer.status for answer in answered] == [200, 403, 503]
            await w.settled()
    told = [record.raw["why"] for record in w.decisions]
    assert [one["code"] for one in told] == [None, "default_deny", "pdp_unavailable"]
    assert {one["engine"] for one in told} == {f"opa {server.url}"}
    assert json.loads(told[0]["answer"]) == {"result": {"allow": True, "rules": ["opa-rule"]}}
    assert told[0]["rule"] == "opa-rule"
    assert [request["input"]["context"]["request"]["method"] for request in server.asked] == ["GET"] * 3


async def test_while_the_decision_point_is_silent_calls_are_refused_in_time(tmp_path):
    async with pdp(None) as server:
        policy = {"engine": {"kind": "authzen", "url": server.url, "timeout": 0.2}}
        async with world(tmp_path, policy=policy) as w:
            answer = await w.call()
    assert (answer.status, answer.json()["code"]) == (503, "pdp_unavailable")
    assert w.upstream.requests == []


# -- who may go on --


SESSIONS = (Way(Method.SESSION),)
SESSION = Evidence(Method.SESSION, "gatepass")
HELD = Principal((Link(CODER, task(), right(task())),), (SESSION,))


def registry(*, of=CODER, ways=SESSIONS):
    return Registry.of([of], {of.id: ways})


def test_whoever_is_still_what_it_was_goes_on():
    assert parting(HELD, registry()) is None


@pytest.mark.parametrize(
    ("agents", "refusal"),
    [
        (Registry.of([]), GONE),
        (registry(of=type(CODER)("coder", "staging", "standard", "a", "b")), CHANGED),
        (registry(ways=(Way(Method.LISTENER),)), CHANGED),
        (registry(ways=()), CHANGED),
    ],
)
def test_whoever_is_not_is_cut(agents, refusal):
    assert parting(HELD, agents) is refusal


def test_whoever_acts_for_somebody_who_has_vanished_is_cut():
    root = type(CODER)("root", "development", "standard", "a", "b")
    acting = Principal((Link(root, task(), right(task())), *HELD.chain), (SESSION,))
    assert parting(acting, registry()) is GONE
