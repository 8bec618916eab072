from proxy.policy.statement import Policy, Reference, parse_policies
from proxy.problems import Problem

TEXT = """\
// a comment; with a semicolon

@id("one") @reason("say \\"no\\"; // not a comment")
permit (principal, action, resource)
when { context.request.path == "a;b" };  // trailing; comment
@id("two") forbid (principal == Agent::"coder", action, resource in Host::"a.example.org") when { principal in Tier::"low" };
// the end
"""


def test_statements_keep_their_lines_and_names():
    one, two = parse_policies(TEXT.encode(), "policies/a.cedar")
    assert isinstance(one, Policy)
    assert isinstance(two, Policy)
    assert (one.id, one.effect, one.line, one.reason) == ("one", "permit", 3, 'say "no"; // not a comment')
    assert (two.id, two.effect, two.line, two.file) == ("two", "forbid", 6, "policies/a.cedar")
    assert two.references() == {
        Reference("Agent", "coder"),
        Reference("Host", "a.example.org"),
        Reference("Tier", "low"),
    }


def test_nothing_is_no_policy():
    assert parse_policies(b"", "f") == parse_policies(b" \n// only; words", "f") == []


def problems(text):
    found = parse_policies(text if isinstance(text, bytes) else text.encode(), "f")
    assert all(isinstance(problem, Problem) for problem in found)
    return [(problem.line, problem.message) for problem in found]


def test_each_problem_has_its_line():
    ok = "permit (principal, action, resource)"
    assert problems(f"\n\n{ok};") == [(3, 'a policy needs a name: @id("...")')]
    assert problems(f'@id("") {ok};') == [(1, 'a policy needs a name: @id("...")')]
    assert "letters" in problems(f'@id("a b") {ok};')[0][1]
    assert "one line" in problems(f'@id("a") @reason("a\\nb") {ok};')[0][1]
    assert "templates" in problems('@id("a") permit (principal == ?principal, action, resource);')[0][1]
    assert problems(f'@id("a") {ok}')[0][0] == 1
    assert problems(f'@id("a") @id("b") {ok};')[0][1].startswith("not a Cedar policy")
    assert problems('\n@id("a") permit (principal, action, resource) when { "unclosed };')[0][0] == 2
    assert problems(b"\xff") == [(None, "not UTF-8")]
