"""Marks grouped for few statements."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import PendingMark
from cenergyd.storage.mongodb.ids import id_value
from cenergyd.storage.mongodb.pending_marks import customers_by_range

MARKS = st.lists(
    st.builds(
        lambda customer, start, seconds: PendingMark(customer, start, start + seconds),
        st.sampled_from(["a", "b", "65f1c0ffee65f1c0ffee65f1"]), st.integers(0, 50), st.integers(1, 9),
    )
)  # fmt: skip


def test_customers_with_the_same_range_share_a_statement() -> None:
    marks = [PendingMark("a", 60, 120), PendingMark("b", 0, 60), PendingMark("a", 0, 60), PendingMark("c", 0, 120)]
    assert customers_by_range(marks) == {(0, 120): ["a", "c"], (0, 60): ["b"]}


@given(MARKS)
def test_each_customer_is_in_one_statement_that_covers_all_its_marks(marks: list[PendingMark]) -> None:
    found = [(key, time_range) for time_range, keys in customers_by_range(marks).items() for key in keys]
    assert len(found) == len({mark.customer_id for mark in marks})
    for key, (start, end) in found:
        own = [mark for mark in marks if id_value(mark.customer_id) == key]
        assert (start, end) == (min(mark.start for mark in own), max(mark.end for mark in own))
