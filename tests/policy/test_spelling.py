import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code
from proxy.policy.spelling import fold, lookalike

KNOWN = ("query", "operationName", "doc_id", "stream", "token")


@pytest.mark.parametrize(
    "name",
    [
        *("Query", "QUERY", "operationname", "query[]", "query[x]", "doc.id", "doc id", "Doc_ID"),
        *("\u017ftream", "to\u212aen", " query", "query "),
    ],
)
def test_a_name_that_a_lax_reader_takes_for_a_known_one_is_refused(name):
    refusal = lookalike(["other", name], KNOWN)
    assert refusal is not None
    assert refusal.code is Code.AMBIGUOUS_INPUT
    assert repr(name) in refusal.detail


@given(st.lists(st.sampled_from(KNOWN)), st.lists(st.text()))
def test_known_names_and_strangers_pass(known, others):
    folded = {fold(name) for name in KNOWN}
    assert lookalike([*known, *(name for name in others if fold(name) not in folded)], KNOWN) is None


@given(st.text(), st.lists(st.text()))
def test_nothing_is_refused_that_has_no_likeness(name, known):
    refused = lookalike([name], known) is not None
    assert refused == (name not in known and fold(name) in {fold(other) for other in known})
