"""A plugin's job writes what is its own and its customer's, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from cenergyd.customers.model import Customer
from cenergyd.jobs.guarded_stores import NotAllowed, Writer, guarded
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings
from tests.derivation.memory import MemoryDocumentStore
from tests.jobs.site import run

OLD = {"until": 1_700_000_000, "logger_serial_number": "OLD1", "facility": "1", "load": "2", "solar": ""}
CUSTOMER = Customer(id="c", facility="1", load="2", logger_serial_number="NEW1", extensions={"history": [OLD]})
POINTS = [FieldPoint(0, {"x": 1.0})]
READINGS = [Reading(0, P=1.0)]


def stores(customer: Customer | None = CUSTOMER, *, built_in: bool = False) -> tuple[Any, Any, Any]:
    return guarded(Writer("peak", customer, built_in), MemoryReadingStore(), MemoryDocumentStore(), object())  # type: ignore[arg-type]


def attempts(readings: Any, name: str) -> list[Any]:
    return [
        readings.write([SeriesReadings(name, READINGS)]),
        readings.replace(name, 0, 1, READINGS),
        readings.replace_many([(name, 0, 1, READINGS)]),
        readings.write_points(name, POINTS),
        readings.replace_points(name, 0, 1, POINTS),
        readings.replace_points_many([(name, 0, 1, POINTS)]),
        readings.merge_points_many([(name, POINTS)]),
    ]


@pytest.mark.parametrize("name", ["NEW1_peak", "OLD1_2_daily_peak", "NEW1_missing_meter_peak"])
def test_new_names_of_its_customer(name: str) -> None:
    readings, _, _ = stores()
    for attempt in attempts(readings, name):
        run(attempt)
    assert run(readings.read([name], 0, 1)) == {name: READINGS}
    assert run(readings.read_points(name, 0, 1)) == POINTS


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NEW1_1", "measured"), ("OLD1_2", "measured"), ("NEW1_17", "measured"), ("NEW1_missing_meter", "computed"),
        ("OTHER_peak", "not one of customer c"), ("NEW1", "not one of"), ("NEW12_peak", "not one of"),
        ("NEW1_1_15m", "built-in"), ("NEW1_energy_1h", "built-in"),
    ],
)  # fmt: skip
def test_nothing_else(name: str, reason: str) -> None:
    readings, _, _ = stores()
    for attempt in attempts(readings, name):
        with pytest.raises(NotAllowed, match=reason):
            run(attempt)


def test_without_a_customer_nothing_is_written() -> None:
    readings, _, _ = stores(None)
    for attempt in attempts(readings, "NEW1_peak"):
        with pytest.raises(NotAllowed, match="for_customer"):
            run(attempt)


def test_built_in_plugins_keep_points_under_their_own_names_only() -> None:
    readings, documents, _ = stores(built_in=True)
    run(readings.replace_points("NEW1_1_15m", 0, 1, POINTS))
    run(documents.put("alert", "k", {}))
    with pytest.raises(NotAllowed):
        run(readings.replace("NEW1_x", 0, 1, READINGS))
    with pytest.raises(NotAllowed):
        run(readings.replace_points("NEW1_1", 0, 1, POINTS))


def test_documents_are_written_under_its_own_name() -> None:
    _, documents, _ = stores()
    run(documents.put("peak", "k", {"a": 1}))
    run(documents.put("peak_record", "k", {"a": 1}, owner="c"))
    assert run(documents.get("peak", "k")).body == {"a": 1}
    assert run(documents.get("outbox", "k")) is None
    for kind in ("outbox", "peaks", "alert"):
        with pytest.raises(NotAllowed, match="begin the kind with its name"):
            documents.put(kind, "k", {})
        with pytest.raises(NotAllowed):
            documents.delete(kind, "k")
    with pytest.raises(NotAllowed, match="not for plugins"):
        documents.find("token")


@pytest.mark.parametrize("name", ["update", "add", "remove", "set_password_hash", "derivation_queue", "close"])
def test_customers_are_only_looked_up(name: str) -> None:
    _, _, customers = stores()
    with pytest.raises(NotAllowed):
        getattr(customers, name)


def test_the_stores_stay_open() -> None:
    readings, documents, _ = stores()
    with pytest.raises(NotAllowed):
        run(readings.close())
    with pytest.raises(NotAllowed):
        documents.close()
