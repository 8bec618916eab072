from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.recent import Recent


@given(st.lists(st.integers(0, 9)), st.integers(1, 5))
def test_what_was_kept_last_is_there_and_no_more_than_fits(keys, size):
    memory = Recent(size)
    kept = []
    for number, key in enumerate(keys):
        memory.keep(key, number)
        if key not in kept:
            kept = [*kept, key][-size:]
        assert memory.get(key) == number
        assert [key for key in range(10) if memory.get(key) is not None] == sorted(kept)
