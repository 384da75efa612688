"""Under corrections everything is what the reference says of rows that were corrected by hand, however the uploads arrived."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
import pytest_twisted

from cenergyd.customers.model import PendingMark
from cenergyd.documents.memory import MemoryDocumentStore
from cenergyd.jobs.energy.job import update_energy
from cenergyd.readings.corrected import CorrectedReadings
from cenergyd.readings.corrections import Correction, CorrectionMap, correction_map
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import SeriesReadings
from tests.derivation.memory import MemoryQueue
from tests.jobs.site import SERIAL, context_on
from tests.near import near
from tests.reference import energy as reference
from tests.reference.sites import Row, Site, random_site, random_site_with_sums
from tests.reference.test_energy import NEAR, customer_of, energy_shown, readings_of
from tests.reference.test_whole_site import check_all, daemon_on


@attrs.define
class MadeCorrections:
    """Corrections that a test makes."""

    of: dict[str, CorrectionMap] = attrs.field(factory=dict)

    async def maps(self, series: Sequence[str]) -> Mapping[str, CorrectionMap]:
        return {name: self.of[name] for name in series if name in self.of}

    async def ever_corrected(self, series: Sequence[str]) -> frozenset[str]:
        return frozenset(self.of) & frozenset(series)


def random_correction(site: Site, rng: random.Random) -> tuple[str, Correction]:
    """A meter, and what somebody says of some of its time."""
    start = rng.randrange(site.start, site.end - 3600)
    end = rng.randrange(start + 600, site.end)
    kind, more = rng.choice(["void", "scale", "shift"]), {}
    if kind == "scale":
        more = {"factor": rng.choice([2.0, -1.0, 0.25])}
    if kind == "shift":  # to a time of which there is nothing
        more = {"seconds": rng.choice([-1, 1]) * (site.end - site.start + rng.randrange(60, 9000))}
    made = Correction(number=1, kind=kind, start=start, end=end, reason="x", customer_id="c", by="x", at=1, **more)  # type: ignore[arg-type]
    return rng.choice(["1", "2"]), made


def by_hand(rows: list[Row], made: Correction) -> list[Row]:
    """The rows as a person would correct them."""
    found = []
    for row in rows:
        if not made.start <= row["time"] < made.end:
            found.append(row)
        elif made.kind == "scale":
            P, Q = (None if row[name] is None else row[name] * made.factor for name in ("P", "Q"))
            registers = {"E_import": None, "E_export": None, "E_net": None}
            found.append({**row, "P": P, "Q": Q, **registers})
        elif made.kind == "shift":
            found.append({**row, "time": row["time"] + made.seconds})
    scaled = [(made.start, made.end)] if made.kind == "scale" else []
    return [{**row, "scaled": scaled} for row in sorted(found, key=lambda row: row["time"])]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("seed", range(100, 108))
async def test_every_hour_is_that_of_rows_corrected_by_hand(seed: int) -> None:
    rng = random.Random(seed)
    site = random_site(seed)
    meter, made = random_correction(site, rng)
    said, customer = MadeCorrections(), customer_of(site)
    store: Any = CorrectedReadings(MemoryReadingStore(), said)
    name = f"{SERIAL}_{meter}"
    half = rng.randrange(len(site.uploads))
    for number, (of, rows) in enumerate(site.uploads):
        if number == half:
            said.of[name] = correction_map([made])
            await update_energy(customer, *made.extent, context_on(store))
        await store.write([SeriesReadings(f"{SERIAL}_{of}", readings_of(rows))])
        first, after = rows[0]["time"], rows[-1]["time"] + 1
        if of == meter and name in said.of:
            first, after = said.of[name].reach(first, after)
        await update_energy(customer, first, after, context_on(store))
    await compare(store, site, {**site.rows, meter: by_hand(site.rows[meter], made)})
    said.of.clear()
    await update_energy(customer, *made.extent, context_on(store))
    await compare(store, site, site.rows)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("seed", (5, 12, 14, 40))
async def test_a_whole_site_with_sums_is_that_of_rows_corrected_by_hand(seed: int) -> None:
    """Points, rollups, energy, demand and bills by power and by registers, of sums as well."""
    rng = random.Random(seed)
    site, said = random_site_with_sums(seed), MadeCorrections()
    kind, meter = rng.choice(["void", "scale"]), rng.choice(["1", "2", "5"])
    start = rng.randrange(site.start, site.end - 3600)
    end = rng.choice([start + 120, start + 6000, (start // 3600 + 1) * 3600 + rng.choice([60, 900])])
    factor = {"factor": rng.choice([2.0, -1.0, 0.25])} if kind == "scale" else {}
    made = Correction(number=1, kind=kind, start=start, end=end, reason="x", customer_id="c", by="x", at=1, **factor)  # type: ignore[arg-type]
    customer = customer_of(site)
    jobs = MemoryQueue({customer.id: customer})
    pending = MemoryQueue({customer.id: customer}, following=jobs)
    store: Any = CorrectedReadings(MemoryReadingStore(), said)
    daemon = daemon_on(customer, store, MemoryDocumentStore(), pending, jobs)
    half = rng.randrange(len(site.uploads))
    for number, (of, rows) in enumerate(site.uploads):
        if number == half:
            said.of[f"{SERIAL}_{meter}"] = correction_map([made])
            await pending.mark([PendingMark(customer.id, *made.extent)])
        await daemon.came(of, rows)
        if rng.random() < 0.1:
            await daemon.catch_up()
    await daemon.catch_up()
    await check_all(daemon, site._replace(rows={**site.rows, meter: by_hand(site.rows[meter], made)}))


async def compare(store: Any, site: Site, rows: dict[str, list[Row]]) -> None:
    times = [row["time"] for own in rows.values() for row in own]
    start, end = min(times) - 7200, max(times) + 7200
    expected = reference.hours(site.setups, rows, site.zone, start, end)
    found = await energy_shown(store, customer_of(site), start, end)
    assert found.keys() == expected.keys()
    for key, fields in found.items():
        for field, value in expected[key].items():
            assert near(fields.get(field, 0.0), value, abs=NEAR), (key, field, fields, value)
