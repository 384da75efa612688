"""For which times the columns count that were chosen for a meter whose logs are held."""

from __future__ import annotations

from typing import Any

from cenergyd.customers.model import Customer
from cenergyd.web.views.held_meters import with_columns

SERIAL = "001EC6001433"
OLD, NEW = {"P": 14}, {"P": 9}


def columns_after(present: dict[str, Any], *earlier: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The columns of meter 12 at present, and in each entry of the history, after NEW were chosen."""
    history = [{"until": 1000 * (i + 1), **entry} for i, entry in enumerate(earlier)]
    extensions = {"meters": {"layouts": present}, **({"history": history} if history else {})}
    customer = Customer(id="a", logger_serial_number=SERIAL, extensions=extensions)
    update: Any = with_columns(customer, "12", NEW)["extensions"]
    assert len(update.get("history", ())) == len(history)
    return update["meters"]["layouts"].get("12"), [entry["layouts"].get("12") for entry in update.get("history", ())]


def entry(columns: dict[str, int] | None, serial: str = SERIAL) -> dict[str, Any]:
    return {"logger_serial_number": serial, "layouts": {"12": columns} if columns else {}}


def test_without_a_history_they_count_for_all_times() -> None:
    assert columns_after({}) == (NEW, [])
    assert columns_after({"5": OLD}) == (NEW, [])


def test_where_none_are_chosen_they_count_and_where_some_are_these_stay() -> None:
    assert columns_after({}, entry(OLD), entry(None)) == (NEW, [OLD, NEW])
    assert columns_after({"12": OLD}, entry(None)) == (OLD, [NEW])
    assert columns_after({}, entry({"Q": 3})) == (NEW, [NEW]), "without real power nothing can be read"


def test_the_times_of_another_logger_stay() -> None:
    assert columns_after({}, entry(None, "001EC6009999")) == (NEW, [None])


def test_where_all_are_chosen_the_present_ones_change() -> None:
    assert columns_after({"12": OLD}, entry(OLD)) == (NEW, [OLD])
