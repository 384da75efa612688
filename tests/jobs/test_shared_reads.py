"""One read for all jobs of a window."""

from __future__ import annotations

from typing import Any

from cenergyd.jobs.shared_reads import SharedReads
from cenergyd.readings.batching import LONG_SECONDS
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from tests.jobs.site import LOAD, SERIAL, SOLAR, UTILITY, run, store_with


class RecordingReadings(MemoryReadingStore):
    """Records which series were read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []

    async def read(self, series: Any, *rest: Any) -> dict[str, list[Reading]]:
        self.asked.append(list(series))
        return await super().read(series, *rest)


def test_each_series_of_a_range_is_read_once_and_each_job_has_its_own_list() -> None:
    store = RecordingReadings()
    filled = store_with(utility=[Reading(60, 1.0)], load=[Reading(120, 2.0)])
    store._readings = filled._readings
    shared = SharedReads(store)
    first = run(shared.read([UTILITY], 0, 3600))
    first[UTILITY].clear()
    assert run(shared.read([UTILITY, LOAD, SOLAR], 0, 3600)) == {
        UTILITY: [Reading(60, 1.0)],
        LOAD: [Reading(120, 2.0)],
        SOLAR: [],
    }
    assert run(shared.read([LOAD], 0, 3600)) == {LOAD: [Reading(120, 2.0)]}
    assert store.asked == [[UTILITY], [LOAD, SOLAR]]
    assert run(shared.read([LOAD], 0, 100)) == {LOAD: []}
    assert run(shared.read([LOAD], 0, LONG_SECONDS + 1)) == run(store.read([LOAD], 0, LONG_SECONDS + 1))
    assert run(shared.read([UTILITY, LOAD], 0, 3600, 1)) == run(store.read([UTILITY, LOAD], 0, 3600, 1))


def test_what_a_job_writes_it_reads() -> None:
    store = MemoryReadingStore()
    shared = SharedReads(store)
    assert run(shared.read(["A_own"], 0, 60)) == {"A_own": []}
    run(shared.write([SeriesReadings("A_own", [Reading(0, 1.0)])]))
    assert run(shared.read(["A_own"], 0, 60)) == {"A_own": [Reading(0, 1.0)]}
    run(shared.replace("A_own", 0, 60, [Reading(1, 2.0)]))
    assert run(shared.read(["A_own"], 0, 60)) == {"A_own": [Reading(1, 2.0)]}
    run(shared.replace_many([("A_own", 0, 60, [])]))
    assert run(shared.read(["A_own"], 0, 60)) == {"A_own": []}


def test_what_is_read_at_once_is_read_from_another_store_and_kept() -> None:
    filled = store_with(utility=[Reading(60, 1.0)], load=[Reading(120, 2.0)])
    store, merged, at_once = RecordingReadings(), RecordingReadings(), RecordingReadings()
    for each in (store, merged, at_once):
        each._readings = filled._readings
    shared = SharedReads(store, merged, SERIAL, at_once=at_once)
    assert run(shared.read_at_once([UTILITY, "B_1"], 0, 3600)) == {UTILITY: [Reading(60, 1.0)], "B_1": []}
    assert run(shared.read([UTILITY, LOAD], 0, 3600)) == {UTILITY: [Reading(60, 1.0)], LOAD: [Reading(120, 2.0)]}
    assert (store.asked, merged.asked, at_once.asked) == ([["B_1"]], [[LOAD]], [[UTILITY]])
