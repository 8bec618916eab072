"""What an order came to, in one line."""

import pytest

from proxy.cli.revoke_rows import Told, facts, row, words
from proxy.identity.revocation import EVERYTHING, Kind, Order
from proxy.store.tasks import CarriedOut, Follower, Revoked
from tests.store.making import made

GIVEN = 1_800_000_000_000_000_000
MS = 1_000_000


def told(kind: Kind, tasks: int, *done: tuple[int, int], silent: int = 0, new: bool = True) -> Told:
    """``done`` are the connections that each sidecar cut, and after how many nanoseconds."""
    order = Order(kind, EVERYTHING if kind is Kind.ALL else "x", "why", "cli", GIVEN)
    kept = Revoked(order, 7, new, tuple(made(number)[0] for number in range(tasks)))
    boots = [f"boot-{number}" for number in range(len(done))]
    carried = tuple(CarriedOut(boot, cut, GIVEN + ns) for boot, (cut, ns) in zip(boots, done, strict=True))
    answered = tuple(Follower(boot, 10, 7, 0, 0) for boot in boots)
    quiet = tuple(Follower(f"quiet-{number}", 20 + number, 6, 0, 0) for number in range(silent))
    return Told(kept, answered + quiet, quiet, carried)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            told(Kind.AGENT, 3, (12, 41 * MS)),
            "revoked agent x: 3 tasks ended, 12 connections cut, last byte after 41 ms",
        ),
        (
            told(Kind.TASK, 1, (1, 900_000)),
            "revoked task x: 1 task ended, 1 connection cut, last byte after less than 1 ms",
        ),
        (told(Kind.KEY, 0, (0, 2 * MS)), "revoked key x: 0 connections cut, in force after 2 ms"),
        (
            told(Kind.KEY, 0, (2, 2 * MS), (3, 7 * MS)),
            "revoked key x: 5 connections cut, last byte after 7 ms",
        ),
        (
            told(Kind.ALL, 0),
            "revoked everything: 0 tasks ended, no sidecar is running; it holds from the next start",
        ),
        (told(Kind.ALL, 2, silent=1), "revoked everything: 2 tasks ended, not in force everywhere yet"),
        (told(Kind.TOKEN, 0, silent=1), "revoked token x: not in force everywhere yet"),
        (
            told(Kind.TOKEN, 0)._replace(followers=(Follower("late", 1, 8, 0, 0),)),
            "revoked token x: in force",
        ),
        (told(Kind.KEY, 0, (1, -5 * MS)), "revoked key x: 1 connection cut, last byte after less than 1 ms"),
        (
            told(Kind.AGENT, 0, new=False),
            "agent x is revoked already, since 2027-01-15T08:00:00Z by cli: why",
        ),
        (told(Kind.TASK, 0, new=False), "task x is over already"),
    ],
)
def test_the_line(given, line):
    assert words(given) == line


def test_programs_are_told_who_has_not_answered():
    found = facts(told(Kind.AGENT, 0, (2, MS), silent=1))
    assert found["sidecars"] == [
        {"pid": 10, "answered": True, "connections_cut": 2},
        {"pid": 20, "answered": False, "connections_cut": 0},
    ]
    assert found["to_last_byte_us"] == 1000
    assert facts(told(Kind.AGENT, 0, (0, MS)))["to_last_byte_us"] is None


def test_an_order_is_a_row():
    order = Order(Kind.KEY, "k", "why", "file:/x", GIVEN)
    assert row(order) == ("key", "k", "2027-01-15T08:00:00Z", "file:/x", "why")
