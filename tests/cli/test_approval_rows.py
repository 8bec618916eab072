from dataclasses import replace

import pytest

from proxy.cli.approval_rows import facts, lines, row, waited, words
from proxy.policy.approval import Entry, State
from tests.store.asking import NOW, asked

WAITING = Entry(
    id="ap-1",
    asked=asked(),
    expires_at=NOW + 3600,
    separate_owner=False,
    state=State.WAITING,
    answered_by="",
    answered_at=None,
    reason="",
    uses=0,
    used=0,
    granted_until=None,
)
APPROVED = replace(
    WAITING,
    state=State.APPROVED,
    answered_by="login:ada",
    answered_at=NOW + 60,
    uses=2,
    granted_until=NOW + 660,
)


@pytest.mark.parametrize(
    ("entry", "now", "seconds"),
    [
        (WAITING, NOW, 0),
        (WAITING, NOW + 90, 90),
        (WAITING, NOW + 9999, 3600),
        (WAITING, NOW - 5, 0),  # somebody set the clock back
        (APPROVED, NOW + 90, 60),
        (replace(WAITING, state=State.EXPIRED), NOW + 9999, 3600),
    ],
)
def test_it_has_waited_until_somebody_answered_or_its_time_was_up(entry, now, seconds):
    assert waited(entry, now) == seconds
    assert facts(entry, now)["waited_s"] == seconds


def test_a_row_says_who_asks_for_what():
    assert row(WAITING, NOW + 90) == (
        "ap-1",
        "waiting",
        "1m30s",
        "coder",
        "POST https://api.test/pay",
        "shop.pay",
        "pay bills",
    )


def test_what_there_is_not_is_left_out():
    names = [name for name, _ in lines(WAITING, NOW)]
    assert not {"answered", "answered_by", "reason", "uses", "used", "granted_until"} & set(names)
    assert {"answered", "answered_by", "uses", "granted_until"} <= {name for name, _ in lines(APPROVED, NOW)}
    assert (
        dict(lines(replace(WAITING, separate_owner=True), NOW))["separate_owner"] == "owners may not approve"
    )


def test_an_answer_is_one_line():
    assert words(APPROVED) == (
        "approved ap-1: POST https://api.test/pay of coder, 2 times until 2027-01-15T08:11:00Z"
    )
    assert words(replace(WAITING, state=State.DENIED)) == (
        "denied ap-1: POST https://api.test/pay of coder, until 2027-01-15T09:00:00Z"
    )
