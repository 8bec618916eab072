"""C18 to C20 at gRPC and AWS: the action that is decided is the only one the call names (egress.md, section 5)."""

import pytest

from proxy.errors import Code
from tests.hostile.assertions import refused
from tests.hostile.reading import FORM, JSON, acts, all_refused, allow, arrived, post, serving
from tests.support.world import World, world

GRPC = "Content-Type: application/grpc"
AMZ = "Content-Type: application/x-amz-json-1.0"
UPGRADE = [
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
]


def speaking(tmp_path, protocol: str, operations, *rules: str):
    return world(tmp_path, services=serving(operations, protocol=protocol), policies=rules)


# -- gRPC --

CART = {
    "view": {"group": "read", "grpc": "shop.v1.Cart/View"},
    "pay": {"group": "write", "grpc": "shop.v1.Cart/Pay"},
}
VIEW = allow("view", "api.view")


def cart(tmp_path):
    return speaking(tmp_path, "grpc", CART, VIEW)


@pytest.mark.parametrize(
    ("path", "action"),
    [
        pytest.param("/shop.v1.Cart/Pay", "api.pay", id="C18-plain"),
        pytest.param("/shop.v1.Cart/View/../Pay", "api.pay", id="C19-dots"),
        pytest.param("/x/../shop.v1.Cart/%50ay", "api.pay", id="C19-encoded"),
        pytest.param("/shop.v1.Cart/view", "api.grpc.call", id="C19-case"),
        pytest.param("/Shop.v1.Cart/View", "api.grpc.call", id="C19-case-of-the-service"),
        pytest.param("/shop.v1.Cart/Views", "api.grpc.call", id="C19-longer"),
        pytest.param("/shop.v2.Cart/View", "api.grpc.call", id="C19-another-package"),
    ],
)
async def test_another_method_of_grpc_is_another_action(tmp_path, path, action):
    async with cart(tmp_path) as w:
        record = await refused(w, await post(w, path, b"\0\0\0\0\0", GRPC), Code.DEFAULT_DENY)
        assert acts(record) == [action]


PATHS = [
    *(
        "/shop.v1.Cart/View/",
        "//shop.v1.Cart/View",
        "/shop.v1.Cart//View",
        "/shop.v1.Cart/View;x",
        "/shop.v1.Cart",
    ),
    *(
        "/api/shop.v1.Cart/View",
        "/shop.v1.Cart/View%20",
        "/shop.v1.Cart/View.",
        "/shop..Cart/View",
        "/",
        "/.shop/View",
    ),
    *("/shop.v1.Cart/V%C3%AFew", "/shop.v1.Cart/1View", "/shop.v1.Cart/View?x=1", "/shop.v1.C%D0%B0rt/View"),
]


async def test_c19_what_is_no_path_of_grpc_never_leaves(tmp_path):
    async with cart(tmp_path) as w:
        await all_refused(w, Code.AMBIGUOUS_INPUT, PATHS, lambda path: post(w, path, b"\0\0\0\0\0", GRPC))


KINDS = [
    *(
        (JSON,),
        ("Content-Type: application/grpcx",),
        ("Content-Type: application/connect+proto",),
        ("X-None: 1",),
    ),
    *(("Content-Type: application/grpc, application/json",), ("Content-Type: text/plain; application/grpc",)),
]


async def test_c18_other_kinds_of_content_never_leave(tmp_path):
    async with cart(tmp_path) as w:

        async def send(headers):
            return await post(w, "/shop.v1.Cart/View", b"{}", *headers)

        await all_refused(w, Code.CONTENT_UNSUPPORTED, KINDS, send)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_c18_other_methods_never_leave(tmp_path, method):
    async with cart(tmp_path) as w:
        answer = await w.call("/shop.v1.Cart/View", method=method, headers=[GRPC])
        await refused(w, answer, Code.CONTENT_UNSUPPORTED)


async def test_c18_no_websocket_opens_at_grpc(tmp_path):
    async with cart(tmp_path) as w:
        answer = await w.call("/shop.v1.Cart/View", headers=[*UPGRADE, GRPC])
        await refused(w, answer, Code.CONTENT_UNSUPPORTED)


async def test_what_is_allowed_at_grpc_is_sent_as_it_was_decided(tmp_path):
    async with cart(tmp_path) as w:
        assert (await post(w, "/a/../shop.v1.Cart/%56iew", b"\0\0\0\0\0", GRPC)).status == 200
        assert arrived(w) == ["POST /shop.v1.Cart/View"]


# -- the query protocol of AWS --

STS = {
    "whoami": {"group": "read", "aws": "GetCallerIdentity"},
    "assume": {"group": "admin", "aws": "AssumeRole"},
    "describe": {"group": "read", "aws": "Describe*", "facts": {"body": {"Filter?": "string"}}},
}
WHOAMI = allow("whoami", "api.whoami")
DESCRIBE = allow(
    "describe",
    "api.describe",
    when='if context.facts.body has Filter then context.facts.body.Filter == "mine" else false',
)
ASK = b"Action=GetCallerIdentity&Version=2011-06-15"


def sts(tmp_path):
    return speaking(tmp_path, "aws-query", STS, WHOAMI, DESCRIBE)


FORMS = [
    *(
        ASK + b"&Action=AssumeRole",
        b"Action=AssumeRole&" + ASK,
        ASK + b"&action=AssumeRole",
        ASK + b"&ACTION=x",
    ),
    *(ASK + b"&Action[]=AssumeRole", ASK + b"&%41ction=AssumeRole", ASK + b"&Action%00=AssumeRole"),
    *(
        ASK + b"&+Action=AssumeRole",
        ASK + b"&Version=2012-01-01",
        b"Action=GetCallerIdentity",
        b"Version=2011-06-15",
    ),
    *(
        ASK + b";Action=AssumeRole",
        b"Action=&Version=2011-06-15",
        b"Action=Get+CallerIdentity&Version=2011-06-15",
    ),
    *(b"Action=../AssumeRole&Version=2011-06-15", b"Action=GetCallerIdentity&Version=latest", ASK + b"&%zz"),
    *(ASK + b"\r\n", b'{"Action":"GetCallerIdentity"}', ASK + b"&x=\xff", b"\xef\xbb\xbf" + ASK),
]


async def test_c20_an_action_that_is_named_twice_or_oddly_never_leaves(tmp_path):
    async with sts(tmp_path) as w:
        await all_refused(w, Code.AMBIGUOUS_INPUT, FORMS, lambda body: post(w, "/", body, FORM))


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        pytest.param("/?Action=AssumeRole&Version=2011-06-15", ASK, (FORM,), id="C20-url-and-form"),
        pytest.param("/?Action=GetCallerIdentity", ASK, (FORM,), id="C20-the-same-in-both"),
        pytest.param("/?x=1", ASK, (FORM,), id="C20-anything-in-the-url"),
        pytest.param("/", ASK, (FORM, "X-Amz-Target: STS.AssumeRole"), id="C20-target-too"),
        pytest.param("/", ASK, (FORM, "x-amz-target:"), id="C20-empty-target-too"),
    ],
)
async def test_no_second_place_names_another_action(tmp_path, path, body, headers):
    async with sts(tmp_path) as w:
        await refused(w, await post(w, path, body, *headers), Code.AMBIGUOUS_INPUT)


QUERIES = [
    *("Action=GetCallerIdentity&Version=2011-06-15&Action=AssumeRole", "Action=GetCallerIdentity", ""),
    *(
        "Action=GetCallerIdentity&Version=2011-06-15;Action=AssumeRole",
        "action=AssumeRole&Version=2011-06-15",
    ),
    "Action=GetCallerIdentity&Version=2011-06-15&Action%5B%5D=AssumeRole",
]


async def test_c20_a_url_names_one_action(tmp_path):
    async with sts(tmp_path) as w:

        async def send(query):
            return await w.call(f"/?{query}")

        await all_refused(w, Code.AMBIGUOUS_INPUT, QUERIES, send)


@pytest.mark.parametrize(
    ("body", "action"),
    [
        pytest.param(b"Action=AssumeRole&Version=2011-06-15", "api.assume", id="C18-plain"),
        pytest.param(b"Action=%41ssumeRole&Version=2011-06-15", "api.assume", id="C18-encoded"),
        pytest.param(b"Action=getcalleridentity&Version=2011-06-15", "api.aws.call", id="C18-case"),
        pytest.param(b"Action=DescribeX&Version=2011-06-15", "api.describe", id="C18-without-the-field"),
        pytest.param(
            b"Action=DescribeX&Version=2011-06-15&Filter=all", "api.describe", id="C18-another-value"
        ),
    ],
)
async def test_another_action_is_another_action(tmp_path, body, action):
    async with sts(tmp_path) as w:
        assert acts(await refused(w, await post(w, "/", body, FORM), Code.DEFAULT_DENY)) == [action]


@pytest.mark.parametrize(
    "kind",
    [JSON, AMZ, "Content-Type: multipart/form-data; boundary=x", FORM + "; charset=utf-16", "X-None: 1"],
)
async def test_c18_other_kinds_of_content_never_leave_for_aws(tmp_path, kind):
    async with sts(tmp_path) as w:
        await refused(w, await post(w, "/", ASK, kind), Code.CONTENT_UNSUPPORTED)


async def test_c18_no_websocket_opens_at_aws(tmp_path):
    async with sts(tmp_path) as w:
        answer = await w.call(f"/?{ASK.decode()}", headers=UPGRADE)
        await refused(w, answer, Code.CONTENT_UNSUPPORTED)


SCOPE = "AKIA/20260101/us-east-1/sts/aws4_request"
SIGNED = f"Authorization: AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host, Signature=0"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(
            [SIGNED.replace("sts", "iam, Credential=AKIA/20260101/us-east-1/sts")], id="C20-two-scopes"
        ),
        pytest.param([SIGNED.replace("aws4_request", "aws4")], id="C20-no-scope"),
        pytest.param([SIGNED.replace("us-east-1/sts", "us-east-1/sts/iam/x")], id="C20-long-scope"),
        pytest.param([SIGNED.replace("/sts/", "//")], id="C20-empty-scope"),
    ],
)
async def test_a_signature_is_for_one_service(tmp_path, headers):
    async with sts(tmp_path) as w:
        await refused(w, await post(w, "/", ASK, FORM, *headers), Code.AMBIGUOUS_INPUT)


# -- the JSON protocol of AWS --

TABLE = "DynamoDB_20120810"
ITEMS = {
    "get": {"group": "read", "aws": f"{TABLE}.GetItem", "facts": {"body": {"TableName": "string"}}},
    "drop": {"group": "delete", "aws": f"{TABLE}.DeleteTable"},
}
GET = allow("get", "api.get", when='context.facts.body.TableName == "open"')
OPEN = b'{"TableName":"open"}'


def items(tmp_path):
    return speaking(tmp_path, "aws-json", ITEMS, GET)


def target(name: str) -> str:
    return f"X-Amz-Target: {TABLE}.{name}"


async def ask(w: World, body: bytes, *headers: str, path: str = "/"):
    return await post(w, path, body, AMZ, *headers)


TARGETS = [
    *((target("GetItem"), target("DeleteTable")), (target("GetItem"), target("GetItem")), ()),
    *((target("GetItem, DeleteTable"),), ("X-Amz-Target:",), ("X-Amz-Target: GetItem",), (target(""),)),
    *((target("Get Item"),), (target("GetItem;DeleteTable"),), ("X-Amz-Target: " + "a." * 200 + "GetItem",)),
    ("X_Amz_Target: " + TABLE + ".DeleteTable",),
]


async def test_c20_a_target_that_is_named_twice_or_oddly_never_leaves(tmp_path):
    async with items(tmp_path) as w:

        async def send(headers):
            return await ask(w, OPEN, *headers)

        await all_refused(w, Code.AMBIGUOUS_INPUT, TARGETS, send)


MEMBERS = [
    *(
        b'{"TableName":"open","TableName":"secret"}',
        b'{"TableName":"open","tablename":"secret"}',
        b"{}",
        b"[]",
    ),
    *(
        b'{"TableName":"open"}{}',
        b'{"TableName":["open"]}',
        b'{"TableName":null}',
        b"Action=DeleteTable",
        b"\0",
    ),
]


async def test_c20_its_content_is_read_in_one_way(tmp_path):
    async with items(tmp_path) as w:
        await all_refused(w, Code.AMBIGUOUS_INPUT, MEMBERS, lambda body: ask(w, body, target("GetItem")))


@pytest.mark.parametrize("path", ["/?Action=DeleteTable", f"/?X-Amz-Target={TABLE}.DeleteTable", "/?x"])
async def test_c20_its_url_says_nothing(tmp_path, path):
    async with items(tmp_path) as w:
        await refused(w, await ask(w, OPEN, target("GetItem"), path=path), Code.AMBIGUOUS_INPUT)


@pytest.mark.parametrize(
    ("body", "headers", "action"),
    [
        pytest.param(OPEN, [target("DeleteTable")], "api.drop", id="C18-plain"),
        pytest.param(OPEN, [target("getitem")], "api.aws.call", id="C18-case"),
        pytest.param(OPEN, ["X-Amz-Target: DynamoDB_20111205.GetItem"], "api.aws.call", id="C18-version"),
        pytest.param(b'{"TableName":"secret"}', [target("GetItem")], "api.get", id="C18-another-table"),
        pytest.param(b'{"TableName":"\\u006fpen "}', [target("GetItem")], "api.get", id="C18-space"),
    ],
)
async def test_another_target_is_another_action(tmp_path, body, headers, action):
    async with items(tmp_path) as w:
        assert acts(await refused(w, await ask(w, body, *headers), Code.DEFAULT_DENY)) == [action]


@pytest.mark.parametrize(
    "kind", [JSON, FORM, "Content-Type: text/plain", "X-None: 1", f"{AMZ}\r\nContent-Encoding: gzip"]
)
async def test_c18_other_kinds_of_content_never_leave_for_its_json(tmp_path, kind):
    async with items(tmp_path) as w:
        answer = await post(w, "/", OPEN, *kind.split("\r\n"), target("GetItem"))
        await refused(w, answer, Code.CONTENT_UNSUPPORTED)
