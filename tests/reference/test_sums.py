"""Roles that are sums of meters against a reference that is slow and plain and shares no code with the daemon."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from cenergyd.customers.model import Customer
from cenergyd.readings.model import Reading
from tests.derivation.memory import START, settle, site

TOLERANCE = 30
SERIAL = "00REF"


class Row(NamedTuple):
    """What a meter said."""

    time: int
    P: float


def nearest(rows: list[Row], time: int) -> Row | None:
    """Looks at all of them; of two equally near ones the earlier."""
    return min(rows, key=lambda row: (abs(row.time - time), row.time), default=None)


def belong_together(one: Row, ones: list[Row], others: list[Row]) -> Row | None:
    other = nearest(others, one.time)
    if other is None or nearest(ones, other.time) != one or abs(one.time - other.time) > TOLERANCE:
        return None
    return other


def summed(meters: dict[str, list[Row]], factors: dict[str, float]) -> list[Row]:
    """The sum's rows: of the meter with the lowest id each row with a partner of every other meter."""
    first, *rest = sorted(factors, key=int)
    found = []
    for row in meters[first]:
        partners = [belong_together(row, meters[first], meters[other]) for other in rest]
        if None in partners:
            continue
        times = [row.time, *(partner.time for partner in partners if partner)]
        if max(times) - min(times) > TOLERANCE:
            continue
        P = row.P * factors[first]
        for other, partner in zip(rest, partners, strict=True):
            assert partner is not None
            P += partner.P * factors[other]
        found.append(Row(min(times), P))
    return found


def third(solar: list[Row], utility: list[Row]) -> list[Row]:
    """Load is solar and utility."""
    found = []
    for row in utility:
        partner = belong_together(row, utility, solar)
        if partner is not None:
            found.append(Row(min(row.time, partner.time), row.P + partner.P))
    return found


def random_rows(rng: random.Random) -> list[Row]:
    step, jitter, time = rng.choice([60, 60, 300]), rng.choice([0, 5, 25]), float(START + rng.randrange(60))
    rows: dict[int, Row] = {}
    while time < START + 3 * 3600:
        at = int(time + rng.uniform(0, jitter))
        if rng.random() > 0.05:
            rows[at] = Row(at, round(rng.uniform(-5, 20), 3))
        time += step * (1 + rng.choice([0, 0, 1 / 1800]))
        if rng.random() < 0.01:
            time += rng.choice([step, 1200])
    return list(rows.values())


def random_uploads(rng: random.Random, meters: dict[str, list[Row]]) -> list[tuple[str, list[Row]]]:
    uploads = []
    for meter, rows in meters.items():
        position = 0
        while position < len(rows):
            size = rng.choice([1, 7, 15, 60])
            uploads.append((meter, rows[position : position + size]))
            position += size
    uploads.sort(key=lambda each: each[1][-1].time)
    for _ in range(rng.randrange(8)):  # late ones, and some again
        uploads.insert(rng.randrange(len(uploads)), uploads.pop(rng.randrange(len(uploads))))
    return [*uploads, *rng.sample(uploads, min(3, len(uploads)))]


@pytest.mark.parametrize("seed", range(25))
def test_every_sum_and_every_computed_reading_is_that_of_the_reference(seed: int) -> None:
    rng = random.Random(seed)
    names = rng.sample([str(number) for number in range(2, 20)], rng.randrange(1, 5))
    written = {name: rng.choice(["", "*2", "*0.5", "*10"]) for name in names}
    signs = {name: "-" if rng.random() < 0.25 else "+" for name in names}
    text = "".join(f"{signs[name]}{name}{written[name]}" for name in names).removeprefix("+")
    if text.isdigit():
        text += "*3"
        written[names[0]] = "*3"
    factors = {name: float(written[name][1:] or 1) * (-1 if signs[name] == "-" else 1) for name in names}
    meters = {name: random_rows(rng) for name in ["1", *names]}

    customer = Customer(id="a", facility="1", solar=text, logger_serial_number=SERIAL)
    here = site(customer)
    for meter, rows in random_uploads(rng, meters):
        readings = [Reading(row.time, P=row.P, Q=0.0) for row in rows]
        settle(here.clock, here.came("a", meter, readings))
        if rng.random() < 0.4:
            here.tick()
    here.tick()
    assert here.queue.pending == {} and here.queue.working == {}
    series = [f"{SERIAL}_solar_sum", f"{SERIAL}_missing_meter"]
    stored = settle(here.clock, here.readings.read(series, 0, 1 << 40))
    total = summed(meters, factors)
    for name, expected in zip(series, (total, third(total, meters["1"])), strict=True):
        assert [reading.time for reading in stored[name]] == [row.time for row in expected]
        assert [reading.P for reading in stored[name]] == pytest.approx([row.P for row in expected], abs=1e-6)
