"""E9: rules that change while calls go on: a bad set changes nothing, and each record names what decided it."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from proxy.policy.manifest import MANIFEST, SIGNATURE, manifest
from proxy.policy.signature import SecretKey, format_signature, sign
from proxy.store.rule_files import read_all
from tests.hostile.assertions import clean
from tests.hostile.callers import events, until
from tests.hostile.reading import JSON, allow, serving
from tests.support import demo_rules
from tests.support.world import World, world

OFTEN = {"reload": 0.02}
KEY = SecretKey(b"12345678", bytes(range(32)))
STRANGER = SecretKey(b"87654321", bytes(range(1, 33)))
READS = demo_rules.permit("reads")
NOTHING = '@id("nothing") forbid(principal, action, resource);'


def rules(w: World) -> Path:
    return w.state.parent / "rules"


def policy(w: World) -> Path:
    return rules(w) / "policies" / "test.cedar"


def put(path: Path, text: str) -> None:
    """All at once, as whoever can rename does it."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text)
    aside.replace(path)


def sealed(directory: Path, key: SecretKey = KEY) -> None:
    text = manifest(read_all(directory))
    (directory / MANIFEST).write_bytes(text)
    (directory / SIGNATURE).write_bytes(format_signature(sign(text, key, "timestamp:1")))


async def looked(w: World) -> None:
    """Until the rules as they are now have been read and judged."""
    reloader = w.sidecar.parts.reloader
    assert reloader is not None
    reloader.look()
    await until(lambda: reloader._asked == reloader._answered)


def decided_by(w: World) -> list[str]:
    return [record.raw["why"]["ruleset_sha256"] for record in w.decisions]


@contextlib.asynccontextmanager
async def calling(w: World):
    """Calls go on and on meanwhile, each on a connection of its own; gives the statuses."""
    statuses: list[int] = []
    going = True

    async def call() -> None:
        while going:
            statuses.append((await w.call("/x")).status)

    callers = [asyncio.ensure_future(call()) for _ in range(3)]
    try:
        yield statuses
    finally:
        going = False
        await asyncio.gather(*callers)


def bad_file(name: str, text: bytes):
    def spoil(w: World) -> None:
        (rules(w) / name).write_bytes(text)

    return spoil


def gone(*names: str):
    def spoil(w: World) -> None:
        for name in names:
            (rules(w) / name).unlink()

    return spoil


SERVICE = {"name": "api", "hosts": ["api.test"], "owner": "a@b.c", "data_owner": "a@b.c"}
BAD = {
    "half-a-policy": bad_file("policies/test.cedar", READS.encode()[:-20]),
    "half-a-string": bad_file("policies/test.cedar", b'@id("reads) permit(principal, action, resource);'),
    "no-id": bad_file("policies/test.cedar", b"permit(principal, action, resource);"),
    "id-twice": bad_file("policies/more.cedar", READS.encode()),
    "id-of-ours": bad_file("policies/more.cedar", b'@id("gatepass.x") permit(principal, action, resource);'),
    "another-schema": bad_file(
        "policies/more.cedar", b'@id("m") permit(principal, action, resource) when { context.nope };'
    ),
    "unknown-action": bad_file(
        "policies/more.cedar", b'@id("m") permit(principal, action == Action::"api.nope", resource);'
    ),
    "unknown-service": bad_file(
        "policies/more.cedar", b'@id("m") forbid(principal, action, resource in Service::"apo");'
    ),
    "obligation-on-a-forbid": bad_file(
        "policies/more.cedar", b'@id("m") @max_response("1") forbid(principal, action, resource);'
    ),
    "unknown-annotation": bad_file(
        "policies/more.cedar", b'@id("m") @max_respones("1") permit(principal, action, resource);'
    ),
    "not-utf-8": bad_file("policies/more.cedar", b'@id("m\xff") permit(principal, action, resource);'),
    "binary": bad_file("policies/more.cedar", bytes(range(256))),
    "half-a-service": bad_file("services/api.yaml", json.dumps(SERVICE).encode()[:30]),
    "service-without-owner": bad_file("services/api.yaml", b'{"name":"api","hosts":["api.test"]}'),
    "service-with-a-typo": bad_file(
        "services/more.yaml", json.dumps(SERVICE | {"name": "b", "host": []}).encode()
    ),
    "host-twice": bad_file(
        "services/more.yaml", json.dumps(SERVICE | {"name": "b", "hosts": ["api.test"]}).encode()
    ),
    "yaml-bomb": bad_file(
        "services/more.yaml",
        b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c]\n",
    ),
    "yaml-code": bad_file("services/more.yaml", b"!!python/object/apply:os.system ['true']"),
    "half-the-agents": bad_file("agents.yaml", b'{"agents": [{"id": "tester", "en'),
    "agents-twice": bad_file(
        "agents.yaml", json.dumps({"agents": [demo_rules.agent(), demo_rules.agent()]}).encode()
    ),
    "no-agents": gone("agents.yaml"),
    "a-file-that-would-not-be-read": bad_file("policies/more.ceder", NOTHING.encode()),
    "nothing-left": gone("agents.yaml", "services/api.yaml", "policies/test.cedar"),
}


@pytest.mark.parametrize("spoil", [pytest.param(how, id=f"E9-{name}") for name, how in BAD.items()])
async def test_a_bad_set_changes_nothing_and_is_told_once(tmp_path, spoil):
    async with world(tmp_path, follow=True, policies=[READS], policy=OFTEN) as w:
        before = w.rules.ruleset.sha256
        async with calling(w) as statuses:
            await until(lambda: len(statuses) > 2)
            spoil(w)
            await until(lambda: events(w, "rules.refused"))
            seen = len(statuses)
            await until(lambda: len(statuses) > seen + 4)
        assert set(statuses) == {200}
        assert set(decided_by(w)) == {before}
        (told,) = events(w, "rules.refused")
        assert (told["kept_sha256"], told["mode"]) == (before, "enforce")
        assert told["problem_count"] >= 1
        assert len([alarm for alarm in w.alarms if "not loaded" in alarm]) == 1
        clean(w)


async def test_e9_a_good_set_is_in_force_from_one_record_on(tmp_path):
    async with world(tmp_path, follow=True, policies=[READS], policy=OFTEN) as w:
        before = w.rules.ruleset.sha256
        async with calling(w) as statuses:
            await until(lambda: len(statuses) > 2)
            put(policy(w), f"{READS}\n{NOTHING}")
            await until(lambda: 403 in statuses)
        (told,) = [event for event in events(w, "rules.load") if event["previous_sha256"] == before]
        after = told["ruleset_sha256"]
        effects = {(record.effect, record.raw["why"]["ruleset_sha256"]) for record in w.decisions}
        assert effects == {("allow", before), ("deny", after)}
        assert sorted(set(statuses)) == [200, 403]
        assert len(w.upstream.requests) == statuses.count(200)


async def test_e9_a_file_that_is_written_slowly_is_left_to_be_written(tmp_path):
    whole = f"{READS}\n{NOTHING}\n"
    async with world(tmp_path, follow=True, policies=[READS], policy=OFTEN) as w:
        before = w.rules.ruleset.sha256
        async with calling(w) as statuses:
            with policy(w).open("w") as file:
                for letter in whole:
                    file.write(letter)
                    file.flush()
                    await asyncio.sleep(0)
            await until(lambda: 403 in statuses)
        for record in w.decisions:
            assert (record.effect == "allow") == (record.raw["why"]["ruleset_sha256"] == before)


def signing(tmp_path, **more):
    signer = KEY.public.text
    return world(tmp_path, follow=True, policies=[READS], policy=OFTEN | {"signer": signer}, **more)


def unsealed(w: World) -> None:
    put(policy(w), demo_rules.permit("reads", actions=("read", "write", "delete")))


def by_a_stranger(w: World) -> None:
    unsealed(w)
    sealed(rules(w), STRANGER)


def with_one_file_more(w: World) -> None:
    sealed(rules(w))
    put(rules(w) / "policies" / "more.cedar", demo_rules.permit("more", actions=("delete",)))


def with_one_file_less(w: World) -> None:
    put(rules(w) / "policies" / "more.cedar", NOTHING)
    sealed(rules(w))
    (rules(w) / "policies" / "more.cedar").unlink()
    unsealed(w)


def with_another_manifest(w: World) -> None:
    sealed(rules(w))
    unsealed(w)
    (rules(w) / MANIFEST).write_bytes(manifest(read_all(rules(w))))


def with_half_a_signature(w: World) -> None:
    unsealed(w)
    sealed(rules(w))
    found = (rules(w) / SIGNATURE).read_bytes()
    (rules(w) / SIGNATURE).write_bytes(found[: len(found) // 2])


def with_another_comment(w: World) -> None:
    unsealed(w)
    sealed(rules(w))
    found = (rules(w) / SIGNATURE).read_bytes()
    (rules(w) / SIGNATURE).write_bytes(found.replace(b"timestamp:1", b"timestamp:2"))


FORGED = [unsealed, by_a_stranger, with_one_file_more, with_one_file_less, with_another_manifest]
FORGED += [with_half_a_signature, with_another_comment]


@pytest.mark.parametrize("forge", [pytest.param(how, id=f"E9-{how.__name__}") for how in FORGED])
async def test_rules_that_nobody_signed_are_not_taken(tmp_path, forge):
    async with signing(tmp_path) as w:
        before = w.rules.ruleset.sha256
        forge(w)
        await looked(w)
        await until(lambda: events(w, "rules.refused"))
        assert (await w.call("/x", method="DELETE")).status == 403
        assert (await w.call("/x")).status == 200
        assert set(decided_by(w)) == {before}
        assert all(told["kept_sha256"] == before for told in events(w, "rules.refused"))


async def test_rules_that_are_signed_are(tmp_path):
    async with signing(tmp_path) as w:
        before = w.rules.ruleset.sha256
        unsealed(w)
        sealed(rules(w))
        await until(lambda: any(told["previous_sha256"] == before for told in events(w, "rules.load")))
        assert (await w.call("/x", method="DELETE")).status == 200
        assert decided_by(w) != [before]


# -- calls that are under way --

PAY = {"pay": {"method": "POST", "path": "/pay", "group": "write", "facts": {"body": {"amount": "long"}}}}
CHEAP = allow("cheap", "api.pay", when="context.facts.body.amount <= 100")
CHEAPER = allow("cheap", "api.pay", when="context.facts.body.amount <= 1")


async def test_e9_content_that_is_slow_is_judged_by_the_rules_in_force_when_it_is_there(tmp_path):
    """Else whoever began in time could keep the old rules for as long as it likes."""
    async with (
        world(tmp_path, follow=True, services=serving(PAY), policies=[CHEAP], policy=OFTEN) as w,
        w.tunnel() as client,
    ):
        before = w.rules.ruleset.sha256
        head = f"POST /pay HTTP/1.1\r\nHost: {w.authority}\r\n{JSON}\r\nContent-Length: 14\r\n"
        await client.send(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert (await client.read_head()).start[1] == b"100"
        put(policy(w), CHEAPER)
        await until(lambda: any(told["previous_sha256"] == before for told in events(w, "rules.load")))
        await client.send(b'{"amount": 50}')
        answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (403, "default_deny")
        assert [record.effect for record in w.decisions] == ["deny"]
        assert decided_by(w) != [before]
        assert w.upstream.connections == []


async def test_e9_who_was_trusted_when_it_began_is_not_any_more(tmp_path):
    """Else whoever began in time could keep its old tier, with content of today, under rules of today."""
    trusted = '@id("trusted") permit(principal in Tier::"trusted", action, resource);'
    agents = [demo_rules.agent() | {"tier": "trusted"}, demo_rules.agent("other") | {"tier": "trusted"}]
    async with (
        world(tmp_path, follow=True, agents=agents, services=serving(PAY), policies=[CHEAP, trusted],
              policy=OFTEN) as w,
        w.tunnel() as client,
    ):  # fmt: skip
        before = w.rules.ruleset.sha256
        head = f"POST /pay HTTP/1.1\r\nHost: {w.authority}\r\n{JSON}\r\nContent-Length: 15\r\n"
        await client.send(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert (await client.read_head()).start[1] == b"100"
        entries = rules(w) / "agents.yaml"
        put(entries, entries.read_text().replace("trusted", "low", 1))
        await until(lambda: any(told["previous_sha256"] == before for told in events(w, "rules.load")))
        await client.send(b'{"amount": 500}')
        answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (403, "authentication_unsuitable")
        assert w.upstream.connections == []
        assert (await w.call("/pay", method="POST", headers=[JSON], body=b'{"amount": 500}')).status == 403
