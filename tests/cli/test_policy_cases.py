import json
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from proxy.cli.policy import app
from tests.cli.test_policy import SHIPPED
from tests.support import demo_rules

GET = 'request: {method: GET, url: "https://api.test/x"}'
DELETE = 'request: {method: DELETE, url: "https://api.test/x"}'
POLICIES = (demo_rules.permit("reading"), demo_rules.forbid("no-delete"))


def run(*words):
    return CliRunner().invoke(app, ["test", *map(str, words)])


@pytest.fixture
def rules(tmp_path):
    directory = demo_rules.write_rules(tmp_path / "rules", policies=POLICIES)
    (directory / "cases").mkdir()
    return directory


def write(rules, **files):
    for name, cases in files.items():
        lines = "".join(f"  - {{agent: tester, {case}}}\n" for case in cases)
        (rules / "cases" / f"{name}.yaml").write_text(f"cases:\n{lines}")


READS = f"name: reads, {GET}, expect: allow, rule: reading, action: api.http.read"
DELETES = f"name: deletes, {DELETE}, expect: deny, rule: no-delete"
WRONG = f"name: wrong, {GET}, expect: deny, rule: no-delete"


def test_the_shipped_rules_pass_their_own_cases():
    result = run("--rules", SHIPPED, "--coverage")
    assert result.exit_code == 0, result.output


def test_cases_that_pass(rules):
    write(rules, a=[READS], b=[DELETES])
    result = run("--rules", rules)
    assert (result.exit_code, result.stdout) == (0, "2 cases passed\n")


def test_cases_that_fail(rules):
    write(rules, a=[READS, WRONG])
    result = run("--rules", rules)
    assert result.exit_code == 1
    head, *lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert head == ["case", "at", "not as expected", "is", "spoke", "detail"]
    place = f"{rules}/cases/a.yaml:3"
    assert lines == [
        ["wrong", place, "expected deny, it is allow", "allow", "reading", ""],
        ["wrong", place, "expected the rule no-delete to speak; it was reading", "allow", "reading", ""],
    ]
    assert "1 of 2 cases are not as expected" in result.stderr


def test_some_of_the_cases(rules):
    write(rules, good=[READS], bad=[WRONG])
    for name in ("reads", "r*", "good", "good.yaml"):
        assert run("--rules", rules, name).exit_code == 0
    assert run("--rules", rules, "wrong").exit_code == 1
    result = run("--rules", rules, "none")
    assert (result.exit_code, "no case is called none" in result.stderr) == (1, True)


def test_results_for_machines(rules, tmp_path):
    write(rules, a=[READS, WRONG])
    result = run("--rules", rules, "--json", "--junit", tmp_path / "out.xml")
    assert result.exit_code == 1
    good, bad = [json.loads(line) for line in result.stdout.splitlines()]
    assert (good["passed"], good["rules"], good["actions"]) == (True, ["reading"], ["api.http.read"])
    assert (bad["passed"], bad["line"], bad["effect"]) == (False, 3, "allow")
    root = ET.fromstring((tmp_path / "out.xml").read_bytes())
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    lost = run("--rules", rules, "--junit", tmp_path / "no" / "out.xml")
    assert (lost.exit_code, "out.xml: No such file" in lost.stderr) == (2, True)


def test_coverage(rules):
    write(rules, a=[READS])
    result = run("--rules", rules, "--coverage")
    assert result.exit_code == 1
    head, *lines = [line.split("\t") for line in result.stdout.splitlines()[:-1]]
    assert head == ["rule", "speaks in", "just missed by", "wanted"]
    assert lines == [
        ["reading", "1", "0", "a case that it just misses"],
        ["no-delete", "0", "1", "a case in which it speaks"],
    ]
    told = [json.loads(line) for line in run("--rules", rules, "--coverage", "--json").stdout.splitlines()]
    assert [row["rule"] for row in told if row["kind"] == "uncovered"] == ["reading", "no-delete"]
    write(rules, a=[READS, DELETES])
    assert run("--rules", rules, "--coverage").exit_code == 0


def test_cases_that_do_not_read_are_trouble(rules):
    (rules / "cases" / "a.yaml").write_text("cases: 7\n")
    (rules / "cases" / "b.txt").write_text("")
    (rules / "cases" / "README.md").write_text("")
    result = run("--rules", rules)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"gatepass: {rules}/cases/a.yaml:1: cases: Input should be a valid list",
        f"gatepass: {rules}/cases/b.txt: not read: files in cases/ end with .yaml",
    ]


def test_without_cases_or_rules(rules, tmp_path):
    result = run("--rules", rules)
    assert (result.exit_code, "there are no cases in" in result.stderr) == (2, True)
    result = run("--rules", tmp_path / "none")
    assert (result.exit_code, "there is no directory" in result.stderr) == (2, True)
    (rules / "policies" / "test.cedar").write_text("permit (")
    result = run("--rules", rules)
    assert (result.exit_code, f"{rules}/policies/test.cedar:1: not a Cedar policy" in result.stderr) == (
        2,
        True,
    )
