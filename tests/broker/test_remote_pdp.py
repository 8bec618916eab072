"""Decision points elsewhere, over real HTTP: what they say is done, and whatever else they do is a no."""

import asyncio
import contextlib
import ssl

import pytest

from proxy.broker.pdp_client import MAX_ANSWER, PdpClient
from proxy.broker.remote_pdp import MAX_RECORDED, RemotePdp
from proxy.credential import placeholder
from proxy.errors import Code
from proxy.policy.decision import Allow, Deny
from tests.broker.pdps import Pdp, http, pdp, said
from tests.policy.worlds import ask, rules
from tests.support.free_port import free_port

URL = "https://tickets.example.org/v1/tickets/7?page=1"


class Scene:
    def __init__(self, remote, alarms, within):
        self.remote, self.alarms, self.within = remote, alarms, within

    async def decide(self, **given):
        return await self.remote.decide(ask("GET", URL, within=self.within, **given))


@contextlib.asynccontextmanager
async def asking(where, kind="opa", *, timeout=5.0, token=None, within=None):  # noqa: ASYNC109 - a setting's name
    url = where.url if isinstance(where, Pdp) else where
    alarms, within = [], within or rules()
    client = PdpClient(url, ssl.create_default_context())
    remote = RemotePdp(kind, url, client, lambda: within, alarms.append, timeout=timeout, token=token)
    try:
        yield Scene(remote, alarms, within)
    finally:
        await remote.close()


def code(ruling):
    return ruling.decision.refusal.code if isinstance(ruling.decision, Deny) else None


async def test_opa_is_sent_the_document_and_its_word_is_done():
    answer = {"result": {"allow": True, "rules": ["tickets.read"], "reason": ""}}
    async with pdp(said(answer)) as server, asking(server) as scene:
        ruling = await scene.decide()
    assert ruling.decision == Allow(("tickets.read",))
    described = scene.within.describe(ask("GET", URL, within=scene.within))
    assert ruling.input == described.document
    assert (ruling.action, ruling.service.name) == ("tickets.get", "tickets")
    assert ruling.ruleset_sha256 == scene.within.sha256
    assert ruling.engine == f"opa {server.url}"
    assert ruling.answer == said(answer).rpartition(b"\r\n\r\n")[2]
    assert not ruling.observed
    (sent,) = server.asked
    assert set(sent) == {"input"}
    assert sent["input"]["principal"] == {"type": "Agent", "id": "coder"}
    assert sent["input"]["context"]["request"]["path"] == "/v1/tickets/7"
    assert server.heads[0].startswith("POST /v1/data/gatepass/decision HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("result", "decision", "rules_told"),
    [
        ({"result": True}, Allow(("opa",)), None),
        ({"result": False}, Code.POLICY_DENY, ()),
        ({"result": {"allow": False, "rules": ["r1", "r2"], "reason": "not on a Friday"}}, Code.POLICY_DENY, ("r1", "r2")),
        ({}, Code.DEFAULT_DENY, ()),
        ({"decision_id": "7", "result": True}, Allow(("opa",)), None),
    ],
)  # fmt: skip
async def test_what_opa_says(result, decision, rules_told):
    async with pdp(said(result)) as server, asking(server) as scene:
        ruling = await scene.decide()
    if rules_told is None:
        assert ruling.decision == decision
    else:
        assert (code(ruling), ruling.decision.rules) == (decision, rules_told)
        assert ruling.decision.refusal.rule == next(iter(rules_told), None)


async def test_authzen_is_asked_in_its_own_form():
    answer = {"decision": True, "context": {"id": "1"}}
    async with pdp(said(answer)) as server, asking(server, "authzen") as scene:
        ruling = await scene.decide()
    assert ruling.decision == Allow(("authzen",))
    assert ruling.answer == b'{"decision": true, "context": {"id": "1"}}'
    (sent,) = server.asked
    assert set(sent) == {"subject", "action", "resource", "context"}
    assert (sent["subject"]["type"], sent["subject"]["id"]) == ("Agent", "coder")
    assert sent["subject"]["properties"]["tier"] == "standard"
    assert sent["action"] == {"name": "tickets.get"}
    assert sent["resource"]["id"] == "https://tickets.example.org"
    assert sent["resource"]["properties"]["sensitivity"] == "confidential"
    assert sent["context"]["task"]["purpose"] == "fix it"
    assert sent["context"]["request"]["method"] == "GET"


@pytest.mark.parametrize(
    ("answer", "expected", "words"),
    [
        ({"decision": False}, Code.POLICY_DENY, "denies tickets.get"),
        ({"decision": False, "context": {"reason_user": {"en": "too  late"}}}, Code.POLICY_DENY, "too late"),
        ({"decision": False, "context": {"reason": "no"}}, Code.POLICY_DENY, "no"),
        ({"decision": True, "context": {"obligations": [{"id": "mask"}]}}, Code.OBLIGATION_UNMET, "obligations"),
        ({"decision": "true"}, Code.PDP_UNAVAILABLE, ""),
        ({"decision": 1}, Code.PDP_UNAVAILABLE, ""),
        ({"decision": None}, Code.PDP_UNAVAILABLE, ""),
        ({}, Code.PDP_UNAVAILABLE, ""),
        ({"decision": True, "context": []}, Code.PDP_UNAVAILABLE, ""),
        ([True], Code.PDP_UNAVAILABLE, ""),
    ],
)  # fmt: skip
async def test_what_an_authzen_server_says(answer, expected, words):
    async with pdp(said(answer)) as server, asking(server, "authzen") as scene:
        ruling = await scene.decide()
    assert code(ruling) is expected
    assert words in ruling.decision.refusal.detail


YES = b'{"result": true}'
MISBEHAVING = {
    "an error": http(YES, "500 Internal Server Error"),
    "another success": http(YES, "201 Created"),
    "a redirect": http(b"", "307 Temporary Redirect", "Location: /elsewhere"),
    "garbage": b"\x00\x01 whatever\r\n\r\n",
    "no JSON": http(b"yes"),
    "half of it": http(b'{"result": tr'),
    "two of it": http(YES + YES),
    "said twice": http(b'{"result": false, "result": true}'),
    "nothing": http(b""),
    "compressed": http(YES, "200 OK", "Content-Encoding: gzip"),
    "text for a truth": http(b'{"result": "true"}'),
    "a number": http(b'{"result": 1}'),
    "null": http(b'{"result": null}'),
    "an object that says nothing": http(b'{"result": {"rules": []}}'),
    "allow beside deny": http(b'{"result": {"allow": true, "deny": ["no"]}}'),
    "rules that are none": http(b'{"result": {"allow": true, "rules": [7]}}'),
    "a reason that is none": http(b'{"result": {"allow": true, "reason": {}}}'),
    "huge": http(b'{"result": true, "more": "' + b"x" * MAX_ANSWER + b'"}'),
    "endless": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"fff\r\n" + b" " * 4095 + b"\r\n" + b"fff\r\n" + b" " * 4095 + b"\r\n" + b"fff\r\n" + b" " * 4095 + b"\r\n",
    "more than it said": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + YES,
}  # fmt: skip


@pytest.mark.parametrize("answer", MISBEHAVING.values(), ids=MISBEHAVING)
async def test_whatever_is_no_answer_refuses(answer):
    async with pdp(answer) as server, asking(server) as scene:
        ruling = await scene.decide()
    assert code(ruling) is Code.PDP_UNAVAILABLE
    assert ruling.decision.refusal.status == 503
    assert len(ruling.decision.errors) == 1
    assert ruling.engine == f"opa {server.url}"
    assert len(ruling.answer) <= MAX_RECORDED
    assert not any("elsewhere" in head for head in server.heads)
    assert len(scene.alarms) == 1


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{"])
async def test_a_connection_that_is_closed_refuses(answer):
    async with pdp(answer, keep=False) as server, asking(server) as scene:
        assert code(await scene.decide()) is Code.PDP_UNAVAILABLE


async def test_a_slow_one_refuses_in_time():
    loop = asyncio.get_running_loop()
    async with pdp(None) as server, asking(server, timeout=0.2) as scene:
        begun = loop.time()
        ruling = await scene.decide()
        assert loop.time() - begun < 5
    assert code(ruling) is Code.PDP_UNAVAILABLE
    assert ruling.decision.errors == ("no answer within 0.2 s",)


async def test_nobody_there_refuses():
    async with asking(f"http://127.0.0.1:{free_port()}/") as scene:
        ruling = await scene.decide()
    assert code(ruling) is Code.PDP_UNAVAILABLE
    assert "no connection" in ruling.decision.errors[0]


async def test_plain_http_where_tls_is_wanted_refuses():
    yes = said({"result": True})
    async with pdp(yes) as server, asking(server.url.replace("http", "https")) as scene:
        assert code(await scene.decide()) is Code.PDP_UNAVAILABLE


async def test_connections_are_kept_and_one_that_was_closed_meanwhile_is_no_failure():
    async with pdp(said({"result": True})) as server, asking(server) as scene:
        for _ in range(3):
            assert code(await scene.decide()) is None
        assert server.connections == 1
    async with pdp(said({"result": True}), keep=False) as server, asking(server) as scene:
        for _ in range(3):
            assert code(await scene.decide()) is None


async def test_the_operator_is_told_once_of_an_outage_and_once_of_its_end():
    bad = http(b"", "500 No")
    async with pdp(bad, bad, said({"result": True}), bad) as server, asking(server) as scene:
        codes = [code(await scene.decide()) for _ in range(5)]
    down = Code.PDP_UNAVAILABLE
    assert codes == [down, down, None, down, down]
    assert ["refused" in words for words in scene.alarms] == [True, False, True]


async def test_a_token_is_sent_and_followed_in_its_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("t0ken\n")
    async with pdp(said({"result": True})) as server, asking(server, token=str(file)) as scene:
        assert code(await scene.decide()) is None
    assert "Authorization: Bearer t0ken\r\n" in server.heads[0]
    for content in (b"", b"two\nlines", b"\xff"):
        file.write_bytes(content)
        async with pdp(said({"result": True})) as server, asking(server, token=str(file)) as scene:
            assert code(await scene.decide()) is Code.PDP_UNAVAILABLE
        assert server.asked == []
    file.unlink()
    async with pdp(said({"result": True})) as server, asking(server, token=str(file)) as scene:
        assert code(await scene.decide()) is Code.PDP_UNAVAILABLE


async def test_user_and_password_in_the_url_are_sent_and_never_recorded():
    async with pdp(said({"result": True})) as server:
        url = server.url.replace("//", "//gate:s3cret@") + "?pretty=s3cret"
        async with asking(url) as scene:
            ruling = await scene.decide()
    assert "Authorization: Basic Z2F0ZTpzM2NyZXQ=" in server.heads[0]
    assert "POST /v1/data/gatepass/decision?pretty=s3cret" in server.heads[0]
    assert ruling.engine == f"opa {server.url}"


async def test_a_placeholder_in_an_answer_is_not_recorded():
    token = placeholder.mint(bytes(range(placeholder.MIN_RANDOMNESS)))
    answer = {"result": {"allow": False, "reason": "x" * (MAX_RECORDED - 70) + token}}
    async with pdp(said(answer)) as server, asking(server) as scene:
        ruling = await scene.decide()
    assert token[:20].encode() not in ruling.answer
    assert len(ruling.answer) <= MAX_RECORDED


async def test_a_question_that_cannot_be_written_down_refuses():
    class Broken:
        sha256 = "0" * 64

        def describe(self, question):
            raise ValueError(f"{question.method} cannot be told")

    async with pdp(said({"result": True})) as server, asking(server, within=Broken()) as scene:
        ruling = await scene.remote.decide(ask("GET", URL))
    assert (code(ruling), ruling.input, server.asked) == (Code.PDP_UNAVAILABLE, b"null", [])


async def test_a_caller_that_goes_away_is_not_answered():
    async with pdp(None) as server, asking(server) as scene:
        deciding = asyncio.ensure_future(scene.decide())
        while not server.asked:
            await asyncio.sleep(0.01)
        deciding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deciding
