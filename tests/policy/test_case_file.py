import json

from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code
from proxy.identity.principal import Agent
from proxy.policy.case_file import DEFAULT_TIME, Case, CaseTask, Effect, parse_cases

WHOLE = b"""\
cases:
  - name: everything
    agent: coder
    task:
      {scopes: [b, a], purpose: p, services: [github], on_behalf_of: ada, ticket: T, approver: grace,
       environment: staging, delegated: true}
    request: {method: POST, url: "https://api.github.com/x?y=1", json: {a: 1}, headers: {X-A: [a, b]}}
    time: "2026-01-31T12:00:00Z"
    budgets: {hourly: 99}
    approved: true
    expect: deny
    rule: [one, two]
    action: github.x
    code: policy_deny
  - name: a tool
    agent: coder
    mcp: {url: "https://mcp.example.org/mcp", tool: erase, arguments: {all: true}}
    expect: hold
  - name: a query
    agent: coder
    graphql: {url: "https://api.github.com/graphql", query: "{ viewer { login } }", variables: {a: 1}, operation: Q}
    expect: allow
"""


def read(data: bytes) -> list[Case]:
    cases = parse_cases(data, "cases/x.yaml")
    assert all(isinstance(case, Case) for case in cases), [str(case) for case in cases]
    return cases


def one(text: str) -> Case:
    return read(b"cases:\n  - {name: n, agent: a, expect: allow, " + text.encode() + b"}\n")[0]


def problems(text: str) -> list[str]:
    return [str(problem) for problem in parse_cases(text.encode(), "x")]


def test_everything():
    whole, tool, query = read(WHOLE)
    assert whole == Case(
        name="everything",
        file="cases/x.yaml",
        line=2,
        agent="coder",
        made_up=None,
        task=CaseTask(("a", "b"), "p", ("github",), "ada", "T", "grace", "staging", delegated=True),
        method="POST",
        url="https://api.github.com/x?y=1",
        headers=((b"X-A", b"a"), (b"X-A", b"b"), (b"Content-Type", b"application/json")),
        body=b'{"a":1}',
        time=1_769_860_800,
        budgets={"hourly": 99},
        approved=True,
        expect=Effect.DENY,
        rules=("one", "two"),
        actions=("github.x",),
        code=Code.POLICY_DENY,
    )
    assert (tool.line, tool.method, tool.time, tool.task) == (15, "POST", DEFAULT_TIME, CaseTask())
    assert json.loads(tool.body) == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "erase", "arguments": {"all": True}},
    }
    assert json.loads(query.body) == {
        "query": "{ viewer { login } }",
        "variables": {"a": 1},
        "operationName": "Q",
    }
    assert dict(query.headers)[b"Content-Type"] == b"application/json"


def test_agents_that_are_made_up():
    tail = b"cases:\n  - {name: n, agent: a, expect: allow, request: {method: GET, url: u}}\n"
    (case,) = read(b"agents: {a: {environment: staging, tier: low}, b: {}}\n" + tail)
    assert case.made_up == Agent("a", "staging", "low", "owner@example.org", "owner@example.org")
    (other,) = read(b"agents: {b: {}}\n" + tail)
    assert other.made_up is None


def test_contents():
    request = "request: {method: POST, url: u, %s}"
    none = one("request: {method: GET, url: u}")
    assert (none.body, none.headers) == (None, ())
    null = one(request % "json: ~")
    assert (null.body, null.headers) == (b"null", ((b"Content-Type", b"application/json"),))
    form = one(request % "form: {a: b c}")
    assert (form.body, form.headers) == (b"a=b+c", ((b"Content-Type", b"application/x-www-form-urlencoded"),))
    text = one(request % 'body: "{", content_type: text/plain')
    assert (text.body, text.headers) == (b"{", ((b"Content-Type", b"text/plain"),))
    own = one(request % "json: 1, headers: {content-type: a/b}")
    assert own.headers == ((b"content-type", b"a/b"),)


def test_problems_have_lines():
    for text, words in {
        "cases: 7": "x:1: cases: Input should be a valid list",
        "cases:\n  - {name: n, agent: a, expect: allow}": "x:2: cases.0: one of request, mcp and graphql",
        "cases:\n  - name: n\n    agent: a\n    expect: maybe\n    request: {method: GET, url: u}": "x:4: cases.0.expect: one of allow, deny, hold",
        "cases:\n  - {name: n, agent: a, expect: deny, code: no, request: {method: G, url: u}}": "x:2: cases.0.code: there is no reason code no",
        "cases:\n  - {name: n, agent: a, expect: allow, code: policy_deny, request: {method: G, url: u}}": "x:2: cases.0: code: what is allowed has none",
        "cases:\n  - {name: n, agent: a, expect: allow, time: noon, request: {method: G, url: u}}": "x:2: cases.0.time: a time is POSIX seconds, or looks like 2026-01-31T12:00:00Z",
        "cases:\n  - {name: n, agent: a, expect: allow, request: {method: G, url: u, json: 1, body: x}}": "x:2: cases.0.request: one content at most: json, form or body",
        "cases:\n  - {name: n, agent: a, expect: allow, request: {method: G, url: u, json: .nan}}": "x:2: cases.0.request.json: Out of range float values are not JSON compliant",
        "cases:\n  - {name: n, agent: a, expect: allow, typo: 1, request: {method: G, url: u}}": "x:2: cases.0.typo: this key is not known here",
        'cases:\n  - {name: n, agent: a, expect: allow, request: {method: G, url: u, body: "\\uD800"}}': "x:2: cases.0",
    }.items():
        assert any(problem.startswith(words) for problem in problems(text)), (text, problems(text))


def test_a_name_stands_once():
    case = "  - {name: n, agent: a, expect: allow, request: {method: G, url: u}}\n"
    assert problems("cases:\n" + case + case) == ["x:3: a case 'n' stands already in line 2"]


def test_times():
    for text, seconds in (
        ("7", 7),
        ("1970-01-01T01:00:00+01:00", 0),
        ('"2026-01-01T00:00:00Z"', DEFAULT_TIME),
    ):
        assert (
            one(
                f"time: {text if text.isdigit() else json.dumps(text.strip(chr(34)))}, request: {{method: G, url: u}}"
            ).time
            == seconds
        )
    for text in ("-1", '"2026-01-01"', '"2026-01-01T00:00:00"', "9007199254740992", "true"):
        assert problems(
            f"cases:\n  - {{name: n, agent: a, expect: allow, time: {text}, request: {{method: G, url: u}}}}"
        )


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(values)
def test_content_is_sent_as_it_is_written(value):
    written = {
        "cases": [
            {
                "name": "n",
                "agent": "a",
                "expect": "allow",
                "request": {"method": "POST", "url": "u", "json": value},
            }
        ]
    }
    (case,) = read(json.dumps(written, ensure_ascii=False).encode()) if _plain(written) else (None,)
    if case is not None:
        assert json.loads(case.body) == value


def _plain(written) -> bool:
    return json.dumps(written, ensure_ascii=False).replace("\\n", "").isprintable()


@given(st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_never_raises(data):
    parse_cases(data, "x")
