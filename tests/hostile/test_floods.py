"""D1, D2: guessing in bulk, key ids that nobody knows, and what an answer gives away (egress.md, section 5)."""

import asyncio
import contextlib
import dataclasses
import os
import time
from pathlib import Path

import pytest
from aiohttp import web

from proxy.audit.record import Record, parse
from proxy.errors import Code
from proxy.identity.burst import FREE
from proxy.identity.jws import SigningKey, sign_session
from proxy.store.keyring import Keyring
from proxy.store.reader import entries
from tests.hostile.assertions import absolute, clean, say
from tests.hostile.callers import as_url, calls, events, house, silent
from tests.hostile.test_bad_tokens import AUDIENCE, CI, ROBOT, foreign, presented
from tests.hostile.test_identity import claims
from tests.support import demo_rules
from tests.support.https_issuer import JWKS, HttpsIssuer
from tests.support.issuer import SmallIssuer
from tests.support.rawclient import basic
from tests.support.world import World, world

FLOOD = 12


def log_of(directory: Path) -> list[Record]:
    """The log of a world that has ended."""
    return [parse(entry) for entry in entries(directory / "state" / "log")]


async def guess(w: World, number: int) -> str:
    """One wrong password on a connection of its own; the code it is told."""
    answer = await say(w, absolute(w, f"http://{w.authority}/{number}", authorization=basic("task", "wrong")))
    assert answer.status == 407
    return str(answer.json()["code"])


async def test_d1_a_flood_of_guesses_is_recorded_once_with_its_count(tmp_path):
    """The first few have a record each; the rest is one event, which names the source and the last record."""
    async with world(tmp_path) as w:
        told = await asyncio.gather(*(guess(w, number) for number in range(FLOOD)))
        assert told == [Code.IDENTITY_INVALID] * FLOOD
        assert [record.code for record in w.decisions] == [Code.IDENTITY_INVALID] * FREE
        assert all(record.agent == "" for record in w.decisions)
        assert w.upstream.connections == []
    records = log_of(tmp_path)
    (burst,) = (record.raw["body"] for record in records if record.kind == "identity.burst")
    assert (burst["source"], burst["count"]) == ("127.0.0.1", FLOOD - FREE)
    assert burst["decision_id"] in {record.id for record in records if record.kind == "decision"}
    assert len([record for record in records if record.kind == "decision"]) == FREE


async def test_d1_an_answer_in_a_flood_refers_to_a_record_that_exists(tmp_path):
    async with world(tmp_path) as w:
        data = absolute(w, f"http://{w.authority}/", authorization=basic("task", "wrong"))
        answers = [await say(w, data) for _ in range(FREE + 2)]
        named = [answer.json()["record"] for answer in answers]
        assert named[:FREE] == [record.id for record in w.decisions]
        assert set(named[FREE:]) == {w.decisions[-1].id}
        assert [answer.get("retry-after") for answer in answers] == [None] * FREE + ["60"] * 2
        clean(w, *(answer.body for answer in answers))


async def test_d1_who_presents_something_valid_waits_for_nobody(tmp_path):
    """From the same address, in the middle of a flood: the guesses are still waiting for their answers."""
    async with world(tmp_path) as w:
        for number in range(FREE + 3):
            await guess(w, number)  # from here on an answer waits longer than all calls below take
        waiting = [asyncio.create_task(guess(w, number)) for number in range(4)]
        await asyncio.gather(*(w.call(f"/{number}") for number in range(3)))
        assert not any(guessing.done() for guessing in waiting)
        assert await asyncio.gather(*waiting) == [Code.IDENTITY_INVALID] * 4
        await w.settled()
        assert [record.path for record in w.decisions if record.effect == "allow"] == ["/0", "/1", "/2"]


async def test_d1_a_slow_answer_on_one_connection_holds_up_no_other_of_the_same_agent(tmp_path):
    """Somebody guesses on a connection where somebody else was valid: only that connection waits."""
    async with world(tmp_path) as w, await w.client() as mixed:
        for number in range(FREE + 3):
            await guess(w, number)
        await mixed.send(absolute(w, "http://x.test/"))
        assert (await mixed.read_response()).status == 403
        await mixed.send(absolute(w, "http://x.test/", authorization=basic("task", "wrong")))
        slow = asyncio.create_task(mixed.read_response())
        assert (await w.call("/ok")).status == 200
        assert not slow.done()
        assert (await slow).status == 407


async def test_d1_another_sidecar_s_tokens_count_as_guesses_and_missing_ones_do_not(tmp_path):
    """A client without credentials only asks what is wanted of it; git does so before each push."""
    other = Keyring.open(tmp_path / "other")
    async with world(tmp_path) as w:
        stolen = basic("task", sign_session(claims(w), other.session_key))
        bare = f"GET http://{w.authority}/ HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode()
        for _ in range(FREE + 3):
            assert (await say(w, bare)).json()["code"] == Code.IDENTITY_MISSING
        for _ in range(FREE + 1):
            answer = await say(w, absolute(w, f"http://{w.authority}/", authorization=stolen))
            assert answer.json()["code"] == Code.IDENTITY_INVALID
        assert [record.code for record in w.decisions] == [
            *[Code.IDENTITY_MISSING] * (FREE + 3),
            *[Code.IDENTITY_INVALID] * FREE,
        ]
        silent(w, (), [stolen.removeprefix("Basic ")])


# -- nothing is learnt from an answer --


def told(answer) -> dict[str, object]:
    """All that an answer says, but for which record it is about."""
    said = answer.json()
    for error in said["errors"]:  # as clients of GraphQL are told
        del error["extensions"]["record"]
    return {name: value for name, value in said.items() if name != "record"}


def session_guesses(w: World) -> dict[str, str]:
    head, payload, signature = w.started.token.split(".")
    own = w.keyring.session_key
    stranger = Keyring.open(w.state.parent / "stranger").session_key
    return {
        "a word": "wrong",
        "nothing but dots": "..",
        "a signature of zeros": f"{head}.{payload}.{'A' * 86}",
        "another payload": f"{head}.{payload[:-4]}AAAA.{signature}",
        "another header": f"{head[:-4]}AAAA.{payload}.{signature}",
        "the right key id, another key": sign_session(claims(w), SigningKey(own.key_id, stranger.private)),
        "an unknown key": sign_session(claims(w), stranger),
        "an unknown key, for nobody": sign_session(claims(w, subject="nobody", task="t-x"), stranger),
        "an unknown key, long ago": sign_session(claims(w, issued_at=1, expires_at=2), stranger),
    }


async def test_no_answer_tells_which_part_of_a_session_token_was_wrong(tmp_path):
    """Until a signature holds, all tokens are alike: same status, same words, same headers."""
    seen: list[tuple[str, dict[str, object], list[str]]] = []
    for number in range(9):
        async with world(tmp_path / str(number)) as w:
            name, token = list(session_guesses(w).items())[number]
            answer = await say(w, absolute(w, f"http://{w.authority}/", authorization=basic("task", token)))
            assert answer.status == 407
            seen.append((name, told(answer), [field.decode() for field, _ in answer.headers]))
            clean(w, answer.body)
    for name, words, names in seen:
        assert (words, names) == seen[0][1:], name


FOREIGN_GUESSES = {
    "a bad signature": CI.mint()[:-8] + b"AAAAAAAA",
    "another key under this id": dataclasses.replace(CI, number=88).mint(CI.header()),
    "another payload": b".".join([CI.mint().split(b".")[0], CI.mint(sub="x").split(b".")[1], b"A" * 86]),
    "an unknown key": dataclasses.replace(CI, number=88).mint(),
    "an unknown key, for nobody": dataclasses.replace(CI, number=88).mint(sub="nobody"),
    "an unknown key, long ago": dataclasses.replace(CI, number=88).mint(iat=1, exp=2),
}


async def test_no_answer_tells_what_of_a_foreign_token_was_wrong(tmp_path):
    """What an unsigned token says of subject, audience and time is not looked at; key ids are public."""
    words = {}
    for number, (name, token) in enumerate(FOREIGN_GUESSES.items()):
        async with foreign(tmp_path / str(number)) as w:
            answer = await say(w, as_url(w, presented(w, token)))
            assert answer.status == 407
            words[name] = told(answer)
    assert len({str(one) for one in words.values()}) == 1, words


# -- key ids that nobody knows --


@contextlib.asynccontextmanager
async def discovered(directory: Path):
    """A house that fetches the keys of its issuer over TLS, as published there."""
    async with HttpsIssuer() as issuer:
        small = dataclasses.replace(CI, url=issuer.url, now=int(time.time()))

        async def document(_: web.Request) -> web.Response:
            return web.Response(body=small.document())

        issuer.answers[JWKS] = document
        (directory / "roots").mkdir()
        (directory / "roots" / "issuer.pem").write_bytes(issuer.authority.cert_pem.bytes())
        opened = {"host": issuer.host, "cidr": "127.0.0.0/8", "port": issuer.port}
        identity = {"issuers": [{"name": "ci", "issuer": issuer.url, "audiences": [AUDIENCE]}]}
        robot = {**ROBOT, "authenticate": ROBOT["authenticate"][:2]}
        async with house(
            directory,
            robot,
            identity=identity,
            hosts={issuer.host: ["127.0.0.1"]},
            egress=lambda up: {
                "allow_private": [
                    opened,
                    *({"host": name, "cidr": "127.0.0.0/8", "port": up.port} for name in up.hosts),
                ]
            },
        ) as w:
            yield w, issuer, small


async def test_d2_a_storm_of_unknown_key_ids_is_one_look_at_the_issuer(tmp_path):
    async with discovered(tmp_path) as (w, issuer, small):
        assert issuer.looks() == 1  # at the start

        async def stranger(number: int) -> None:
            token = small.mint(small.header(kid=f"made-up-{number}-{os.urandom(4).hex()}"))
            answer = await say(w, as_url(w, presented(w, token)))
            assert (answer.status, answer.json()["code"]) == (407, Code.IDENTITY_INVALID)

        await asyncio.gather(*(stranger(number) for number in range(30)))
        assert issuer.looks() == 2
        assert issuer.most == 1
        assert [record.code for record in calls(w)] == [Code.IDENTITY_INVALID] * FREE
        honest = await say(w, as_url(w, presented(w, small.mint())))
        assert honest.status == 403  # a call of robot's over plain http, which no rule permits
        assert calls(w)[-1].agent == "robot"


async def test_d2_unknown_key_ids_while_the_issuer_is_slow_hold_up_no_valid_caller(tmp_path):
    async with discovered(tmp_path) as (w, issuer, small):
        issuer.hold()
        token = small.mint(small.header(kid="made-up"))
        waiting = [asyncio.create_task(say(w, as_url(w, presented(w, token)))) for _ in range(8)]
        async with asyncio.timeout(10):
            while issuer.most < 1 or len(issuer.asked) < 3:
                await asyncio.sleep(0.005)
        assert (await w.call("/ok")).status == 200
        assert not any(task.done() for task in waiting)
        issuer.release()
        answers = await asyncio.gather(*waiting)
        assert {answer.json()["code"] for answer in answers} == {Code.IDENTITY_INVALID}
        assert issuer.looks() == 2


async def test_an_issuer_whose_keys_cannot_be_had_is_our_fault_and_nobody_s_identity(tmp_path):
    gone = SmallIssuer(
        url="https://issuer.test:1", audience=AUDIENCE, subject=CI.subject, now=int(time.time())
    )
    identity = {"issuers": [{"name": "ci", "issuer": gone.url, "audiences": [AUDIENCE]}]}
    robot = {**demo_rules.agent("robot"), "authenticate": ROBOT["authenticate"][:2]}
    async with house(tmp_path, robot, identity=identity, hosts={"issuer.test": ["127.0.0.1"]}) as w:
        answer = await say(w, as_url(w, presented(w, gone.mint())))
        assert (answer.status, answer.json()["code"]) == (503, Code.KEYS_UNAVAILABLE)
        assert [record.code for record in calls(w)] == [Code.KEYS_UNAVAILABLE]
        assert w.upstream.connections == []
        assert events(w, "keys.changed") == []


@pytest.mark.parametrize("second", ["the same", "another"])
async def test_d2_two_tokens_are_none(tmp_path, second):
    async with foreign(tmp_path, "other") as w:
        theirs = w.another_task(agent="other")
        line = presented(w, CI.mint()) if second == "the same" else basic("task", theirs.token)
        data = as_url(w, presented(w, CI.mint()), "/", f"Proxy-Authorization: {line}")
        answer = await say(w, data)
        assert (answer.status, answer.json()["code"]) == (407, Code.IDENTITY_INVALID)
        assert [(record.agent, record.code) for record in calls(w)] == [("", Code.IDENTITY_INVALID)]
        silent(w, (answer.body,), [CI.mint().decode(), theirs.token])
        assert w.upstream.connections == []
