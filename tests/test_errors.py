import pytest

from proxy.errors import MEANING, Code, Fault, Refusal

STATUS_OF = {Fault.AGENT: range(400, 500), Fault.UPSTREAM: range(502, 505), Fault.OURS: range(500, 504)}
EXCEPTIONS = {501, 508}  # a scheme or method that nobody relays, and a loop: the agent's doing all the same


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_meaning_that_says_whose_fault_and_what_next(code: Code) -> None:
    meaning = MEANING[code]
    assert meaning.status in STATUS_OF[meaning.fault] or meaning.status in EXCEPTIONS
    assert meaning.title
    assert not meaning.title.endswith(".")
    assert meaning.advice.endswith(".")


def test_407_is_identity_and_nothing_else() -> None:
    assert {code for code in Code if MEANING[code].status == 407} == {
        Code.IDENTITY_MISSING,
        Code.IDENTITY_INVALID,
        Code.IDENTITY_EXPIRED,
        Code.IDENTITY_CONFLICT,
    }


def test_a_refusal_knows_its_row() -> None:
    refusal = Refusal(Code.LOG_UNAVAILABLE, "the disk is full")
    assert (refusal.status, refusal.meaning) == (503, MEANING[Code.LOG_UNAVAILABLE])
