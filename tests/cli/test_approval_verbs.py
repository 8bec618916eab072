"""``gatepass approvals``: what a person types to let a call through or not, with no sidecar running."""

import json
import os
import re
import time

import pytest
from typer.testing import CliRunner

from proxy.cli.answering import agents_token, approver, user
from proxy.cli.approvals import app
from proxy.cli.environment import proxy_url
from proxy.policy.approval import Approval, Approver, Declined, Grant, State
from proxy.store.approvals_table import ApprovalStore, Terms
from tests.store.asking import ADA, asked
from tests.support.demo_rules import agent, write_rules

RUNNER = CliRunner()
TERMS = Terms(3600, 20, separate_owner=False)
ME = f"local:{user()}"


class World:
    def __init__(self, path) -> None:
        self.path = path
        self.state = path / "state"
        self.state.mkdir(mode=0o700)
        self.rules(agent("coder"), agent("tester"))

    def rules(self, *agents) -> None:
        write_rules(self.path / "rules", agents=list(agents))

    def run(self, *arguments: str, status: int = 0, **environment: str):
        result = RUNNER.invoke(app, [*arguments, "--state", str(self.state)], env=environment)
        assert result.exit_code == status, result.output
        return result

    def said(self, *arguments: str) -> str:
        return self.run(*arguments).stdout

    def told(self, *arguments: str) -> list[dict]:
        return [json.loads(line) for line in self.said(*arguments, "--json").splitlines()]

    def refused(self, *arguments: str, status: int = 1, **environment: str) -> str:
        result = self.run(*arguments, status=status, **environment)
        (line,) = result.stderr.splitlines()
        assert result.stdout == ""
        return line

    def store(self) -> ApprovalStore:
        return ApprovalStore.open(self.state / "approvals.sqlite3")

    def waiting(self, content: str = "body 1", terms: Terms = TERMS, age: int = 0, **given) -> str:
        now = int(time.time()) - age
        with self.store() as store:
            return store.file(asked(content, asked_at=now, **given), now, terms).id

    def redeem(self, content: str = "body 1") -> Approval | Declined | None:
        with self.store() as store:
            return store.redeem(asked(content), int(time.time()))


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where rules/ are, and no gatepass.yaml
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    return World(tmp_path)


def test_what_waits_is_listed_and_on_demand_what_does_not(world):
    first, second = world.waiting("a", age=90), world.waiting("b", task="t-2")
    with world.store() as store:
        store.answer(second, Grant(1, 60, ""), ADA, int(time.time()))
    head, row = world.said("list").splitlines()
    assert head == "id\tstate\twaited\tagent\trequest\tactions\tpurpose"
    assert re.fullmatch(
        rf"{first}\twaiting\t1m3[0-9]s\tcoder\tPOST https://api\.test/pay\tshop\.pay\tpay bills", row
    )
    assert [entry["id"] for entry in world.told("list", "--all")] == [second, first]


def test_nothing_waits_where_there_is_no_file(world):
    assert world.said("list").splitlines() == ["id\tstate\twaited\tagent\trequest\tactions\tpurpose"]
    assert "no request ap-x is known" in world.refused("show", "ap-x")
    assert "no request ap-x is known" in world.refused("approve", "ap-x")
    assert not (world.state / "approvals.sqlite3").exists()


def test_a_request_is_shown_with_all_that_an_answer_binds(world):
    held = world.waiting(age=75)
    shown = dict(line.split("\t", 1) for line in world.said("show", held).splitlines())
    request = asked()
    assert shown | {"asked": "", "expires": "", "waited": ""} == {
        "id": held,
        "state": "waiting",
        "agent": "coder",
        "chain": "lead > coder",
        "owners": "grace@example.org",
        "task": "t-1",
        "purpose": "pay bills",
        "method": "POST",
        "url": "https://api.test/pay",
        "actions": "shop.pay",
        "facts": '{"body": {"amount": 500}}',
        "rules": "pay",
        "request_sha256": request.request_sha256,
        "ruleset_sha256": request.ruleset_sha256,
        "asked": "",
        "expires": "",
        "waited": "",
    }
    assert re.fullmatch(r"1m1[5-9]s|1m[2-5][0-9]s", shown["waited"])
    (told,) = world.told("show", held)
    assert (told["id"], told["answered_by"], told["granted_until"]) == (held, "", None)
    assert told["waited_s"] >= 75


def test_words_of_agents_move_no_cursor(world):
    held = world.waiting(url="https://api.test/\x1b[2J")
    assert "\x1b" not in world.said("show", held) + world.said("list")


def test_an_approval_lets_exactly_this_call_through_once(world):
    held = world.waiting()
    said = world.said("approve", held, "--reason", "month end")
    assert re.fullmatch(
        rf"approved {held}: POST https://api\.test/pay of coder, once until [0-9T:-]+Z\n", said
    )
    assert world.redeem("body 2") is None
    found = world.redeem()
    assert isinstance(found, Approval)
    assert (found.approver, found.uses, found.expires_at - found.granted_at) == (ME, 1, 3600)
    assert world.redeem() is None
    shown = dict(line.split("\t", 1) for line in world.said("show", held).splitlines())
    assert (shown["state"], shown["answered_by"], shown["reason"]) == ("used", ME, "month end")
    assert (shown["uses"], shown["used"]) == ("1", "1")


def test_an_approval_may_be_for_more(world):
    held = world.waiting()
    (told,) = world.told("approve", held, "--uses", "3", "--for", "2h30m")
    assert (told["state"], told["uses"], told["answered_by"]) == ("approved", 3, ME)
    found = world.redeem()
    assert (found.use, found.uses, found.expires_at - found.granted_at) == (1, 3, 9000)
    assert ", 3 times until " in world.said("approve", world.waiting("b"), "--uses", "3")


def test_a_denial_is_told_with_its_reason(world):
    held = world.waiting()
    said = world.said("deny", held, "--reason", "not this account")
    assert re.fullmatch(rf"denied {held}: POST https://api\.test/pay of coder, until [0-9T:-]+Z\n", said)
    assert world.redeem() == Declined(held, ME, "not this account")


def test_an_approval_can_be_taken_back(world):
    held = world.waiting()
    world.said("approve", held)
    world.said("deny", held)
    assert isinstance(world.redeem(), Declined)


def test_what_waits_no_more_cannot_be_answered(world):
    held = world.waiting()
    world.said("deny", held)
    assert f"{held} waits no more: {ME} has denied it" in world.refused("approve", held)
    old = world.waiting("old", age=3600)
    assert "the agent has to ask again" in world.refused("approve", old)
    assert "`gatepass approvals list --all`" in world.refused("deny", "ap-none")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--for", "soon"), "--for: 'soon' is not a duration"),
        (("--for", "8d"), "7 days at most"),
        (("--reason", "a\nb"), "one line"),
        (("--reason", "x" * 1025), "1024"),
    ],
)
def test_words_that_cannot_be_meant_change_nothing(world, words, said):
    held = world.waiting()
    assert said in world.refused("approve", held, *words, status=2)
    assert world.told("show", held)[0]["state"] == "waiting"


@pytest.mark.parametrize("uses", ["0", "1001", "x"])
def test_uses_are_bounded(world, uses):
    assert world.run("approve", world.waiting(), "--uses", uses, status=2).stdout == ""


# -- D13: nobody approves for himself --


@pytest.mark.parametrize("verb", ["approve", "deny"])
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
def test_d13_no_agent_answers_from_its_own_environment(world, verb, variable):
    held = world.waiting()
    url = proxy_url("127.0.0.1", 8470, "a.b.c")
    line = world.refused(verb, held, **{variable: url})
    assert (
        line == f"gatepass: {variable} holds an agent's token, and no agent approves; use a shell of your own"
    )
    assert world.told("show", held)[0]["state"] == "waiting"


def test_d13_a_user_with_the_name_of_an_agent_may_not(world):
    held = world.waiting(agent=user())
    assert "has the name of an agent that asks" in world.refused("approve", held)


def test_d13_a_user_whose_processes_pass_for_the_agent_may_not(world):
    held, other = world.waiting(), world.waiting(agent="tester")
    unix = {"authenticate": [{"method": "unix", "uid": os.getuid()}]}
    world.rules(agent("coder") | unix, agent("tester"))
    assert "would pass for the agent coder" in world.refused("approve", held)
    assert "would pass for the agent coder" in world.refused("deny", held)
    world.said("approve", other)


def test_d13_owners_may_not_where_they_are_kept_apart(world):
    strict = TERMS._replace(separate_owner=True)
    held = world.waiting(terms=strict, owners=(f"{user()}@example.org",))
    assert "owners may not approve" in world.said("show", held)
    assert "owns an agent that asks" in world.refused("approve", held)
    world.said("deny", held)
    with world.store() as store:
        assert store.get(held).state is State.DENIED


def test_rules_that_cannot_be_read_could_name_anybody(world):
    held = world.waiting()
    (world.path / "rules" / "agents.yaml").write_text("agents: [{id: coder, id: coder}]\n")
    world.refused("approve", held, status=2)
    (world.path / "rules" / "agents.yaml").unlink()
    (world.path / "rules" / "agents.yaml").mkdir()
    assert "could name you" in world.refused("approve", held, status=2)


def test_without_agents_nobody_is_one(world, tmp_path):
    assert approver(None) == approver(tmp_path / "none") == Approver(ME, frozenset())
    assert isinstance(approver(tmp_path / "rules"), Approver)


@pytest.mark.parametrize(
    "url",
    ["", "http://127.0.0.1:8470", "http://proxy.corp:3128", "http://me:pw@proxy.corp:3128", "http://[x"],
)
def test_other_proxies_are_nobody_s_token(url):
    assert agents_token({"HTTPS_PROXY": url}) is None


def test_a_file_that_others_can_read_is_told(world):
    held = world.waiting()
    (world.state / "approvals.sqlite3").chmod(0o644)
    assert "chmod 600" in world.refused("list", status=2)
    assert "chmod 600" in world.refused("approve", held, status=2)
