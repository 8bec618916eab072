"""The verbs that read a log: replay, suggest, unused; the log is one that a sidecar wrote."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from proxy.cli.policy import app
from proxy.store.bundles import pack, unpack
from tests.support import demo_rules
from tests.support.world import world

CALLS = (
    ("GET", "/x"),
    ("GET", "/v1/orders/17"),
    ("GET", "/v1/orders/18"),
    ("POST", "/v1/orders"),
    ("DELETE", "/v1/orders/17"),
)
POLICIES = (demo_rules.permit("all", actions=("read", "write")), demo_rules.forbid("nodel"))


def run(*words: object):
    return CliRunner().invoke(app, list(map(str, words)))


def rows(result) -> list[dict[str, str]]:
    head, *lines = [line.split("\t") for line in result.stdout.splitlines()]
    return [dict(zip(head, line, strict=True)) for line in lines]


def objects(result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
async def recorded(tmp_path) -> Path:
    """A directory with the rules and the log of some calls."""
    async with world(tmp_path, policies=POLICIES) as w:
        for method, path in CALLS:
            await w.call(path, method=method)
    return tmp_path


@pytest.fixture
async def observed(tmp_path) -> Path:
    async with world(tmp_path, observe=True) as w:
        for method, path in CALLS:
            await w.call(path, method=method)
    (tmp_path / "none").mkdir()
    return tmp_path


def log_of(directory: Path) -> Path:
    return directory / "state" / "log"


def other_rules(directory: Path, *policies: str) -> Path:
    shutil.copytree(directory / "rules", directory / "other")
    (directory / "other" / "policies" / "test.cedar").write_text("\n".join(policies))
    return directory / "other"


async def test_a_log_replays_under_its_own_rules(recorded):
    result = run("replay", "--log", log_of(recorded))
    assert result.exit_code == 0, result.output
    assert [(row["class"], row["calls"], row["why"]) for row in rows(result)] == [("MATCH", "5", "")]
    assert "5 decisions: 5 MATCH, 0 MISMATCH, 0 UNREPLAYABLE" in result.stderr
    summary = objects(run("replay", "--log", log_of(recorded), "--json"))[-1]
    assert summary == {"kind": "summary", "MATCH": 5, "MISMATCH": 0, "UNREPLAYABLE": 0, "not asked": 0}


async def test_an_altered_bundle_is_no_match(recorded):
    (bundle,) = (log_of(recorded) / "policy").iterdir()
    whole = bundle.read_bytes()
    files = unpack(whole)
    for altered in (
        pack({**files, "policies/test.cedar": files["policies/test.cedar"] + b" "}),
        pack({}),
        b"no archive",
        None,
    ):
        bundle.unlink(missing_ok=True)
        if altered is not None:
            bundle.write_bytes(altered)
        result = run("replay", "--log", log_of(recorded), "--json")
        assert result.exit_code == 1
        assert objects(result)[-1]["UNREPLAYABLE"] == 5
    bundle.write_bytes(whole)
    assert run("replay", "--log", log_of(recorded)).exit_code == 0


async def test_what_other_rules_would_change(recorded):
    wide = other_rules(recorded, demo_rules.permit("wide", actions=("read", "delete")))
    result = run("replay", "--log", log_of(recorded), "--rules", wide)
    assert result.exit_code == 1
    assert [
        (row["change"], row["action"], row["recorded"], row["then"], row["calls"]) for row in rows(result)
    ] == [
        ("newly allowed", "api.http.delete", "deny nodel", "allow wide", "1"),
        ("newly denied", "api.http.write", "allow all", "deny", "1"),
        ("other rule", "api.http.read", "allow all", "allow wide", "3"),
    ]
    assert "5 decisions replayed: 1 newly allowed, 1 newly denied, 3 other rule" in result.stderr
    told = objects(run("replay", "--log", log_of(recorded), "--rules", wide, "--json"))
    assert told[0]["change"] == "newly allowed"
    assert told[-1]["newly allowed"] == 1
    none = objects(run("replay", "--log", log_of(recorded), "--rules", wide, "--json", "--agent", "nobody"))
    assert none[-1]["same"] == 0


async def test_the_same_rules_change_nothing(recorded):
    result = run("replay", "--log", log_of(recorded), "--rules", recorded / "rules", "--since", "1h")
    assert (result.exit_code, rows(result)) == (0, [])
    assert "5 same" in result.stderr
    late = run(
        "replay", "--log", log_of(recorded), "--rules", recorded / "rules", "--since", "2100-01-01T00:00:00Z"
    )
    assert "there are none" in late.stderr


async def test_the_least_rules_are_suggested(recorded):
    new = recorded / "new"
    result = run("suggest", "--log", log_of(recorded), "--rules", recorded / "rules", "--write", new)
    assert result.exit_code == 0, result.output
    assert '-@id("all")' in result.stdout
    assert '+    Action::"api.v1.orders.id.get", // 2 calls' in result.stdout
    assert "4 other rule" in result.stderr
    assert run("check", "--rules", new).exit_code == 0
    tested = run("test", "--rules", new)
    assert (tested.exit_code, tested.stdout) == (0, "4 cases passed\n")
    assert run("replay", "--log", log_of(recorded), "--rules", new).exit_code == 0
    again = run("suggest", "--log", log_of(recorded), "--rules", new, "--write", new)
    assert (again.exit_code, "is there already" in again.stderr) == (2, True)


async def test_present_permits_stay_if_not_all_calls_are_looked_at(recorded):
    result = run("suggest", "--log", log_of(recorded), "--rules", recorded / "rules", "--agent", "tester")
    assert result.exit_code == 0
    assert "the present permits stay" in result.stderr
    assert "-@id" not in result.stdout
    replaced = run(
        "suggest", "--log", log_of(recorded), "--rules", recorded / "rules", "--agent", "tester", "--replace"
    )
    assert '-@id("all")' in replaced.stdout


async def test_present_cases_that_no_longer_hold_are_named(recorded):
    cases = recorded / "rules" / "cases"
    cases.mkdir()
    (cases / "a.yaml").write_text(
        'cases: [{name: patching, agent: tester, request: {method: PATCH, url: "https://api.test/x"}, expect: allow}]'
    )
    result = run(
        "suggest", "--log", log_of(recorded), "--rules", recorded / "rules", "--write", recorded / "new"
    )
    assert "cases/a.yaml:1: patching: expected allow, it is deny" in result.stderr
    assert (recorded / "new" / "cases" / "a.yaml").read_bytes() == (cases / "a.yaml").read_bytes()


async def test_a_suggestion_as_json(recorded):
    told = objects(run("suggest", "--log", log_of(recorded), "--rules", recorded / "rules", "--json"))
    permits = [row for row in told if row["kind"] == "permit"]
    assert [row["actions"] for row in permits] == [
        {"api.v1.orders.id.get": 2, "api.v1.orders.post": 1, "api.x.get": 1}
    ]
    assert {row["name"] for row in told if row["kind"] == "file"} == {
        "cases/suggested.yaml", "policies/suggested.cedar", "policies/test.cedar", "services/api.yaml",
    }  # fmt: skip
    assert told[-1]["kind"] == "summary"


async def test_rules_out_of_nothing(observed):
    new = observed / "new"
    result = run("suggest", "--log", log_of(observed), "--rules", observed / "none", "--write", new)
    assert result.exit_code == 0, result.output
    assert "new operations: 4" in result.stderr
    assert sorted(path.relative_to(new).as_posix() for path in new.rglob("*.*")) == [
        "agents.yaml", "cases/suggested.yaml", "policies/suggested.cedar", "services/api.yaml",
    ]  # fmt: skip
    assert run("test", "--rules", new, "--coverage").exit_code == 0
    replayed = run("replay", "--log", log_of(observed), "--rules", new)
    assert (replayed.exit_code, "5 other rule" in replayed.stderr) == (0, True)
    assert run("replay", "--log", log_of(observed)).exit_code == 0


async def test_nothing_to_learn_from(observed):
    result = run("suggest", "--log", log_of(observed), "--rules", observed / "none", "--agent", "nobody")
    assert (result.exit_code, "no allowed calls" in result.stderr) == (1, True)


async def test_what_was_never_used(recorded):
    policies = [
        *POLICIES,
        '@id("more") permit (principal, action, resource) when { context.task.scopes.contains("x") };',
    ]
    other = other_rules(recorded, *policies)
    result = run("unused", "--log", log_of(recorded), "--rules", other)
    assert result.exit_code == 0
    assert [
        (row["kind"], row["name"], row["calls"], row["last used"] == "never") for row in rows(result)
    ] == [
        ("permit", "more", "0", True),
        ("scope", "x", "0", True),
        ("service", "api", "4", False),
        ("permit", "all", "4", False),
        ("agent", "tester", "4", False),
    ]
    assert "2 of 5 were never used" in result.stderr
    told = objects(run("unused", "--log", log_of(recorded), "--rules", other, "--json"))
    assert told[0] == {"kind": "permit", "name": "more", "calls": 0, "last_used": None}


async def test_operations_that_were_never_used_are_counted(recorded):
    service = (recorded / "rules" / "services" / "api.yaml").read_bytes()
    other = other_rules(recorded, *POLICIES)
    (other / "services" / "api.yaml").write_bytes(
        json.dumps(
            {**json.loads(service), "operations": {"never": {"group": "read", "method": "GET", "path": "/n"}}}
        ).encode()
    )
    words = ("unused", "--log", log_of(recorded), "--rules", other)
    result = run(*words)
    assert "1 of 4 were never used; 1 of them is an operation, which --all lists" in result.stderr
    assert "api.never" not in result.stdout
    assert rows(run(*words, "--all"))[0]["name"] == "api.never"
    assert objects(run(*words, "--json"))[0]["name"] == "api.never"


def test_wrong_words(tmp_path):
    rules = demo_rules.write_rules(tmp_path / "rules")
    for words, line in (
        (["replay", "--log", tmp_path], "there is no log in"),
        (["suggest", "--log", tmp_path, "--rules", rules], "there is no log in"),
        (["unused", "--log", tmp_path, "--rules", rules], "there is no log in"),
        (["unused", "--log", tmp_path, "--rules", tmp_path / "no"], "there is no directory"),
    ):
        result = run(*words)
        assert (result.exit_code, line in result.stderr) == (2, True), result.output


async def test_since_is_a_duration_or_a_time(recorded):
    result = run("replay", "--log", log_of(recorded), "--since", "yesterday")
    assert (result.exit_code, "--since takes a duration" in result.stderr) == (2, True)


async def test_rules_that_do_not_load_are_not_replayed(recorded):
    broken = other_rules(recorded, "permit (principal, action, resource);")
    result = run("replay", "--log", log_of(recorded), "--rules", broken)
    assert (result.exit_code, f"{broken}/policies/test.cedar:1: a policy needs a name" in result.stderr) == (
        2,
        True,
    )
