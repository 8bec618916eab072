"""The revocation file: what it says, what is wrong with it, and what follows when it changes."""

import inspect
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity import revocation_file
from proxy.identity.revocation import EVERYTHING, Kind, Order
from proxy.identity.revocation_file import difference, parse_revocations, source
from proxy.problems import Problem

TASK = "t-" + "a" * 26
AT = 5


def parse(text: str):
    return parse_revocations(text.encode("utf-8", "surrogatepass"), "r.yaml", AT)


def entries(*lines: str) -> str:
    return "revocations:\n" + "".join(f"  - {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("line", "kind", "identity"),
    [
        ("agent: spiffe://example.org/a", Kind.AGENT, "spiffe://example.org/a"),
        (f"task: {TASK}", Kind.TASK, TASK),
        ('token: "00"', Kind.TOKEN, "00"),
        ("key: a b", Kind.KEY, "a b"),
        ("issuer: https://login.example.org/x", Kind.ISSUER, "https://login.example.org/x"),
        ("all: true", Kind.ALL, EVERYTHING),
    ],
)
def test_each_kind_of_entry_is_an_order(line, kind, identity):
    assert parse(entries(line)) == (Order(kind, identity, "", "file:r.yaml", AT),)
    with_reason = parse(entries(f"{line}\n    reason: why"))
    assert with_reason == (Order(kind, identity, "why", "file:r.yaml", AT),)


def test_the_example_is_read_as_it_stands():
    example = inspect.getdoc(revocation_file).split("::\n\n")[1].split("\n\nWhat")[0]
    orders = parse(textwrap.dedent(example) + "\n")
    assert [order.kind for order in orders] == [
        Kind.AGENT,
        Kind.TOKEN,
        Kind.KEY,
        Kind.ISSUER,
        Kind.TASK,
        Kind.ALL,
    ]


def test_no_orders_have_to_be_said():
    assert parse("revocations: []\n") == ()


@pytest.mark.parametrize("text", ["", "\n", "revocations:\n", "{}\n", "[]\n", "# nothing\n"])
def test_an_empty_file_says_nothing(text):
    assert [type(problem) for problem in parse(text)] == [Problem]


def test_of_two_entries_about_one_thing_the_first_counts():
    orders = parse(entries("agent: a\n    reason: first", "agent: a\n    reason: second", "key: a"))
    assert [(order.kind, order.reason) for order in orders] == [(Kind.AGENT, "first"), (Kind.KEY, "")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("reason: why", "names one of"),
        ("agent: a\n    key: b", "names one of"),
        ("agent: a\n    key: null", "names one of"),
        ("agent: null", "names one of"),
        ("all: false", "all"),
        ("all: 1", "all"),
        ('agent: ""', "agent"),
        ('agent: "a\\nb"', "agent"),
        ('agent: "\\ud800"', "agent"),
        ("agents: a", "not known"),
        ("task: coder", "not the id of a task"),
        (f"token: {'A' * 64}", "lower case"),
        ("token: 123", "string"),
        ("agent: a\n    reason: 1", "reason"),
        ("a", "revocations.1"),
    ],
)
def test_a_mistake_anywhere_is_a_problem_with_its_line(line, words):
    problems = parse(entries("agent: fine", line))
    assert all(isinstance(problem, Problem) for problem in problems)
    assert any(words in problem.message for problem in problems)
    assert {problem.line for problem in problems} <= {3, 4}


def test_a_file_that_was_cut_off_is_a_problem_or_shorter_never_different():
    whole = entries("agent: coder", f"task: {TASK}", "key: kid", "all: true")
    full = parse(whole)
    for end in range(len(whole)):
        cut = parse(whole[:end])
        assert isinstance(cut, list) or cut == full[: len(cut)]


@given(st.binary(max_size=200))
def test_no_octets_raise(data):
    assert isinstance(parse_revocations(data, "f", 0), tuple | list)


subjects = st.tuples(st.sampled_from(Kind), st.sampled_from(["a", "b", "c"]))


def orders(found: set[tuple[Kind, str]]) -> list[Order]:
    return [Order(*subject, "", source("f"), 0) for subject in sorted(found)]


@given(before=st.sets(subjects), after=st.sets(subjects))
def test_the_difference_leads_from_the_one_to_the_other(before, after):
    found = difference(orders(before), orders(after))
    revoked, lifted = {(order.kind, order.id) for order in found.revoke}, set(found.lift)
    kept_tasks = {subject for subject in before - after if subject[0] is Kind.TASK}
    assert (before - lifted) | revoked == after | kept_tasks
    assert not revoked & before
    assert lifted <= before - after
    assert all(kind is not Kind.TASK for kind, _ in lifted)
    assert difference(orders(after), orders(after)) == ((), ())
