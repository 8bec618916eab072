"""Content that rules read: whole, within its limit, judged strictly, sent as it was; else it is not touched."""

import asyncio
import json
from hashlib import sha256

import pytest

from proxy.store.approvals_table import ApprovalStore
from proxy.wiring_approvals import APPROVALS
from tests.support import demo_rules
from tests.support.upstream import Upstream
from tests.support.world import World, world

PAYMENT = {"method": "POST", "path": "/pay", "group": "write", "facts": {"body": {"amount": "long"}}}
CHEAP = (
    '@id("cheap") permit(principal, action == Action::"api.pay", resource)'
    " when { context.facts.body.amount <= 100 };"
)
UPLOADS = demo_rules.permit("uploads", actions=("api.http.write",))


def digest(body: bytes) -> str:
    return sha256(body).hexdigest()


def services(up: Upstream):
    return [
        demo_rules.service("api", *up.hosts, ports=[up.port], operations={"pay": PAYMENT}),
    ]


def rules(*more: str, content: int = 1024):
    return {"services": services, "policies": [CHEAP, UPLOADS, *more], "policy": {"content": content}}


async def pay(w: World, body: bytes, *headers: str, kind: str = "application/json"):
    return await w.call("/pay", method="POST", headers=[f"Content-Type: {kind}", *headers], body=body)


async def test_a_rule_reads_the_content_and_it_arrives_as_it_was(tmp_path):
    body = b'{ "amount" : 7,\n "for": "\xc3\xa9" }'
    async with world(tmp_path, **rules()) as w:
        answer = await pay(w, body)
        assert answer.status == 200, answer
        assert w.upstream.requests[-1].sha256 == digest(body)
        (decision,) = w.decisions
        assert decision.raw["why"]["input"]["context"]["facts"] == {"body": {"amount": 7}}
        assert decision.rule == "cheap"


async def test_what_the_rule_does_not_allow_never_leaves(tmp_path):
    async with world(tmp_path, **rules()) as w:
        answer = await pay(w, b'{"amount": 101}')
        assert (answer.status, answer.json()["code"]) == (403, "default_deny")
        assert w.upstream.bytes_received == 0


@pytest.mark.parametrize(
    ("body", "kind", "headers", "status", "code"),
    [
        (b'{"amount": 1, "amount": 1000}', "application/json", (), 400, "ambiguous_input"),
        (b'{"amount": 1} {"amount": 1000}', "application/json", (), 400, "ambiguous_input"),
        (b'{"amount": "1"}', "application/json", (), 400, "ambiguous_input"),
        (b'{"amount": 1.0}', "application/json", (), 400, "ambiguous_input"),
        (b"{}", "application/json", (), 400, "ambiguous_input"),
        (b"", "application/json", ("Content-Length: 0",), 400, None),
        (b'{"amount": 1}', "text/plain", (), 400, "content_unsupported"),
        (b'{"amount": 1}', "application/json", ("Content-Encoding: gzip",), 400, "content_unsupported"),
        (b'{"amount": 1}', "application/json; charset=utf-7", (), 400, "content_unsupported"),
        (b'{"amount": 1, "x": "%s"}' % (b"x" * 2000), "application/json", (), 413, "body_too_large"),
    ],
)
async def test_what_can_be_read_in_two_ways_is_refused(tmp_path, body, kind, headers, status, code):
    async with world(tmp_path, **rules()) as w:
        answer = await pay(w, body, *headers, kind=kind)
        assert answer.status == status, answer
        assert code is None or answer.json()["code"] == code
        assert w.upstream.bytes_received == 0
        assert [record.effect for record in w.decisions] == ["deny"]


async def test_a_number_that_no_record_can_hold_is_refused_and_every_record_can_be_read(tmp_path):
    chat = {"method": "POST", "path": "/chat", "group": "write", "llm": "openai"}
    modest = (
        '@id("modest") permit(principal, action == Action::"api.chat", resource)'
        f" when {{ context.facts.llm.max_tokens <= {2**63 - 1} }};"
    )

    def model(up: Upstream):
        return [demo_rules.service("api", *up.hosts, ports=[up.port], operations={"chat": chat})]

    async with world(tmp_path, services=model, policies=[modest]) as w:
        for limit, status in ((2**53 - 1, 200), (2**53, 400), (2**63 - 2, 400)):
            body = b'{"model": "m", "max_tokens": %d}' % limit
            answer = await w.call(
                "/chat", method="POST", headers=["Content-Type: application/json"], body=body
            )
            assert answer.status == status, answer
        assert [record.code for record in w.decisions] == ["", "ambiguous_input", "ambiguous_input"]


async def test_chunks_are_put_together_and_sent_on_with_their_trailers(tmp_path):
    async with world(tmp_path, **rules()) as w, w.tunnel() as client:
        head = (
            f"POST /pay HTTP/1.1\r\nHost: {w.authority}\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        )
        await client.send(head.encode())
        for piece in (b'{"amo', b'unt": ', b"12}"):
            await client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        await client.send(b"0\r\nX-Sum: 12\r\n\r\n")
        assert (await client.read_response()).status == 200
        got = w.upstream.requests[-1]
        assert (got.sha256, got.trailers) == (digest(b'{"amount": 12}'), ((b"X-Sum", b"12"),))


async def test_a_client_that_waits_for_100_continue_gets_it_where_the_content_is_needed(tmp_path):
    async with world(tmp_path, **rules()) as w, w.tunnel() as client:
        body = b'{"amount": 500}'
        await client.send(
            f"POST /pay HTTP/1.1\r\nHost: {w.authority}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert int((await client.read_head()).start[1]) == 100
        await client.send(body)
        assert (await client.read_response()).status == 403
        assert w.upstream.bytes_received == 0


async def test_after_a_refusal_of_content_that_was_read_the_connection_goes_on(tmp_path):
    async with world(tmp_path, **rules()) as w, w.tunnel() as client:
        for amount, status in ((101, 403), (99, 200), (1000, 403), (1, 200)):
            body = json.dumps({"amount": amount}).encode()
            await client.send(
                f"POST /pay HTTP/1.1\r\nHost: {w.authority}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            assert (await client.read_response()).status == status
        sent = [digest(json.dumps({"amount": amount}).encode()) for amount in (99, 1)]
        assert [request.sha256 for request in w.upstream.requests] == sent


async def test_what_no_rule_reads_is_not_waited_for_and_may_be_larger_than_the_limit(tmp_path):
    body = b"not json " * 4096
    async with world(tmp_path, **rules()) as w:
        answer = await w.call("/upload", method="POST", headers=["Content-Type: application/json"], body=body)
        assert answer.status == 200, answer
        assert w.upstream.requests[-1].sha256 == digest(body)


async def test_without_a_rule_that_reads_the_fact_the_content_is_left_alone(tmp_path):
    anything = demo_rules.permit("any", actions=("api.pay",))
    async with world(tmp_path, services=services, policies=[anything]) as w:
        answer = await pay(w, b'{"amount": 1, "amount": 2}')
        assert answer.status == 200
        assert w.upstream.requests[-1].sha256 == digest(b'{"amount": 1, "amount": 2}')
        assert "facts" not in w.decisions[0].raw["why"]["input"]["context"] or (
            w.decisions[0].raw["why"]["input"]["context"]["facts"] == {}
        )


async def test_who_leaves_while_the_content_is_read_has_a_record_and_nothing_was_sent(tmp_path):
    async with world(tmp_path, **rules()) as w:
        async with w.tunnel() as client:
            await client.send(
                f"POST /pay HTTP/1.1\r\nHost: {w.authority}\r\nContent-Type: application/json\r\n"
                'Content-Length: 100\r\n\r\n{"amount"'.encode()
            )
            client.abort()
        async with asyncio.timeout(10):
            while not w.decisions:
                await asyncio.sleep(0.005)
        assert [(one.effect, one.code) for one in w.decisions] == [("deny", "malformed")]
        assert w.upstream.bytes_received == 0


async def test_a_placeholder_in_content_that_is_read_ends_the_call(tmp_path):
    credential = demo_rules.from_env("API_TOKEN")

    def with_credential(up: Upstream):
        return [
            demo_rules.service(
                "api", *up.hosts, ports=[up.port], operations={"pay": PAYMENT}, credential=credential
            )
        ]

    async with world(tmp_path, services=with_credential, policies=[CHEAP]) as w:
        answer = await pay(w, b'{"amount": 1, "key": "%s"}' % w.placeholder.encode())
        assert (answer.status, answer.json()["code"]) == (403, "placeholder_surface")
        assert w.upstream.bytes_received == 0


async def test_a_person_who_is_asked_sees_what_the_rule_reads(tmp_path):
    held = CHEAP.replace("<= 100", "<= 100 || context.approved")
    async with world(tmp_path, services=services, policies=[held], approvals={"wait": 0}) as w:
        assert (await pay(w, b'{"amount": 500, "note": "x"}')).json()["code"] == "approval_required"
        with ApprovalStore.open(w.state / APPROVALS) as store:
            (entry,) = store.list()
        assert json.loads(entry.asked.facts) == [{"body": {"amount": 500}}]
        assert w.upstream.bytes_received == 0
