import json

import pytest
from typer.testing import CliRunner

from proxy.cli.policy import app
from proxy.cli.task import app as tasks
from proxy.identity.task import Manifest, make_task, manifest_bytes
from proxy.store.tasks import TaskStore
from tests.support import demo_rules

AGENTS = (demo_rules.agent("tester"), demo_rules.agent("helper"))
PAY = """\
@id("pay") permit (principal, action == Action::"api.pay", resource)
when { context.task.scopes.contains("pay") && context.facts.body.amount <= 100 };
"""
SERVICE = demo_rules.service(
    operations={
        "pay": {"group": "write", "method": "POST", "path": "/pay", "facts": {"body": {"amount": "long"}}},
    }
)


@pytest.fixture
def rules(tmp_path):
    return demo_rules.write_rules(
        tmp_path / "rules", agents=AGENTS, services=[SERVICE], policies=[demo_rules.permit("reading"), PAY]
    )


def run(rules, *words, text: str | None = None):
    return CliRunner().invoke(app, ["explain", *map(str, words), "--rules", str(rules)], input=text)


URL = "https://api.test/x"


def test_an_allowed_call(rules):
    result = run(rules, "GET", URL, "--agent", "tester")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:2] == [
        "allow\treading",
        "action\tapi.http.read (read): no operation of api matches, so the method decides",
    ]
    assert "reading\tpermit\tpolicies/test.cedar:1\tspoke\t" in lines
    assert "it would be allowed" not in result.stdout


def test_a_refused_call_and_what_would_help(rules):
    result = run(
        rules, "POST", "https://api.test/pay", "--agent", "tester", "--json-body", "-", text='{"amount": 7}'
    )
    assert result.exit_code == 1
    assert result.stdout.startswith("deny\tdefault_deny: no rule permits api.pay for agent tester")
    assert "action\tapi.pay (write): POST /pay\n" in result.stdout
    assert (
        'pay\tpermit\tpolicies/test.cedar:4\t\twhen { context.task.scopes.contains("pay") }\n'
        in result.stdout
    )
    assert result.stdout.endswith("it would be allowed if\tthe task has the scope pay\n")


def test_content_from_a_file_and_as_json(rules, tmp_path):
    (tmp_path / "body").write_text('{"amount": 700}')
    words = (
        "POST",
        "https://api.test/pay",
        "--agent",
        "tester",
        "--scope",
        "pay",
        "--json-body",
        tmp_path / "body",
    )
    result = run(rules, *words, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["effect"], told["code"], told["actions"]) == ("deny", "default_deny", ["api.pay"])
    assert told["changes"][0] == ["context.facts.body.amount is 99"]
    pay = next(policy for policy in told["acts"][0]["policies"] if policy["id"] == "pay")
    assert pay == {
        "id": "pay", "effect": "permit", "spoke": False, "errors": [],
        "fails": ["when { context.facts.body.amount <= 100 }"],
    }  # fmt: skip


def test_no_change_helps(rules):
    result = run(rules, "DELETE", URL, "--agent", "tester")
    assert (result.exit_code, "it takes another rule" in result.stdout) == (1, True)


def test_what_every_sidecar_refuses(rules):
    result = run(
        rules,
        "POST",
        "https://api.test/pay",
        "--agent",
        "tester",
        "--json-body",
        "-",
        text='{"amount": 1, "amount": 2}',
    )
    assert result.exit_code == 1
    assert result.stdout.startswith("deny\tambiguous_input: ")
    told = json.loads(run(rules, "GET", "https://api.test/%zz", "--agent", "tester", "--json").stdout)
    assert (told["effect"], told["code"]) == ("deny", "target_malformed")
    method = run(rules, "GET", URL, "--agent", "tester", "--header", "X-HTTP-Method-Override: DELETE")
    assert method.stdout.startswith("deny\theader_forbidden: ")
    kind = run(
        rules,
        "POST",
        "https://api.test/pay",
        "--agent",
        "tester",
        "--json-body",
        "-",
        "--content-type",
        "text/plain",
        text="x",
    )
    assert kind.stdout.startswith("deny\tcontent_unsupported: ")


def started(rules, state, *words):
    """A task that a person started."""
    shown = CliRunner().invoke(
        tasks, ["start", "--rules", str(rules), "--state", str(state), "--json", *words]
    )
    assert shown.exit_code == 0, shown.output
    with TaskStore.open(state / "tasks.sqlite3") as store:
        found = store.get(json.loads(shown.stdout)["task"])
    assert found is not None
    return found.task


def delegated(parent, state, agent, *scopes):
    """A task handed down, asking for more than its parent has."""
    words = Manifest(
        *(
            agent,
            "help",
            tuple(sorted(scopes)),
            parent.environment,
            parent.issued_at,
            parent.expires_at,
            None,
        ),
        nonce="0" * 32,
        parent=parent.id,
    )
    task = make_task(words)
    with TaskStore.open(state / "tasks.sqlite3") as store:
        store.create(task, manifest_bytes(words), (), f"agent:{parent.agent}")
    return task


def test_under_a_task_of_the_state_directory(rules, tmp_path):
    state = tmp_path / "state"
    root = started(rules, state, "--agent", "tester", "--purpose", "p", "--scope", "pay", "--depth", "1")
    asked = ("POST", "https://api.test/pay", "--state", state, "--json-body", "-")
    allowed = run(rules, *asked, "--task", root.id, text='{"amount": 7}')
    assert (allowed.exit_code, allowed.stdout.startswith("allow\tpay")) == (0, True), allowed.output
    child = delegated(root, state, "helper", "pay", "more")
    narrowed = run(rules, *asked, "--task", child.id, "--json", text='{"amount": 7}')
    assert narrowed.exit_code == 0, narrowed.output
    other = delegated(
        started(rules, state, "--agent", "tester", "--purpose", "p", "--depth", "1"), state, "helper", "pay"
    )
    refused = run(rules, *asked, "--task", other.id, text='{"amount": 7}')
    assert (refused.exit_code, "the task has the scope pay" in refused.stdout) == (1, True)
    for words, line in (
        (("--task", "t-none"), "there is no task t-none under"),
        (("--task", root.id, "--agent", "helper"), f"the task {root.id} is one of tester, not of helper"),
    ):
        result = run(rules, *asked, *words, text="{}")
        assert (result.exit_code, line in result.stderr) == (1, True), result.output


def test_wrong_words(rules, tmp_path):
    for words, status, line in (
        (("GET", URL), 1, "say who calls with --agent"),
        (("GET", URL, "--agent", "nobody"), 1, "there is no agent nobody in agents.yaml"),
        (("GET", URL, "--agent", "tester", "--header", "x"), 2, "--header takes NAME: VALUE"),
        (("GET", URL, "--agent", "tester", "--json-body", tmp_path / "no"), 2, "No such file"),
        (("GET", URL, "--task", "t-x", "--state", tmp_path / "no"), 1, "there are no tasks under"),
    ):
        result = run(rules, *words)
        assert (result.exit_code, line in result.stderr) == (status, True), result.output
