"""The sum of a run, from its records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.record import Numbering, Stamp, decision, outcome, parse, ulid
from proxy.cli.summary import MOST_HOSTS, format_size, format_time, summarise, table


class Story:
    def __init__(self):
        self.entries, self.numbers = [], Numbering()

    def stamp(self):
        number = len(self.entries) + 1
        return Stamp(
            ulid(number, number.to_bytes(10, "big")), number, number, "o", "b", self.numbers.next("a")
        )

    def decide(self, *, effect="allow", code=None, rule="r", host="api.example.com", port=443):
        stamp = self.stamp()
        what = {"method": "GET", "scheme": "https", "host": host, "port": port, "path": "/"}
        why = {"effect": effect, "code": code, "rule": rule}
        self.entries.append(decision(stamp, who={"agent": {"id": "a"}}, what=what, why=why, credential=None))
        return stamp.id

    def end(self, identity, *, result="complete", code=None):
        what = {
            "result": result,
            "code": code,
            "bytes_up": 10,
            "bytes_down": 200,
            "latency_us": {"total": 1500},
        }
        self.entries.append(outcome(self.stamp(), decision_id=identity, what=what))

    @property
    def summary(self):
        return summarise(map(parse, self.entries))


def test_what_was_allowed_refused_and_failed():
    story = Story()
    story.end(story.decide())
    story.decide(effect="deny", code="default_deny", rule="")
    story.end(story.decide(), result="refused", code="dest_private")
    story.end(story.decide(), result="upstream_error", code="tls_cert")
    story.end(story.decide(), result="client_gone")
    story.decide()  # still running
    (spent,) = story.summary.hosts.values()
    assert (spent.calls, spent.allowed, spent.refused, spent.failed) == (6, 4, 2, 1)
    assert spent.why == {"default_deny": 1, "dest_private": 1, "tls_cert": 1}


def test_octets_and_time_are_those_of_the_outcomes():
    story = Story()
    for _ in range(3):
        story.end(story.decide())
    total = story.summary.total
    assert (total.sent, total.received, total.time) == (30, 600, 4500)
    assert list(table(story.summary))[1].split() == (
        ["api.example.com", "3", "3", "0", "0", "30", "B", "600", "B", "4.5", "ms"]
    )


def test_a_knock_without_identity_is_no_call():
    story = Story()
    story.decide(effect="deny", code="identity_missing", rule="")
    assert (story.summary.hosts, story.summary.unidentified) == ({}, 1)


def test_a_port_that_is_not_the_usual_one_is_another_host():
    story = Story()
    story.decide()
    story.decide(port=8443)
    assert set(story.summary.hosts) == {"api.example.com", "api.example.com:8443"}


def test_nothing_is_nothing():
    assert summarise([]).total.calls == 0
    assert len(list(table(summarise([])))) == 1


def test_the_table_is_aligned_and_many_hosts_are_summed_up():
    story = Story()
    for number in range(MOST_HOSTS + 2):
        story.decide(effect="deny", code="default_deny", rule="", host=f"h{number}.test")
    head, *rows = table(story.summary)
    assert len(rows) == MOST_HOSTS + 2
    assert rows[-2].split()[:4] == ["(2", "more", "hosts)", "2"]
    assert rows[-1].split()[:3] == ["total", str(MOST_HOSTS + 2), "0"]
    assert len({row.index(" 0 B") for row in rows}) == 1
    assert head.startswith("host ")


def test_a_host_cannot_write_on_the_terminal():
    story = Story()
    story.decide(effect="deny", code="default_deny", rule="", host="\x1b[2Jx")
    assert "\\x1b[2Jx" in list(table(story.summary))[1]


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (9_950, "10 kB"),
        (999_500, "1.0 MB"),
        (12**9, "5.2 GB"),
    ],
)
def test_sizes(octets, text):
    assert format_size(octets) == text


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(0, "0.0 ms"), (9_900, "9.9 ms"), (12_000, "12 ms"), (1_500_000, "1.5 s"), (200_000_000, "3 min 20 s")],
)
def test_times(microseconds, text):
    assert format_time(microseconds) == text


@given(st.integers(0, 10**18))
def test_a_size_is_short(octets):
    assert len(format_size(octets)) <= 7
