from json import dumps

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credential.binding import BasicSurface, Binding, EitherHeader, HeaderSurface, QuerySurface
from proxy.http.canonical import Host, HostKind, parse_host
from proxy.policy.catalogue import Service
from proxy.policy.fact import Protocol
from proxy.policy.operation import Group
from proxy.policy.service_file import parse_service
from tests.policy.worlds import TICKETS
from tests.policy.worlds_catalogue import BARE, FULL, parsed


def test_a_whole_file_is_read():
    service = parsed(TICKETS.decode())
    assert service.hosts == ("tickets.example.org", "*.tickets.example.org")
    assert (service.schemes, service.ports) == (("https",), (443,))
    reply = next(operation for operation in service.operations if operation.id == "tickets.reply")
    assert (reply.group, reply.methods) == (Group.WRITE, ("POST", "PUT"))
    assert service.credential == Binding("tickets", "env", "TICKETS_KEY", HeaderSurface(), ("TICKETS_KEY",))


@pytest.mark.parametrize(
    ("yaml", "binding"),
    [
        ("provider: env, name: K", Binding("api", "env", "K", HeaderSurface("Authorization", "Bearer {secret}"), ("K",))),
        ('provider: file, name: /k, header: {name: X-Key, format: "{secret}"}',
         Binding("api", "file", "/k", HeaderSurface("X-Key", "{secret}"), ())),
        ("provider: env, name: K, basic: {username: bot}, variables: [A, B]",
         Binding("api", "env", "K", BasicSurface("bot", "password"), ("A", "B"))),
        ("provider: env, name: K, basic: {where: username}", Binding("api", "env", "K", BasicSurface(None, "username"), ("K",))),
        ("provider: env, name: K, query: {parameter: key}", Binding("api", "env", "K", QuerySurface("key"), ("K",))),
        ('provider: env, name: K, headers: [{name: X-Key, format: "{secret}"}, {}]',
         Binding("api", "env", "K", EitherHeader((HeaderSurface("X-Key", "{secret}"), HeaderSurface())), ("K",))),
    ],
)  # fmt: skip
def test_each_place_of_a_credential(yaml, binding):
    assert parsed(BARE + f"credential: {{{yaml}}}\n").credential == binding


def test_ports_follow_the_schemes():
    assert parsed(BARE + "schemes: [http]\n").ports == (80,)
    assert parsed(BARE + "schemes: [http]\nports: [8080]\n").ports == (8080,)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (BARE + "colour: red\n", 7, "colour: this key is not known here"),
        (BARE.replace("name: api", "name: http"), 1, "name: http is a name of gatepass itself"),
        (BARE.replace("name: api", "name: write"), 1, "name: write is a name of gatepass itself"),
        (BARE.replace("name: api", "name: Api"), 1, "name: String should match"),
        (BARE.replace("[development]", "[]"), 6, "environments:"),
        (BARE.replace("public", "secret"), 5, "sensitivity:"),
        (BARE.replace("[api.example.org]", "[]"), 2, "hosts:"),
        (BARE.replace("[api.example.org]", "[API.example.org]"), 2, "write api.example.org"),
        (BARE.replace("[api.example.org]", '["*.org"]'), 2, "two labels"),
        (BARE.replace("[api.example.org]", '["*.10.0.0.1"]'), 2, "two labels"),
        (BARE.replace("[api.example.org]", "[a_b.example.org]"), 2, "not a DNS name"),
        (BARE.replace("[api.example.org]", '["[::1]:443"]'), 2, "brackets"),
        (BARE.replace("[api.example.org]", '["*api.example.org"]'), 2, "not a DNS name"),
        (BARE.replace("[api.example.org]", '["*.*.example.org"]'), 2, "not a DNS name"),
        (BARE.replace("[api.example.org]", '["*"]'), 2, "not a DNS name"),
        (BARE.replace("[api.example.org]", "[api.example.org.]"), 2, "write api.example.org"),
        (BARE + "protocol: soap\n", 7, "protocol:"),
        (BARE + "endpoints: {graphql: graphql}\n", 7, "endpoints: not a canonical path"),
        (BARE + 'endpoints: {"/{x}": mcp, "/{y}": graphql}\n', 7, "endpoints /{x} and /{y} match the same paths"),
        (BARE + 'protocol: aws-query\nendpoints: {"/j": aws-json}\n', 8, "aws-query or aws-json, not both"),
        (BARE + "protocol: graphql\npersisted_queries:\n  abc: query\n", 9, "persisted_queries.abc"),
        (BARE + f"protocol: graphql\npersisted_queries:\n  {'a' * 64}: query\n", 9, "not the SHA-256 of this text"),
        (BARE + "operations:\n  a: {group: read, method: GET, path: /}\n  x.y.z.a.b.c.d.e.f: {group: read, method: GET, path: /a}\n",
         9, "operations.x.y"),
        (BARE + "protocol: mcp\noperations:\n  a: {group: read, tool: x*}\n  b: {group: write, tool: x*}\n",
         10, "operations.b: api.a and api.b match the same requests"),
        (BARE + "ports: ['443']\n", 7, "ports.0:"),
        (BARE + "operations:\n  x: {group: red, method: GET, path: /}\n", 8, "operations.x.group"),
        (BARE + "operations:\n  x: {group: read, method: get, path: /}\n", 8, "in capitals"),
        (BARE + "operations:\n  x: {group: read, method: [], path: /}\n", 8, "in capitals"),
        (BARE + "operations:\n  x: {group: read, method: GET, path: /../}\n", 8, "canonical"),
        (BARE + 'operations:\n  a: {group: read, method: GET, path: "/{x}"}\n  b: {group: read, method: GET, path: "/{y}"}\n',
         9, "operations.b: api.a and api.b match the same requests"),
        (BARE + "credential: {provider: env, name: K, basic: {}, query: {parameter: q}}\n", 7, "one place"),
        (BARE + "credential: {provider: file, name: k}\n", 7, "absolute"),
        (BARE + "credential: {provider: env, name: 'a b'}\n", 7, "environment variable"),
        (BARE + "credential: {provider: env, name: K, header: {format: x}}\n", 7, "exactly one {secret}"),
        (BARE + "credential: {provider: env, name: K, header: {name: Host}}\n", 7, "cannot carry"),
        (BARE + "credential: {provider: env, name: K, headers: [{}]}\n", 7, "at least two headers"),
        (BARE + "credential: {provider: env, name: K, header: {}, headers: [{}, {name: X-Key}]}\n", 7, "one place"),
        (BARE + "credential: {provider: env, name: K, basic: {username: 'a:b'}}\n", 7, "colon"),
        (BARE + "credential: {provider: env, name: K, basic: {username: a, where: username}}\n", 7, "cannot be fixed"),
        ("[]\n", 1, "valid dictionary"),
        ("", None, "valid dictionary"),
        ("a: [\n", 2, ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(text, line, words):
    problems = parse_service(text.encode(), "services/api.yaml")
    assert isinstance(problems, list)
    assert [problem.line for problem in problems] == [line]
    assert words in problems[0].message


def test_where_what_is_spoken():
    service = parsed(FULL)
    assert service.protocols == {
        Protocol.REST, Protocol.GRAPHQL, Protocol.MCP, Protocol.GRPC, Protocol.AWS_JSON,
    }  # fmt: skip
    assert service.protocol_at("/graphql") is Protocol.GRAPHQL
    assert service.protocol_at("/shop.v1.Cart/Pay") is Protocol.GRPC
    assert service.protocol_at("/graphql/x") is Protocol.REST
    assert parsed(BARE + "protocol: mcp\n").protocol_at("/x") is Protocol.MCP


def test_persisted_queries_are_kept_by_their_hash():
    queries = parsed(FULL).persisted_queries
    assert list(queries.values()) == ["query { viewer { login } }"]
    wrong = FULL.replace("viewer { login }", "viewer { email }")
    problems = parse_service(wrong.encode(), "f")
    assert isinstance(problems, list)
    assert [problem.message for problem in problems] == [
        f"persisted_queries.{next(iter(queries))}: not the SHA-256 of this text"
    ]
    elsewhere = BARE + f'persisted_queries: {{{next(iter(queries))}: "query {{ viewer {{ login }} }}"}}\n'
    problems = parse_service(elsewhere.encode(), "f")
    assert [str(problem) for problem in problems] == ["f:7: persisted_queries: graphql is not spoken here"]


def test_every_problem_between_the_parts_is_reported():
    text = BARE + "operations:\n  a: {group: read, tool: x}\n  b: {group: read, rpc: x}\n"
    problems = parse_service(text.encode(), "f")
    assert [problem.line for problem in problems] == [8, 9]


@given(st.text("*.ab-xn_[]:1é ", max_size=20))
def test_a_host_pattern_is_canonical_or_refused(text):
    result = parse_service(BARE.replace("[api.example.org]", dumps([text])).encode(), "f")
    if isinstance(result, list):
        return
    assert result.hosts == (text,)
    host = parse_host(text.removeprefix("*.").encode())
    assert isinstance(host, Host)
    assert str(host) == text.removeprefix("*.")
    assert not text.startswith("*.") or (host.kind is HostKind.NAME and "." in host.name)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: (BARE + text).encode()))
def test_whatever_the_file_holds_reading_it_never_raises(data):
    result = parse_service(data, "f")
    assert isinstance(result, Service) or all(problem.file == "f" for problem in result)
