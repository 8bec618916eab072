from proxy.control.operations import Delegated, May
from proxy.errors import MEANING, Code, Refusal
from proxy.identity.principal import Task


def test_a_refusal_is_an_answer_with_its_advice():
    may = May.of(Refusal(Code.POLICY_DENY, "no writing", rule="no-writes"))
    assert may == May(
        allowed=False,
        code="policy_deny",
        rule="no-writes",
        detail="no writing",
        advice=MEANING[Code.POLICY_DENY].advice,
    )


def test_what_begins_a_task_does_not_print_its_secrets():
    task = Task("t", "coder", "p", (), "development", 0, 1, "0")
    text = repr(Delegated(task, "secret-token", {"api": "secret-p"}, {"KEY": "secret-p"}))
    assert "secret" not in text
