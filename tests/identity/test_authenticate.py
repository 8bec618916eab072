"""``authenticate`` in rules/agents.yaml: each way reads, each error has its line."""

import pytest

from proxy.identity import ways
from proxy.identity.principal import Method
from proxy.identity.registry import Registry, parse_agents
from proxy.identity.ways import Way

HEAD = """\
agents:
  - id: coder
    environment: development
    tier: low
    authenticate:
"""
SPIFFE = "spiffe://example.org/coder"
GOOD = (
    HEAD
    + f"""\
      - method: session
      - method: listener
      - method: oidc
        issuer: github
        subject: "repo:acme/app:ref:refs/heads/main"
        claims:
          repository_owner: acme
          run_attempt: 1
          fork: false
      - method: jwt-svid
        id: {SPIFFE}
      - method: x509-svid
        id: {SPIFFE}
      - method: unix
        uid: 1000
        executable: /usr/bin/python3.11
"""
)


def read(text):
    registry = parse_agents(text.encode(), "agents.yaml")
    assert isinstance(registry, Registry), [str(problem) for problem in registry]
    return registry


def complaints(text):
    problems = parse_agents(text.encode(), "agents.yaml")
    assert isinstance(problems, list), "it was read"
    return problems


def test_every_way_reads():
    registry = read(GOOD)
    claims = {"repository_owner": "acme", "run_attempt": 1, "fork": False}
    subject = "repo:acme/app:ref:refs/heads/main"
    assert registry.ways("coder") == (
        Way(Method.SESSION),
        Way(Method.LISTENER),
        ways.token("github", subject, claims),
        ways.svid(SPIFFE, Method.JWT_SVID),
        ways.svid(SPIFFE, Method.X509_SVID),
        ways.process(1000, "/usr/bin/python3.11"),
    )
    assert [
        agent.id for agent in registry.by_token("github", subject, {**claims, "aud": ["x"], "sub": subject})
    ] == ["coder"]
    assert registry.by_token("github", subject, {**claims, "fork": True}) == ()
    assert registry.by_token("gitlab", subject, claims) == ()
    assert [agent.id for agent in registry.by_spiffe_id(SPIFFE, Method.JWT_SVID)] == ["coder"]
    assert [agent.id for agent in registry.by_process(1000, "/usr/bin/python3.11")] == ["coder"]
    assert registry.by_process(1000, "") == ()


def test_without_a_list_it_is_sessions_and_listeners():
    registry = read(HEAD.replace("    authenticate:\n", ""))
    assert [method for method in Method if registry.may_use("coder", method)] == [
        Method.SESSION,
        Method.LISTENER,
    ]
    assert not registry.external("coder")


def test_an_empty_list_is_no_way_at_all():
    registry = read(HEAD.replace("authenticate:", "authenticate: []"))
    assert not any(registry.may_use("coder", method) for method in Method)
    assert not registry.external("coder")


@pytest.mark.parametrize(
    ("entry", "method"),
    [
        ("{method: oidc, issuer: g, subject: s}", Method.OIDC),
        (f"{{method: jwt-svid, id: '{SPIFFE}'}}", Method.JWT_SVID),
        (f"{{method: x509-svid, id: '{SPIFFE}'}}", Method.X509_SVID),
        ("{method: unix, uid: 0}", Method.UNIX),
    ],
)
def test_only_what_is_listed_may_be_used(entry, method):
    registry = read(f"{HEAD}      - {entry}\n")
    assert [each for each in Method if registry.may_use("coder", each)] == [method]
    assert registry.external("coder")
    assert not registry.may_use("stranger", method)
    assert not registry.external("stranger")
    assert registry.ways("stranger") == ()


def test_an_svid_is_of_the_agent_s_own_id_unless_it_is_named():
    text = HEAD.replace("id: coder", f"id: {SPIFFE}") + "      - method: jwt-svid\n"
    assert [agent.id for agent in read(text).by_spiffe_id(SPIFFE, Method.JWT_SVID)] == [SPIFFE]
    assert read(text).by_spiffe_id(SPIFFE, Method.X509_SVID) == ()
    other = text + "        id: spiffe://example.org/pod/7\n"
    assert read(other).by_spiffe_id(SPIFFE, Method.JWT_SVID) == ()
    assert len(read(other).by_spiffe_id("spiffe://example.org/pod/7", Method.JWT_SVID)) == 1


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("method: session", "method: password", 6, "'session', 'listener'"),
        ("method: session", "method:", 6, "'session', 'listener'"),
        ("method: session", "{}", 6, "method: Field required"),
        ("method: session", "session", 6, "dictionary"),
        ("method: session", "method: session\n        token: x", 7, "not known"),
        ("issuer: github", "issuer: GitHub", 9, "pattern"),
        ("issuer: github", "issuer:", 9, "string"),
        ("        issuer: github\n", "", 8, "issuer: Field required"),
        ('subject: "repo:acme/app:ref:refs/heads/main"', "subject: ''", 10, "pattern"),
        ('subject: "repo:acme/app:ref:refs/heads/main"', "subject:", 10, "a value is missing"),
        ('subject: "repo:acme/app:ref:refs/heads/main"', "subject: 7", 10, "string"),
        ('subject: "repo:acme/app:ref:refs/heads/main"', "subjects: x", 10, "not known"),
        ("repository_owner: acme", "repository_owner: 1.5", 12, "a whole number"),
        ("repository_owner: acme", "repository_owner: [acme]", 12, "a whole number"),
        ("repository_owner: acme", "repository_owner:", 12, "a whole number"),
        ("repository_owner: acme", "repository_owner: ''", 12, "a whole number"),
        ("repository_owner: acme", "sub: x", 12, "say issuer and subject"),
        ("repository_owner: acme", "iss: x", 12, "say issuer and subject"),
        (f"jwt-svid\n        id: {SPIFFE}", "jwt-svid", 15, "name a SPIFFE ID: coder is none"),
        (f"x509-svid\n        id: {SPIFFE}", "x509-svid", 17, "name a SPIFFE ID: coder is none"),
        (f"jwt-svid\n        id: {SPIFFE}", "jwt-svid\n        id: coder", 16, "SPIFFE ID begins"),
        (
            f"jwt-svid\n        id: {SPIFFE}",
            "jwt-svid\n        id: spiffe://Example.org/x",
            16,
            "trust domain",
        ),
        (f"jwt-svid\n        id: {SPIFFE}", "jwt-svid\n        id:", 16, "a value is missing"),
        ("uid: 1000", "uid: -1", 20, "greater"),
        ("uid: 1000", "uid: 4294967295", 20, "less"),
        ("uid: 1000", "uid: '1000'", 20, "integer"),
        ("uid: 1000", "uid: true", 20, "integer"),
        ("        uid: 1000\n", "", 19, "uid: Field required"),
        ("executable: /usr/bin/python3.11", "executable: python3", 21, "absolute path"),
        ("executable: /usr/bin/python3.11", "executable: /usr/../bin/python3", 21, "absolute path"),
        ("executable: /usr/bin/python3.11", "executable: /usr//bin/python3", 21, "absolute path"),
        ("executable: /usr/bin/python3.11", "executable: /usr/bin/", 21, "absolute path"),
        ("executable: /usr/bin/python3.11", 'executable: "/usr/bin/a\\nb"', 21, "pattern"),
        ("executable: /usr/bin/python3.11", "executable:", 21, "a value is missing"),
        ("method: listener", "method: session", 7, "the same entry stands above, under coder"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_problem_names_its_line(old, new, line, words):
    assert GOOD.count(old) == 1
    (problem,) = complaints(GOOD.replace(old, new))
    assert (problem.line, words in problem.message) == (line, True), str(problem)


@pytest.mark.parametrize("entry", ["{method: oidc, issuer: g}", "{method: oidc, issuer: g, claims: {}}"])
def test_an_issuer_alone_is_everybody(entry):
    (problem,) = complaints(f"{HEAD}      - {entry}\n")
    assert problem.line == 6


def two(first, second):
    lines = HEAD.replace("authenticate:\n", f"authenticate: [{first}]\n")
    return lines + lines.replace("agents:\n", "").replace("id: coder", "id: other").replace(first, second)


S, T = "{method: oidc, issuer: g, subject: s}", "{method: oidc, issuer: g, subject: t}"
C, D = "{method: oidc, issuer: g, claims: {a: b}}", "{method: oidc, issuer: g, claims: {a: b, c: d}}"
S_AND_C = "{method: oidc, issuer: g, subject: s, claims: {a: b}}"
UID, EXE = "{method: unix, uid: 7}", "{method: unix, uid: 7, executable: /x}"
SVID = f"{{method: jwt-svid, id: '{SPIFFE}'}}"


@pytest.mark.parametrize("entry", [S, C, D, S_AND_C, UID, EXE, SVID])
def test_one_entry_under_two_agents_is_ambiguous(entry):
    (problem,) = complaints(two(entry, entry))
    assert problem.line == 9
    assert problem.message == "agents.1.authenticate.0: the same entry stands above, under coder"


@pytest.mark.parametrize(
    ("narrow", "wide"), [(D, C), (S_AND_C, S), (S_AND_C, C), (EXE, UID)], ids=lambda value: value[:40]
)
def test_an_entry_that_could_only_be_a_conflict_is_told(narrow, wide):
    for text, line, other in ((two(narrow, wide), 5, "other"), (two(wide, narrow), 9, "coder")):
        (problem,) = complaints(text)
        assert problem.line == line
        assert problem.message.endswith(f"whatever fits this fits {other} too, and would be refused")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (S, T),
        (S, C),
        (S, S.replace("g,", "h,")),
        (C, C.replace("b}", "true}")),
        (SVID, SVID.replace("jwt", "x509")),
        (EXE, EXE.replace("/x", "/y")),
        ("{method: session}", "{method: session}"),
    ],
)
def test_entries_that_differ_are_fine(one, other):
    assert len(read(two(one, other))) == 2


def test_what_fits_two_agents_is_both():
    registry = read(two(S, C))
    assert [agent.id for agent in registry.by_token("g", "s", {"a": ["x", "b"]})] == ["coder", "other"]


def test_nobody_proves_to_be_an_agent_with_another_s_id():
    text = HEAD.replace("authenticate:", "authenticate: []").replace("id: coder", f"id: {SPIFFE}")
    text += "".join(HEAD.splitlines(keepends=True)[1:]) + f"      - method: jwt-svid\n        id: {SPIFFE}\n"
    (problem,) = complaints(text)
    assert (problem.line, problem.message) == (
        11,
        f"agents.1.authenticate.0.id: {SPIFFE} is another agent",
    )
