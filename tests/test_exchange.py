import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exchange import NEXT, Exchange, OutOfOrder, Step

WAYS = st.lists(st.sampled_from(Step), max_size=12)


def test_every_step_has_a_row() -> None:
    assert set(NEXT) == set(Step)


@given(WAYS)
def test_no_way_leads_around_the_table(way: list[Step]) -> None:
    exchange = Exchange("01")
    for step in way:
        allowed = step in NEXT[exchange.step]
        if allowed:
            exchange.advance(step)
            assert exchange.step is step
        else:
            before = exchange.step
            with pytest.raises(OutOfOrder):
                exchange.advance(step)
            assert exchange.step is before


@given(WAYS)
def test_nothing_is_swapped_or_sent_before_the_record_is_durable(way: list[Step]) -> None:
    exchange, taken = Exchange("01"), [Step.OPENED]
    for step in way:
        if step in NEXT[exchange.step]:
            exchange.advance(step)
            taken.append(step)
    for later in (Step.CREDENTIALED, Step.FORWARDED):
        if later in taken:
            assert taken.index(Step.RECORDED) < taken.index(later)
            assert taken.index(Step.ATTRIBUTED) < taken.index(Step.DECIDED) < taken.index(Step.RECORDED)


def test_the_end_is_reached_once_from_everywhere() -> None:
    assert not NEXT[Step.CLOSED]
    assert all(Step.CLOSED in after for step, after in NEXT.items() if step is not Step.CLOSED)
