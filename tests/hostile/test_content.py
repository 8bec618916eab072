"""C20, E: content that rules read can be read in one way only, or the call is refused (egress.md, section 5)."""

import asyncio
import gzip
import json
from hashlib import sha256

import pytest

from proxy.errors import Code
from tests.hostile.assertions import decided, refused
from tests.hostile.reading import FORM, JSON, all_refused, allow, arrived, post, serving
from tests.support.world import World, world

FACTS = {"body": {"amount": "long", "note?": "string", "user.login?": "string", "tags?": ["string"]}}
PAY = {"pay": {"method": "POST", "path": "/pay", "group": "write", "facts": FACTS}}
RULES = [
    allow(
        "cheap",
        "api.pay",
        when="context.facts.body.amount <= 100 && !(context.facts.body has user"
        ' && context.facts.body.user has login && context.facts.body.user.login == "root")',
    )
]
LIMIT = 4_096


def paying(tmp_path):
    return world(tmp_path, services=serving(PAY), policies=RULES, policy={"content": LIMIT})


def raw(w: World, *headers: str, body: bytes = b"") -> bytes:
    """A payment, octet by octet."""
    return "\r\n".join(["POST /pay HTTP/1.1", f"Host: {w.authority}", *headers, "", ""]).encode() + body


TWICE = [
    b'{"amount":1,"amount":1000}',
    b'{"amount":1000,"amount":1}',
    b'{"amount":1,"\\u0061mount":1000}',
    b'{"\\u0061mount":1,"amo\\u0075nt":1000}',
    b'{"amount":1,"x":{"a":1,"a":2}}',
    b'{"amount":1,"x":[[[{"a":1,"\\u0061":2}]]]}',
    b'{"amount":1,"user":{"login":"a"},"user":{"login":"root"}}',
    b'{"amount":1,"x":"\\":","x":1}',
    b'{"amount" :1,"amount"\t\r\n:1000}',
]
LIKE = [
    *(b'{"amount":1,"Amount":1000}', b'{"AMOUNT":1}', b'{"amount":1,"amount ":1000}'),
    *(
        b'{"amount":1,"amount[]":1000}',
        b'{"amount":1,"amount\\u0000":1000}',
        b'{"amount":1,"AM\\u004fUNT":9}',
    ),
    *(b'{"amount":1,"user":{"Login":"root"}}', b'{"amount":1,"user.login":"root"}'),
    *(b'{"amount":1,"u\\u017fer":{"login":"root"}}', b'{"amount":1,"USER":{"login":"root"}}'),
]
NOT_ONE_DOCUMENT = [
    *(b'{"amount":1}{"amount":1000}', b'{"amount":1}\n{"amount":1000}', b'{"amount":1}\0', b'{"amount":1}x'),
    *(b'{"amount":1},', b'[{"amount":1}]', b'\xef\xbb\xbf{"amount":1}', b")]}'\n" + b'{"amount":1}', b"{"),
    *('{"amount":1}'.encode("utf-16"), '{"amount":1}'.encode("utf-16-le"), '{"amount":1}'.encode("utf-32")),
    *(b'/*x*/{"amount":1}', b"{'amount':1}", b"{amount:1}", b'{"amount":1,}', b'{"amount":1,"x":\xff}'),
    *(
        b'{"amount":1,"note":"\\ud800"}',
        b'{"amount":1,"note":"\xed\xa0\x80"}',
        b'{"amount":1,"note":"\xc0\xae"}',
    ),
    *(b'{"amount":1,"note":"a\nb"}', b'{"amount":1,"note":"\\x41"}', b"amount=1", b'"amount"', b"1", b"null"),
]
NUMBERS = [
    *(
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"01",
        b"+1",
        b"0x1",
        b"1_0",
        b".5",
        b"1.",
        b"\xd9\xa1",
        b'"1"',
        b"true",
    ),
    *(b"1.0", b"1e0", b"1E1", b"0.1e1", b"9007199254740992", b"9223372036854775808", b"18446744073709551617"),
    *(b"-9223372036854775809", b"1" * 400, b"1e400", b"-1e400", b"[1]", b'{"$numberLong":"1"}', b"null"),
]
DEEP = [
    b'{"amount":1,"x":%s}' % (b"[" * 65 + b"]" * 65),
    b'{"amount":1,"x":%s}' % (b"[" * 1_500 + b"]" * 1_500),
    b'{"amount":1,"x":%s1%s}' % (b'{"a":' * 300, b"}" * 300),
    b"[" * 4_000,
]
GROUPS = {"names-twice": TWICE, "lookalikes": LIKE, "not-one-document": NOT_ONE_DOCUMENT, "deep": DEEP}


@pytest.mark.parametrize("bodies", [pytest.param(found, id=f"C20-{name}") for name, found in GROUPS.items()])
async def test_what_two_readers_could_read_differently_never_leaves(tmp_path, bodies):
    async with paying(tmp_path) as w:
        await all_refused(w, Code.AMBIGUOUS_INPUT, bodies, lambda body: post(w, "/pay", body, JSON))


async def test_c20_a_long_is_a_whole_number_that_all_read_alike(tmp_path):
    async with paying(tmp_path) as w:
        bodies = [b'{"amount":%s}' % number for number in NUMBERS]
        await all_refused(w, Code.AMBIGUOUS_INPUT, bodies, lambda body: post(w, "/pay", body, JSON))


async def test_c20_what_nobody_takes_for_the_field_is_not_the_field(tmp_path):
    """Unicode has names that look alike and that no JSON reader takes for one another; the field is missing."""
    async with paying(tmp_path) as w:
        names = ["\uff41mount", "am\u0585unt", "amount\u200b", "\u0430mount", "amo\u0075\u0308nt"]
        bodies = [json.dumps({name: 1}, ensure_ascii=False).encode() for name in names]
        await all_refused(w, Code.AMBIGUOUS_INPUT, bodies, lambda body: post(w, "/pay", body, JSON))
    async with paying(tmp_path / "beside") as w:
        beside = json.dumps({"amount": 1, **dict.fromkeys(names, 1000)}, ensure_ascii=False).encode()
        assert (await post(w, "/pay", beside, JSON)).status == 200
        assert w.upstream.requests[0].sha256 == sha256(beside).hexdigest()


TYPES = {
    "none": (),
    "text": ("Content-Type: text/plain",),
    "empty": ("Content-Type:",),
    "list": ("Content-Type: application/json, text/plain",),
    "suffix": ("Content-Type: application/jsonx",),
    "utf-16": ("Content-Type: application/json; charset=utf-16",),
    "utf-7": ("Content-Type: application/json;charset=UTF-7",),
    "two-charsets": ("Content-Type: application/json; charset=utf-8; charset=utf-16",),
    "another-parameter": ("Content-Type: application/json; profile=x",),
    "quoted": ('Content-Type: application/json; charset="utf-16"',),
    "space": ("Content-Type: application/ json",),
    "multipart": ("Content-Type: multipart/form-data; boundary=x",),
    "gzip": (JSON, "Content-Encoding: gzip"),
    "deflate-and-identity": (JSON, "Content-Encoding: identity, deflate"),
    "two-codings": (JSON, "Content-Encoding: identity", "Content-Encoding: br"),
    "aws-chunked": (JSON, "Content-Encoding: aws-chunked"),
    "x-gzip": (JSON, "Content-Encoding: X-GZIP"),
}


@pytest.mark.parametrize("headers", [pytest.param(how, id=f"C20-{name}") for name, how in TYPES.items()])
async def test_content_that_says_it_is_something_else_never_leaves(tmp_path, headers):
    async with paying(tmp_path) as w:
        body = gzip.compress(b'{"amount":1}') if "gzip" in str(headers).lower() else b'{"amount":1}'
        await refused(w, await post(w, "/pay", body, *headers), Code.CONTENT_UNSUPPORTED)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((JSON, JSON), id="C20-json-twice"),
        pytest.param((JSON, FORM), id="C20-json-and-form"),
        pytest.param(("content-type: text/plain", "CONTENT-TYPE: application/json"), id="C20-case"),
    ],
)
async def test_there_is_one_content_type(tmp_path, headers):
    async with paying(tmp_path) as w:
        await refused(w, await post(w, "/pay", b'{"amount":1}', *headers), Code.HEADER_FORBIDDEN)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((JSON, "Content-Encoding: identity", "Content-Encoding: identity"), id="identity-twice"),
        pytest.param(("Content-Type: APPLICATION/JSON; Charset=UTF-8",), id="capitals"),
        pytest.param(("Content-Type: application/vnd.api+json",), id="suffix"),
    ],
)
async def test_what_can_be_read_in_one_way_passes_as_it_was(tmp_path, headers):
    async with paying(tmp_path) as w:
        assert (await post(w, "/pay", b' {"amount" : 1} ', *headers)).status == 200
        assert w.upstream.requests[0].sha256 == sha256(b' {"amount" : 1} ').hexdigest()


FORMS = [
    *(b"amount=1&amount=1000", b"amount=1&Amount=1000", b"amount=1&%61mount=1000", b"amount=1&amount[]=1000"),
    *(b"amount=1&amount%5B%5D=1000", b"amount=1&amount%00=1000", b"amount=1;amount=1000", b"amount=+1"),
    *(b"amount=1%zz", b"amount=\xff", b"amount=%ff", b"amount=1\r\namount=1000", b"", b"x=1", b"amount=1.0"),
    *(b"amount=1&user[login]=root", b"amount=1&user%5Blogin%5D=root", b"amount=1&user_login=root"),
    *(b"amount=1&User[Login]=root", b"amount=1&user[login][]=root", b"amount=1&user.login=a&user.login=root"),
    *(b"amount=1&+amount=1000", b"amount=1 000", b"amount=\xd9\xa1", b"AMOUNT=1", b"amount=0x1"),
]


async def test_c20_a_form_says_a_field_once_and_under_its_own_name(tmp_path):
    async with paying(tmp_path) as w:
        forms = [body for body in FORMS if body]
        await all_refused(w, Code.AMBIGUOUS_INPUT, forms, lambda body: post(w, "/pay", body, FORM))


async def test_c20_a_field_that_a_form_nests_otherwise_does_not_slip_past_a_condition(tmp_path):
    """``user[role]`` is ``user.role`` to Rails, PHP and qs: a stricter operation must not be missed for it."""
    operations = {
        "members.promote": {
            "method": "POST",
            "path": "/members",
            "group": "admin",
            "when": {"body": {"user.role": "admin"}},
        },
        "members.add": {"method": "POST", "path": "/members", "group": "write"},
    }
    async with world(tmp_path, services=serving(operations), policies=[allow("add", "api.members.add")]) as w:
        forms = [b"user[role]=admin", b"user%5Brole%5D=admin", b"USER[role]=admin", b"user_role=admin"]
        await all_refused(w, Code.AMBIGUOUS_INPUT, forms, lambda body: post(w, "/members", body, FORM))
    async with world(
        tmp_path / "json", services=serving(operations), policies=[allow("add", "api.members.add")]
    ) as w:
        documents = [b'{"user.role":"admin"}', b'{"User":{"role":"admin"}}', b'{"user":{"ROLE":"admin"}}']
        await all_refused(w, Code.AMBIGUOUS_INPUT, documents, lambda body: post(w, "/members", body, JSON))


@pytest.mark.parametrize("extra", [1, 100_000])
@pytest.mark.parametrize("how", ["length", "chunks"])
async def test_c16_content_that_is_too_large_to_read_never_leaves(tmp_path, how, extra):
    body = b'{"amount":1,"x":"' + b"x" * (LIMIT + extra) + b'"}'
    async with paying(tmp_path) as w, w.tunnel() as client:
        if how == "length":
            await client.send(raw(w, JSON, f"Content-Length: {len(body)}", body=body[:100]))
        else:
            pieces = [body[start : start + 1_000] for start in range(0, len(body), 1_000)]
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
            await client.send(raw(w, JSON, "Transfer-Encoding: chunked", body=chunks))
        await refused(w, await client.read_response(), Code.BODY_TOO_LARGE)


async def test_c16_a_length_that_no_content_can_have_is_answered_at_once(tmp_path):
    async with paying(tmp_path) as w, w.tunnel() as client:
        await client.send(raw(w, JSON, "Content-Length: 999999999999999999"))
        await refused(w, await client.read_response(), Code.BODY_TOO_LARGE)


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(b'c\r\n{"amount":1}\r\n', id="C4-unfinished"),
        pytest.param(b'c;\r\n{"amount":1}\r\n0\r\n\r\n', id="C4-empty-extension"),
        pytest.param(b'c;a=b\n{"amount":1}\r\n0\r\n\r\n', id="C4-lf-extension"),
        pytest.param(b'c;a="\r\n{"amount":1}\r\n0\r\n\r\n', id="C4-open-quote"),
        pytest.param(b'-c\r\n{"amount":1}\r\n0\r\n\r\n', id="C4-negative"),
        pytest.param(b'0xc\r\n{"amount":1}\r\n0\r\n\r\n', id="C4-prefix"),
        pytest.param(b'b\r\n{"amount":1}\r\n0\r\n\r\n', id="C4-short"),
        pytest.param(b'ffffffffffffffffc\r\n{"amount":1}\r\n0\r\n\r\n', id="C4-overflow"),
        pytest.param(b"c;" + b"x" * 300 + b'\r\n{"amount":1}\r\n0\r\n\r\n', id="C4-long-extension"),
        pytest.param(b'c\r\n{"amount":1}\r\n0\r\nX : y\r\n\r\n', id="C5-bad-trailer"),
    ],
)
async def test_chunks_that_two_readers_cut_differently_never_leave(tmp_path, chunks):
    async with paying(tmp_path) as w, w.tunnel() as client:
        await client.send(raw(w, JSON, "Transfer-Encoding: chunked", body=chunks))
        if chunks.endswith(b"1}\r\n") and not chunks.startswith(b"c;"):
            client.abort()
            await decided(w)
            assert [(one.effect, one.code) for one in w.decisions] == [("deny", Code.MALFORMED)]
            assert w.upstream.bytes_received == 0
        else:
            await refused(w, await client.read_response(), Code.MALFORMED)


async def test_c4_extensions_are_dropped_and_what_was_judged_is_what_is_sent(tmp_path):
    async with paying(tmp_path) as w, w.tunnel() as client:
        chunks = b'5;a=b\r\n{"amo\r\n7;c="d;e"\r\nunt":1}\r\n0;z\r\n\r\n'
        await client.send(raw(w, JSON, "Transfer-Encoding: chunked", body=chunks))
        assert (await client.read_response()).status == 200
        assert w.upstream.requests[0].sha256 == sha256(b'{"amount":1}').hexdigest()
        assert b";" not in bytes(w.upstream.connections[0].received).partition(b"\r\n\r\n")[2]


async def test_c5_trailers_add_nothing_to_what_was_judged(tmp_path):
    async with paying(tmp_path) as w, w.tunnel() as client:
        trailers = b"Content-Type: text/plain\r\nContent-Encoding: gzip\r\nX-HTTP-Method-Override: DELETE\r\n"
        body = (
            b'c\r\n{"amount":1}\r\n0\r\n' + trailers + b"X_HTTP_Method_Override: DELETE\r\nX-Sum: 1\r\n\r\n"
        )
        await client.send(raw(w, JSON, "Transfer-Encoding: chunked", body=body))
        assert (await client.read_response()).status == 200
        assert w.upstream.requests[0].trailers == ((b"X-Sum", b"1"),)


async def test_c16_content_that_stops_arriving_is_answered_and_never_leaves(tmp_path):
    patience = {"body_timeout": 0.2}
    async with (
        world(
            tmp_path,
            services=serving(PAY),
            policies=RULES,
            policy={"content": LIMIT},
            limits=patience,
        ) as w,
        w.tunnel() as client,
    ):
        await client.send(raw(w, JSON, "Content-Length: 12", body=b'{"amount'))
        await refused(w, await client.read_response(), Code.BODY_TIMEOUT)


async def test_c16_octet_by_octet_is_read_like_any_other(tmp_path):
    async with paying(tmp_path) as w, w.tunnel() as client:
        await client.send(raw(w, JSON, "Content-Length: 15"))
        for octet in b'{"amount": 101}':
            await client.send(bytes([octet]))
            await asyncio.sleep(0)
        await refused(w, await client.read_response(), Code.DEFAULT_DENY)


async def test_c17_nobody_is_asked_for_content_that_is_too_large(tmp_path):
    async with paying(tmp_path) as w, w.tunnel() as client:
        await client.send(raw(w, JSON, f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"))
        answer = await client.read_response()
        assert answer.informational == ()
        await refused(w, answer, Code.BODY_TOO_LARGE)


async def test_c17_nobody_is_asked_for_content_where_the_head_says_enough(tmp_path):
    async with paying(tmp_path) as w, w.tunnel() as client:
        head = f"DELETE /pay HTTP/1.1\r\nHost: {w.authority}\r\n{JSON}\r\nContent-Length: 12\r\n"
        await client.send(f"{head}Expect: 100-continue\r\n\r\n".encode())
        answer = await client.read_response()
        assert answer.informational == ()
        await refused(w, answer, Code.DEFAULT_DENY)


async def test_c17_content_that_is_asked_for_is_judged_before_anything_leaves(tmp_path):
    async with paying(tmp_path) as w, w.tunnel() as client:
        await client.send(raw(w, JSON, "Content-Length: 15", "Expect: 100-continue"))
        assert (await client.read_head()).start[1] == b"100"
        assert w.upstream.connections == []
        await client.send(b'{"amount": 101}')
        await refused(w, await client.read_response(), Code.DEFAULT_DENY)


async def test_c15_what_follows_content_that_was_read_is_judged_by_itself(tmp_path):
    async with paying(tmp_path) as w, w.tunnel() as client:
        amounts = (1, 500, 2)
        bodies = [b'{"amount":%d}' % amount for amount in amounts]
        await client.send(
            b"".join(raw(w, JSON, f"Content-Length: {len(body)}", body=body) for body in bodies)
        )
        assert [(await client.read_response()).status for _ in amounts] == [200, 403, 200]
        assert [request.sha256 for request in w.upstream.requests] == [
            sha256(body).hexdigest() for body in (bodies[0], bodies[2])
        ]
        assert [record.effect for record in w.decisions] == ["allow", "deny", "allow"]
        assert arrived(w) == ["POST /pay"] * 2
