"""The approvals file: what waits, what people say of it, and each use once."""

import sqlite3
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.errors import Code, Refusal
from proxy.policy.approval import ADMIN, Approval, Approver, Declined, Denial, Grant, Obstacle, State, Waiting
from proxy.store.approvals_table import KEEP_S, ApprovalStore, ApprovalStoreError, Kind
from tests.store.asking import ADA, NOW, ONCE, TERMS, asked

NO = Denial("not today")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "approvals.sqlite3"


@pytest.fixture
def store(path):
    with ApprovalStore.open(path) as store:
        yield store


def waiting(store, request=None, now=NOW, terms=TERMS) -> str:
    filed = store.file(request or asked(), now, terms)
    assert isinstance(filed, Waiting), filed
    return filed.id


def granted(store, request=None, grant=ONCE, now=NOW) -> str:
    identity = waiting(store, request, now)
    assert store.answer(identity, grant, ADA, now).state is State.APPROVED
    return identity


def events(store) -> list[tuple[str, str]]:
    return [(event.kind.value, event.id) for event in store.history(0, 100)]


def test_a_request_waits_once_however_often_it_is_asked(store):
    first = store.file(asked(), NOW, TERMS)
    assert first == Waiting(first.id, NOW + 3600)
    assert store.file(asked(asked_at=NOW + 9), NOW + 9, TERMS) == first
    assert store.get(first.id).asked == asked()
    assert events(store) == [("request", first.id)]
    assert store.redeem(asked(), NOW) is None


def test_an_approval_is_used_as_often_as_it_says_and_no_more(store):
    identity = granted(store, grant=Grant(2, 600, ""))
    for use in (1, 2):
        assert store.redeem(asked(), NOW + use) == Approval(
            identity, asked().request_sha256, ADA.id, NOW, NOW + 600, use, 2
        )
    assert store.redeem(asked(), NOW + 3) is None
    assert store.get(identity).state is State.USED
    again = store.file(asked(), NOW + 4, TERMS)
    assert again.id != identity
    assert again.note == f"the approval {identity} of this request is used up"


def test_an_approval_is_for_a_while(store):
    granted(store)
    assert store.redeem(asked(), NOW + 600) is None
    assert store.redeem(asked(), NOW + 599) is not None


def test_d13_an_approval_of_one_body_lets_no_other_pass_and_the_agent_is_told_why(store):
    identity = granted(store)
    other = asked("body 2")
    assert store.redeem(other, NOW) is None
    filed = store.file(other, NOW, TERMS)
    assert filed.id != identity
    assert filed.note == (
        f"the approval {identity} is of another POST of this URL: query, header fields or body differ, "
        "and an approval holds for exactly one request"
    )
    assert isinstance(store.redeem(asked(), NOW), Approval)


@pytest.mark.parametrize(
    ("other", "words"),
    [(asked(task="t-2"), "under another task"), (asked(rules="2" * 64), "under other rules")],
)
def test_another_task_and_other_rules_are_another_request(store, other, words):
    granted(store)
    assert store.redeem(other, NOW) is None
    assert words in store.file(other, NOW, TERMS).note


@pytest.mark.parametrize(
    "other", [asked(agent="mailer"), asked(url="https://api.test/"), asked(method="PUT")]
)
def test_nobody_is_told_of_approvals_of_others(store, other):
    granted(store)
    assert store.file(other, NOW, TERMS).note == ""


@pytest.mark.parametrize("name", ["agent", "task", "method", "url", "ruleset_sha256"])
def test_a_digest_alone_is_not_enough(store, name):
    granted(store)
    assert store.redeem(replace(asked(), **{name: "x"}), NOW) is None
    assert store.redeem(replace(asked(), chain=("coder",)), NOW) is None


def test_a_no_holds_until_the_request_would_have_left_the_queue(store):
    identity = waiting(store)
    said = store.answer(identity, NO, ADA, NOW + 5)
    assert (said.state, said.answered_by, said.reason, said.answered_at) == (
        State.DENIED,
        ADA.id,
        "not today",
        NOW + 5,
    )
    assert store.redeem(asked(), NOW + 3599) == Declined(identity, ADA.id, "not today")
    assert store.file(asked(), NOW + 3599, TERMS) == Waiting(identity, NOW + 3600)
    assert store.redeem(asked(), NOW + 3600) is None
    assert store.file(asked(), NOW + 3600, TERMS).id != identity


def test_an_approval_that_is_not_used_up_can_be_taken_back(store):
    identity = granted(store, grant=Grant(2, 7200, ""))
    assert isinstance(store.redeem(asked(), NOW), Approval)
    assert store.answer(identity, NO, ADA, NOW).state is State.DENIED
    assert store.redeem(asked(), NOW + 7199) == Declined(identity, ADA.id, "not today")


@pytest.mark.parametrize("said", [ONCE, NO])
def test_what_is_over_cannot_be_answered(store, said):
    denied, used, expired = (asked(content) for content in "abc")
    ids = [waiting(store, request) for request in (denied, used, expired)]
    store.answer(ids[0], NO, ADA, NOW)
    store.answer(ids[1], ONCE, ADA, NOW)
    store.redeem(used, NOW)
    for identity, word in zip(ids, ("login:ada has denied", "used up", "its time is up"), strict=True):
        found = store.answer(identity, said, ADA, NOW + 3600)
        assert found.obstacle is Obstacle.OVER
        assert word in found.words
    assert store.answer("ap-none", said, ADA, NOW).obstacle is Obstacle.UNKNOWN


def test_a_yes_is_given_once(store):
    identity = granted(store)
    found = store.answer(identity, Grant(5, 600, ""), ADA, NOW)
    assert found.words == f"{identity} waits no more: login:ada has approved it"
    assert store.get(identity).uses == 1


def test_d13_nobody_approves_for_himself(store):
    identity = waiting(store)
    before = events(store)
    for who in (Approver("login:coder", frozenset()), Approver("login:eve", frozenset({"lead"}))):
        for said in (ONCE, NO):
            assert store.answer(identity, said, who, NOW).obstacle is Obstacle.NOT_THEIRS
    assert store.get(identity).state is State.WAITING
    assert events(store) == before


def test_owners_are_kept_apart_if_any_sidecar_asked_for_it(store):
    grace, admin = Approver("login:grace", frozenset()), Approver(ADMIN, frozenset())
    strict = TERMS._replace(separate_owner=True)
    identity = waiting(store)
    assert waiting(store, terms=strict) == identity == waiting(store)
    assert store.answer(identity, ONCE, grace, NOW).obstacle is Obstacle.NOT_THEIRS
    assert store.answer(identity, ONCE, admin, NOW).obstacle is Obstacle.NOT_THEIRS
    assert store.answer(identity, NO, grace, NOW).state is State.DENIED  # a no is anybody's


def test_an_agent_fills_its_own_queue_alone_and_is_told_when_to_come_back(store):
    ids = [waiting(store, asked(str(number)), NOW + number) for number in range(3)]
    full = store.file(asked("more"), NOW + 3, TERMS)
    assert full == Refusal(
        Code.APPROVALS_FULL, "3 calls of coder wait for approval already, and no more may", retry_after=60
    )
    assert store.file(asked("more"), NOW + 3595, TERMS).retry_after == 5
    assert waiting(store, asked("0"), NOW + 3) == ids[0]
    waiting(store, asked(agent="mailer"))
    store.answer(ids[1], NO, ADA, NOW + 3)
    waiting(store, asked("more"), NOW + 3)
    assert isinstance(store.file(asked("still more"), NOW + 3, TERMS), Refusal)
    assert isinstance(store.file(asked("still more"), NOW + 3600, TERMS), Waiting)  # the first has expired


def test_time_ends_what_nobody_answered_and_what_nobody_used(store):
    unanswered, unused = waiting(store, asked("a")), granted(store, asked("b"))
    assert store.expire(NOW + 599) == 0
    assert store.expire(NOW + 600) == 1
    assert store.expire(NOW + 3600) == 1
    assert store.expire(NOW + 9999) == 0
    assert store.get(unanswered).state is store.get(unused).state is State.EXPIRED
    assert [event.facts for event in store.history(0, 100) if event.kind is Kind.EXPIRE] == [
        {"state": "approved", "why": "it was not used in time"},
        {"state": "waiting", "why": "nobody answered in time"},
    ]


def test_nothing_of_a_task_that_is_over_waits_or_is_approved(store):
    mine, approved, other = (
        waiting(store, asked("a")),
        granted(store, asked("b")),
        waiting(store, asked(task="t-2")),
    )
    assert store.withdraw("t-1", NOW) == 2
    assert [store.get(one).state for one in (mine, approved, other)] == [
        State.EXPIRED,
        State.EXPIRED,
        State.WAITING,
    ]
    assert store.redeem(asked("b"), NOW) is None
    assert store.withdraw("t-1", NOW) == 0


def test_requests_are_listed_newest_first_by_state_and_task(store):
    first = waiting(store, asked("a"), NOW)
    second = granted(store, asked("b", task="t-2", asked_at=NOW + 1))
    third = waiting(store, asked("c", asked_at=NOW + 2))
    assert [entry.id for entry in store.list()] == [third, second, first]
    assert [entry.id for entry in store.list(State.WAITING)] == [third, first]
    assert [entry.id for entry in store.list(task="t-2")] == [second]
    assert [entry.id for entry in store.list(limit=1)] == [third]


def test_everything_that_happens_is_told_in_order_with_all_that_it_binds(store):
    identity = granted(store, grant=Grant(2, 600, "fine"))
    store.redeem(asked(), NOW + 1)
    store.answer(identity, NO, ADA, NOW + 2)
    told = store.history(0, 100)
    assert [(event.kind.value, event.at, event.facts) for event in told] == [
        ("request", NOW, {}),
        ("grant", NOW, {"approver": ADA.id, "granted_until": NOW + 600, "reason": "fine", "uses": 2}),
        ("use", NOW + 1, {"approver": ADA.id, "use": 1, "uses": 2}),
        ("deny", NOW + 2, {"approver": ADA.id, "reason": "not today"}),
    ]
    assert {(event.id, event.asked) for event in told} == {(identity, asked())}
    assert store.history(told[1].seq, 1) == told[2:3]
    assert store.last() == told[-1].seq


def test_a_log_s_mark_never_goes_back(store):
    assert store.recorded("log") == 0
    store.set_recorded("log", 5)
    store.set_recorded("log", 3)
    assert (store.recorded("log"), store.recorded("run-1")) == (5, 0)


def test_what_is_over_is_forgotten_once_it_is_old_and_told(store):
    over = waiting(store, asked("a"))
    store.answer(over, NO, ADA, NOW)
    last = store.last()
    store.set_recorded("log", last - 1)
    later = NOW + KEEP_S
    waiting(store, asked("b"), later)
    assert store.get(over) is not None  # one log has not told all of it
    store.set_recorded("log", last)
    waiting(store, asked("c"), later - 1)
    assert store.get(over) is not None  # not old enough
    waiting(store, asked("d"), later)
    assert store.get(over) is None
    assert store.history(0, 1)[0].seq > last
    assert store.last() == last + 3


def test_two_that_ask_at_once_get_one_use_each(path, store):
    granted(store, grant=Grant(3, 600, ""))
    barrier, taken = threading.Barrier(4), []

    def ask() -> None:
        with ApprovalStore.open(path) as mine:
            barrier.wait()
            taken.extend(mine.redeem(asked(), NOW) for _ in range(3))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found.use for found in taken if found is not None) == [1, 2, 3]


def test_others_see_that_something_has_changed(path, store):
    with ApprovalStore.open(path) as other:
        before = other.version()
        assert other.version() == before
        waiting(store)
        assert other.version() != before
        assert len(other.list()) == 1


def test_a_file_that_others_can_read_is_refused(path):
    path.touch(0o644)
    with pytest.raises(ApprovalStoreError, match="chmod 600"):
        ApprovalStore.open(path)


def test_a_new_file_is_private(path, store):
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_of_another_version_and_one_that_is_none_are_refused(path, tmp_path):
    with ApprovalStore.open(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(ApprovalStoreError, match="another version"):
        ApprovalStore.open(path)
    other = tmp_path / "other"
    other.write_bytes(b"no database at all" * 100)
    other.chmod(0o600)
    with pytest.raises(ApprovalStoreError, match="cannot be opened"):
        ApprovalStore.open(other)


def test_a_file_that_was_replaced_is_noticed(path, store):
    path.rename(path.with_suffix(".old"))
    with ApprovalStore.open(path), pytest.raises(ApprovalStoreError, match="replaced"):
        store.version()


def test_what_cannot_be_written_is_an_error_of_ours(store):
    with pytest.raises(ApprovalStoreError, match="cannot be written"):
        store.file(asked(agent="\ud800"), NOW, TERMS)
    with pytest.raises(ApprovalStoreError, match="cannot be read"):
        store.get("\ud800")
    assert store.list() == ()


def test_a_row_that_was_altered_approves_nothing(path, store):
    granted(store)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE requests SET asked = '{}'")
    connection.close()
    with pytest.raises(ApprovalStoreError, match="other members"):
        store.redeem(asked(), NOW)


class Counted(RuleBasedStateMachine):
    """One request, against a plain account of what a person has allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.allowed, self.until, self.no = NOW, 0, 0, 0
        self.queued: str | None = None
        self.directory = tempfile.TemporaryDirectory()
        self.store = ApprovalStore.open(Path(self.directory.name) / "approvals.sqlite3")

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()

    @rule(seconds=st.integers(1, 4000))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        self.queued = self.store.file(asked(), self.now, TERMS).id

    @precondition(lambda self: self.queued is not None)
    @rule(uses=st.integers(1, 3), seconds=st.integers(1, 5000))
    def approve(self, uses: int, seconds: int) -> None:
        said = self.store.answer(self.queued, Grant(uses, seconds, ""), ADA, self.now)
        if getattr(said, "state", None) is State.APPROVED:
            assert self.allowed == 0 or self.until <= self.now
            self.allowed, self.until = uses, self.now + seconds

    @precondition(lambda self: self.queued is not None)
    @rule()
    def deny(self) -> None:
        said = self.store.answer(self.queued, NO, ADA, self.now)
        if getattr(said, "state", None) is State.DENIED:
            self.allowed, self.no = 0, said.expires_at

    @rule()
    def redeem(self) -> None:
        found = self.store.redeem(asked(), self.now)
        may = self.allowed > 0 and self.now < self.until
        assert isinstance(found, Approval) == may
        assert isinstance(found, Declined) == (self.now < self.no and not may)
        self.allowed -= may

    @invariant()
    def one_at_most_is_alive(self) -> None:
        alive = [entry for entry in self.store.list() if entry.state in {State.WAITING, State.APPROVED}]
        assert len(alive) <= 1
        assert all(0 <= entry.used <= entry.uses for entry in self.store.list())


TestCounted = Counted.TestCase
TestCounted.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
