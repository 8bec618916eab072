import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code
from proxy.policy.spelling import fold, lookalike

KNOWN = ("query", "operationName", "doc_id", "stream", "token", "user.login", "page[size]")


@pytest.mark.parametrize(
    "name",
    [
        *("Query", "QUERY", "operationname", "query[]", "query[x]", "doc.id", "doc id", "Doc_ID"),
        *("\u017ftream", "to\u212aen", " query", "query ", "query\0", "query\0x", "Query\0[x]"),
        *("user[login]", "user[login][]", "User[Login]", "user[login", "user_login", "user[ login ]"),
        *("page.size", "page_size", "page[size][]"),
    ],
)
def test_a_name_that_a_lax_reader_takes_for_a_known_one_is_refused(name):
    refusal = lookalike(["other", name], KNOWN)
    assert refusal is not None
    assert refusal.code is Code.AMBIGUOUS_INPUT
    assert repr(name) in refusal.detail


@pytest.mark.parametrize("name", ["page[number]", "page", "user", "user[name]", "user[login][id]", "que", ""])
def test_other_parts_of_what_is_known_pass(name):
    assert lookalike([name], KNOWN) is None


@given(st.lists(st.sampled_from(KNOWN)), st.lists(st.text()))
def test_known_names_and_strangers_pass(known, others):
    folded = {fold(name) for name in KNOWN}
    strangers = [name for name in others if not folded & {fold(name), fold(name.partition("[")[0])}]
    assert lookalike([*known, *strangers], KNOWN) is None


@given(st.text(), st.lists(st.text()))
def test_nothing_is_refused_that_has_no_likeness(name, known):
    refused = lookalike([name], known) is not None
    likely = {fold(name), fold(name.partition("[")[0])}
    assert refused == (name not in known and bool(likely & {fold(other) for other in known}))
