"""What is approved of a content: all of it, but for what a client numbers anew each time it sends the same."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.catalogue import Service
from proxy.policy.repeatable import content_sha256
from proxy.policy.service_file import parse_service


def service(protocol: str) -> Service:
    found = parse_service(
        f"""
name: tools
hosts: [tools.test]
protocol: {protocol}
owner: ada
data_owner: grace
sensitivity: internal
environments: [development]
endpoints: {{"/other": rest}}
""".encode(),
        "services/tools.yaml",
    )
    assert isinstance(found, Service), found
    return found


MCP, REST = service("mcp"), service("rest")


def approved(content: bytes, at: Service | None = MCP, path: str = "/mcp") -> str:
    return content_sha256(at, path, content)


def call(number: object, amount: int = 1, **meta: object) -> bytes:
    params = {"name": "pay", "arguments": {"amount": amount, "id": 7}, "_meta": meta}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()


def test_the_same_call_under_another_number_is_the_same():
    assert approved(call(1)) == approved(call(2)) == approved(call("a"))
    assert approved(call(1, progressToken=1)) == approved(call(2, progressToken=2))


@pytest.mark.parametrize(
    "other",
    [
        call(1, 2),
        call(1, other=1),
        call(1, progressToken=1),
        call(1).replace(b'"id": 7', b'"id": 8'),
        call(1).replace(b'"id": 1, ', b""),
        call(1).replace(b"tools/call", b"tools/list"),
        b"[" + call(1) + b"]",
    ],
)
def test_anything_else_is_another_one(other):
    assert approved(other) != approved(call(1))


def test_batches_and_responses_are_taken_as_they_are():
    for content in (
        b"[" + call(1) + b"]",
        b'{"jsonrpc": "2.0", "id": 1, "result": {}}',
        b'{"jsonrpc": "2.0", "id": 1, "id": 1, "method": "ping"}',
        b"",
        b"no JSON",
    ):
        assert approved(content) == sha256(content).hexdigest()


@given(st.binary(max_size=30) | st.just(call(1)))
def test_elsewhere_every_octet_counts(content):
    for digest in (
        approved(content, None),
        approved(content, REST),
        approved(content, MCP, "/other"),
    ):
        assert digest == sha256(content).hexdigest()
