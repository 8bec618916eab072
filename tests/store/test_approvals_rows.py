import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.approval import Asked
from proxy.store.approvals_rows import ApprovalStoreError, read_asked, write_asked
from tests.store.asking import asked

words = st.text(max_size=5)
several = st.lists(words, max_size=3).map(tuple)
requests = st.builds(
    Asked,
    words,
    words,
    several,
    several,
    words,
    words,
    words,
    words,
    several,
    words,
    several,
    words,
    st.integers(),
)


@given(requests)
def test_what_was_written_is_read(request):
    assert read_asked(write_asked(request)) == request


@given(
    st.binary() | st.recursive(st.none() | st.integers() | words, st.lists).map(json.dumps).map(str.encode)
)
def test_anything_else_is_a_fault(data):
    with pytest.raises(ApprovalStoreError):
        read_asked(data)


@pytest.mark.parametrize(
    "change",
    [
        {"chain": "coder"},
        {"chain": [1]},
        {"asked_at": "1"},
        {"asked_at": True},
        {"agent": None},
        {"more": "x"},
    ],
)
def test_members_have_their_types(change):
    with pytest.raises(ApprovalStoreError):
        read_asked(json.dumps(json.loads(write_asked(asked())) | change).encode())


def test_a_member_that_is_missing_is_a_fault():
    members = json.loads(write_asked(asked()))
    del members["task"]
    with pytest.raises(ApprovalStoreError):
        read_asked(json.dumps(members).encode())
