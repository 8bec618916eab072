import pytest
from typer.testing import CliRunner

from proxy.cli.policy import app
from tests.support import demo_rules

MANY = ", ".join(f'Action::"api.op{number}"' for number in range(20))
POLICIES = (
    '@id("near") permit (principal, action, resource) when { context.task.scopes.contains("near") };',
    '@id("far") permit (principal, action in Action::"delete", resource) when { context.task.scopes.contains("far") };',
    f'@id("list") permit (principal, action in [{MANY}], resource) when {{ context.task.scopes.contains("far") }};',
    '@id("never") forbid (principal, action, resource) when { context.task.purpose == "harm" };',
)
SERVICE = demo_rules.service(
    operations={f"op{n}": {"group": "write", "method": "POST", "path": f"/{n}"} for n in range(20)}
)


@pytest.fixture
def explain(tmp_path):
    def ask(*words: str, policies=POLICIES) -> list[list[str]]:
        rules = demo_rules.write_rules(
            tmp_path / str(len(policies)),
            agents=[demo_rules.agent("tester")],
            services=[SERVICE],
            policies=policies,
        )
        url = "https://api.test/other"
        shown = CliRunner().invoke(
            app, ["explain", "GET", url, "--agent", "tester", "--rules", str(rules), *words]
        )
        _, told, *_ = shown.stdout.split("\n\n")
        return [line.split("\t") for line in told.splitlines()[1:]]

    return ask


def test_of_a_refused_call_the_permits_that_lack_least(explain):
    near, others = explain()
    assert near[:2] == ["near", "permit"]
    assert others == ["5 others do not apply; --all shows them"]
    far = explain(policies=POLICIES[1:])
    assert [row[0] for row in far] == ["far", "list", "3 others do not apply; --all shows them"]
    whole, cut = (
        next(row[4] for row in explain(*words, policies=POLICIES[1:]) if row[0] == "list")
        for words in (("--all",), ())
    )
    assert len(whole) > 400
    assert cut.startswith(whole[:160])
    assert cut.endswith(' ...; when { context.task.scopes.contains("far") }')


def test_of_an_allowed_call_who_spoke(explain):
    spoke, others = explain("--scope", "near")
    assert spoke == ["near", "permit", "policies/test.cedar:1", "spoke", ""]
    assert others[0].startswith("5 others")


def test_all_of_them(explain):
    rows = explain("--all")
    assert {row[0] for row in rows} == {
        *("near", "far", "list", "never"),
        *("gatepass.environment", "gatepass.method_override"),
    }
    assert [row[3] for row in explain("--all", "--scope", "near")] == ["spoke", *[""] * 5]
