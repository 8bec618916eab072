import pytest

from proxy.credential.binding import BasicSurface, Binding, HeaderSurface, QuerySurface
from proxy.policy.catalogue import Service
from proxy.policy.operation import Group
from proxy.policy.service_file import parse_service
from tests.policy.worlds import TICKETS

BARE = """\
name: api
hosts: [api.example.org]
owner: o@example.org
data_owner: d@example.org
sensitivity: public
environments: [development]
"""


def parsed(text):
    result = parse_service(text if isinstance(text, bytes) else text.encode(), "services/api.yaml")
    assert isinstance(result, Service), [str(problem) for problem in result]
    return result


def test_a_whole_file_is_read():
    service = parsed(TICKETS)
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
        (BARE.replace("name: api", "name: Api"), 1, "name: String should match"),
        (BARE.replace("[development]", "[]"), 6, "environments:"),
        (BARE.replace("public", "secret"), 5, "sensitivity:"),
        (BARE.replace("[api.example.org]", "[]"), 2, "hosts:"),
        (BARE.replace("[api.example.org]", "[API.example.org]"), 2, "write api.example.org"),
        (BARE.replace("[api.example.org]", '["*.org"]'), 2, "two labels"),
        (BARE.replace("[api.example.org]", '["*.10.0.0.1"]'), 2, "two labels"),
        (BARE.replace("[api.example.org]", "[a_b.example.org]"), 2, "not a DNS name"),
        (BARE.replace("[api.example.org]", '["[::1]:443"]'), 2, "brackets"),
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
