"""Who held which logger when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import Customer
from cenergyd.customers.ownership import (
    FOREVER,
    MAX_OWNED,
    OwnedLogger,
    after_giving_up,
    first_owned,
    own_parts,
    own_rows,
    owned_loggers,
    owned_since,
    ownership_parts,
    owns,
    recorded,
    released_loggers,
    without_foreign,
)
from cenergyd.readings.model import Reading

times = st.integers(0, 30)
held = st.lists(st.builds(OwnedLogger, st.sampled_from("AB"), times, times), max_size=4)


@given(held, times, times)
def test_parts_cover_the_range_and_say_what_is_held(loggers: list[OwnedLogger], start: int, end: int) -> None:
    parts = ownership_parts(loggers, "A", start, end)
    assert [time for since, until, _ in parts for time in range(since, until)] == list(range(start, end))
    for since, until, is_owned in parts:
        for time in range(since, until):
            assert is_owned == any(each.serial == "A" and each.since <= time < each.until for each in loggers)


def test_what_is_recorded_says_whose_readings_are() -> None:
    """Held, sold, and held again."""
    customer = Customer(
        id="a", facility="1", load="2+3", logger_serial_number="X",
        extensions={"loggers": recorded([OwnedLogger("X", 0, 10), OwnedLogger("Y", 10, 20), OwnedLogger("X", 20)])},
    )  # fmt: skip
    assert own_parts(customer, "X", 5, 30) == [(5, 10), (20, 30)]
    assert own_parts(customer, "X", 12, 18) == own_parts(customer, "Z", 0, 30) == []
    assert [time for time in range(25) if owns(customer, "Y", time)] == list(range(10, 20))
    assert owned_since(customer) == 20
    rows = [Reading(time, 1.0) for time in range(8, 23)]
    assert [row.time for row in own_rows(customer, "X", rows)] == [8, 9, 20, 21, 22]
    assert own_rows(customer, "X", rows[:2]) == rows[:2]
    last = {
        "X_1": Reading(15, 1.0),
        "X_2": Reading(21, 1.0),
        "X_3": Reading(9, 1.0),
        "X_missing_meter": Reading(19, 1.0),
        "Q_1": Reading(1, 1.0),
    }
    assert set(without_foreign(customer, last)) == {"X_2", "X_3", "Q_1"}


def test_without_a_record_everything_is_the_customers() -> None:
    customer = Customer(id="a", facility="1", load="2", logger_serial_number="X")
    assert own_parts(customer, "X", 3, 9) == [(3, 9)]
    assert own_parts(customer, "X", 9, 9) == []
    assert owned_since(customer) == 0
    last = {"X_1": Reading(15, 1.0)}
    assert without_foreign(customer, last) == last


def test_a_logger_that_uploaded_nothing_was_never_held() -> None:
    now = [OwnedLogger("A", 10, 20), OwnedLogger("B", 30)]
    assert after_giving_up(now, "B", None, None) == [OwnedLogger("A", 10, 20)]
    assert after_giving_up(now, "B", 5, 29) == [OwnedLogger("A", 10, 20)]
    assert after_giving_up(now, "B", 5, 40) == [OwnedLogger("A", 10, 20), OwnedLogger("B", 30, 41)]
    assert after_giving_up([OwnedLogger("B", 0)], "B", 35, 40) == [OwnedLogger("B", 35, 41)]


def test_history_counts_only_where_the_logger_was_held() -> None:
    history = [{"until": 100, "logger_serial_number": "X", "facility": "1", "load": "2"}]
    customer = Customer(
        id="a", facility="1", load="2", logger_serial_number="Y",
        extensions={"history": history, "loggers": recorded([OwnedLogger("X", 40, 60), OwnedLogger("Y", 90)])},
    )  # fmt: skip
    found = [(period.start, period.end, period.serial) for period in setup_periods(customer, 0, 200)]
    assert found == [(0, 40, ""), (40, 60, "X"), (60, 100, ""), (100, 200, "Y")]
    assert owned_loggers(customer) == [OwnedLogger("X", 40, 60), OwnedLogger("Y", 90, FOREVER)]
    assert first_owned(customer) == 90


def test_what_is_not_a_list_of_loggers_is_none() -> None:
    for wrong in (None, 3, "X"):
        assert owned_loggers(Customer(id="a", extensions={"loggers": wrong})) is None
        assert released_loggers(Customer(id="a", extensions={"released": wrong})) == frozenset()
    customer = Customer(id="a", extensions={"loggers": [{"serial": 3}, 5, {"serial": "X", "since": 1, "until": "x"}]})
    assert owned_loggers(customer) == [OwnedLogger("X", 1, FOREVER)]


def test_loggers_that_were_held_are_bounded() -> None:
    kept = recorded([OwnedLogger(f"X{number}", number, number + 1) for number in range(3 * MAX_OWNED)])
    assert len(kept) == MAX_OWNED
    assert kept[-1]["serial"] == f"X{3 * MAX_OWNED - 1}"
