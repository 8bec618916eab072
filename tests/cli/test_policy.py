import json
from pathlib import Path

from typer.testing import CliRunner

from proxy.cli.policy import app
from proxy.cli.rules import read_rules

SHIPPED = Path(__file__).parents[2] / "rules"


def run(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def write(directory, **files):
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def test_the_shipped_rules_are_fine():
    result = run("--rules", SHIPPED)
    assert result.exit_code == 0
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert lines[0] == ["kind", "name", "what"]
    assert {"github", "pypi"} <= {line[1] for line in lines if line[0] == "service"}
    assert not [line for line in lines if line[0] == "warning"]
    assert lines[-1][0] == "ruleset"


def test_the_summary_is_json_lines():
    result = run("--rules", SHIPPED, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert {row["kind"] for row in rows} == {"service", "policy", "ruleset", "counts"}
    counts = rows[-1]
    assert counts["services"] == sum(row["kind"] == "service" for row in rows)
    assert counts["permits"] + counts["forbids"] == sum(row["kind"] == "policy" for row in rows)
    assert (counts["agents"], counts["warnings"]) == (0, 0)


BROKEN = {
    "agents_DOT_yaml": "agents:\n  - id: a\n",
    "policies__a_DOT_cedar": '\npermit (principal, action, resource);\n@id("b") forbid (principal, action, resource',
    "services__s_DOT_yaml": "name: s\n",
}


def test_every_problem_is_printed_with_its_place(tmp_path):
    result = run("--rules", write(tmp_path, **BROKEN))
    assert result.exit_code == 1
    for place in ("agents.yaml:2: ", "policies/a.cedar:2: ", "policies/a.cedar:3: ", "services/s.yaml:1: "):
        assert f"{tmp_path}/{place}" in result.stdout


def test_problems_are_json_lines(tmp_path):
    result = run("--rules", write(tmp_path, **BROKEN), "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert {
        "kind": "error",
        "file": "policies/a.cedar",
        "line": 2,
        "message": 'a policy needs a name: @id("...")',
    } in rows


def test_agents_are_listed(tmp_path):
    entry = "{id: coder, environment: development, tier: low, business_owner: a, data_owner: b}"
    result = run("--rules", write(tmp_path, agents_DOT_yaml=f"agents: [{entry}]\n"))
    assert result.exit_code == 0
    assert "agent\tcoder\tlow, development, a" in result.stdout


def test_what_is_hardly_meant_is_a_warning(tmp_path):
    policy = '@id("a") permit (principal, action, resource) when { false };'
    result = run("--rules", write(tmp_path, policies__a_DOT_cedar=policy))
    assert result.exit_code == 0
    assert (
        "warning\tpolicies/a.cedar:1\ta: can never match: a condition is never true"
        in result.stdout.splitlines()
    )
    assert "warning\tpolicies/a.cedar:1\ta: nobody answers for this permit" in result.stdout
    assert "warnings: 2" in result.stderr


NAMED = "authenticate: [{method: oidc, issuer: github, subject: s}]"


def agents(*entries):
    return "agents:\n" + "".join(f"  - {{tier: low, {entry}}}\n" for entry in entries)


def unowned(name, environment):
    return f"id: {name}, environment: {environment}, business_owner: ada"


def test_an_agent_that_may_not_call_is_an_error(tmp_path):
    text = agents(unowned("a", "production"), unowned("b", "staging"))
    result = run("--rules", write(tmp_path, agents_DOT_yaml=text))
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{tmp_path}/agents.yaml:2: agents.0: a has no data_owner: in production its calls are refused",
        f"{tmp_path}/agents.yaml:3: warning: agents.1: b has no data_owner",
    ]
    result = run("--rules", tmp_path, "--json")
    assert result.exit_code == 1
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["kind"], row["file"], row["line"]) for row in rows] == [
        ("error", "agents.yaml", 2),
        ("warning", "agents.yaml", 3),
    ]


def test_an_agent_that_may_call_without_owners_is_a_warning(tmp_path):
    text = agents(unowned("a", "development"), "id: b, environment: staging")
    result = run("--rules", write(tmp_path, agents_DOT_yaml=text))
    assert result.exit_code == 0
    assert "warning\tagents.yaml:2\tagents.0: a has no data_owner" in result.stdout.splitlines()
    assert "agent\tb\tlow, staging, nobody" in result.stdout.splitlines()
    result = run("--rules", tmp_path, "--json")
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert rows[1] == {
        "kind": "warning",
        "file": "agents.yaml",
        "line": 3,
        "message": "agents.1: b has no business_owner and no data_owner",
    }


def test_services_of_a_ceiling_must_exist(tmp_path):
    entry = "id: a, environment: qa, business_owner: a, data_owner: b, ceiling: {services: [forge]}"
    result = run("--rules", write(tmp_path, agents_DOT_yaml=agents(entry)))
    assert result.exit_code == 1
    assert (
        f"{tmp_path}/agents.yaml:2: agents.0.ceiling.services.0: there is no services/ file" in result.stdout
    )


def test_issuers_must_be_configured(tmp_path, monkeypatch):
    rules = write(tmp_path / "rules", agents_DOT_yaml=agents(f"id: a, environment: staging, {NAMED}"))
    monkeypatch.chdir(tmp_path)
    result = run()
    assert result.exit_code == 0
    assert "warning\tagents.yaml\tissuers not looked for" in result.stdout

    config = tmp_path / "gatepass.yaml"
    config.write_text("identity: {issuers: []}\n")
    for result in (run(), run("--config", config, "--rules", rules)):
        assert result.exit_code == 1
        assert (
            "agents.yaml:2: agents.0.authenticate.0.issuer: gatepass.yaml has no issuer github"
            in result.stdout
        )

    issuer = "{name: github, issuer: 'https://token.actions.githubusercontent.com', audiences: [gatepass]}"
    config.write_text(f"identity: {{issuers: [{issuer}]}}\n")
    result = run()
    assert result.exit_code == 0
    assert "no issuer" not in result.stdout
    assert "not looked for" not in result.stdout

    config.write_text("identity: 7\n")
    result = run()
    assert (result.exit_code, "gatepass.yaml:1: identity" in result.stderr) == (2, True)


def test_a_broken_registry_makes_no_names_unknown(tmp_path):
    policy = '@id("a") permit (principal == Agent::"coder", action, resource);'
    result = run("--rules", write(tmp_path, agents_DOT_yaml="agents: 7\n", policies__a_DOT_cedar=policy))
    assert result.stdout.splitlines() == [f"{tmp_path}/agents.yaml:1: agents: Input should be a valid list"]


def test_without_a_directory_it_is_wrong_usage(tmp_path):
    result = run("--rules", tmp_path / "none")
    assert result.exit_code == 2
    assert "gatepass init" in result.stderr


def test_a_rules_directory_is_read_as_it_is(tmp_path):
    write(tmp_path, **BROKEN, notes_DOT_txt="x", policies___DOT_hidden="x", policies__sub__y_DOT_cedar="y")
    assert set(read_rules(tmp_path)) == {
        "agents.yaml", "policies/a.cedar", "policies/sub/y.cedar", "services/s.yaml"
    }  # fmt: skip
    assert read_rules(tmp_path / "none") == {}


def test_a_mounted_volume_is_read_through_its_links(tmp_path):
    # Kubernetes: policies/a.cedar -> ..data/a.cedar, ..data -> ..2026_11_22
    write(tmp_path, **{"policies__..2026__a_DOT_cedar": "// nothing"})
    (tmp_path / "policies/..data").symlink_to("..2026")
    (tmp_path / "policies/a.cedar").symlink_to("..data/a.cedar")
    assert read_rules(tmp_path) == {"policies/a.cedar": b"// nothing"}
