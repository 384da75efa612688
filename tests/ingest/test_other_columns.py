"""Rows of another meter, or another layout, in one log: each is read by its own columns, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.times import device_time
from cenergyd.documents.meters import logger_and_meters
from cenergyd.readings.model import Reading
from tests.ingest.intake import SERIAL, Intake, accepted

START = 1_699_999_200
HEADER = "time(utc),error,low alarm,high alarm"
POWER_FIRST = f"{HEADER},'Real Power (kW)','Energy (kWh)'\n"
ENERGY_FIRST = f"{HEADER},'Energy (kWh)','Real Power (kW)'\n"
SILENT = f"{HEADER},'Energy (kWh)','Something (kW)'\n"


@pytest_twisted.async_yield_fixture
async def intake(make_intake) -> AsyncIterator[Intake]:
    made = await make_intake()
    await made.add_customer()
    yield made


@pytest.fixture(params=["sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def row(minute: int, *values: object) -> str:
    return f"'{device_time(START + 60 * minute)}',0,0,0,{','.join(map(str, values))}\n"


def veris(minute: int, power: float, columns: int = 76) -> str:
    return encode.log_row(START + 60 * minute, {14: power}, columns=columns, filler="5555") + "\n"


@pytest_twisted.ensureDeferred
async def test_a_header_row_in_the_middle_holds_from_there_on(intake: Intake) -> None:
    log = POWER_FIRST + row(0, 1.5, 900) + POWER_FIRST + row(1, 2.5, 901) + ENERGY_FIRST + row(2, 902, 3.5)
    assert accepted(await intake.log(encode.gz(log.encode())))
    assert await intake.stored() == [
        Reading(START + 60 * k, P=1.5 + k, E_net=900.0 + k) for k in range(3)
    ]  # fmt: skip


@pytest_twisted.ensureDeferred
async def test_rows_below_a_header_that_is_not_understood_are_held(intake: Intake) -> None:
    log = POWER_FIRST + row(0, 1.5, 900) + SILENT + row(1, 901, 2.5)
    assert accepted(await intake.log(log.encode()))
    assert [reading.P for reading in await intake.stored()] == [1.5]
    (held,) = await intake.meters.of_logger(SERIAL)
    assert (held.logs, held.is_not_understood) == (1, True)


@pytest_twisted.ensureDeferred
async def test_rows_above_the_first_header_are_not_read_by_it(intake: Intake) -> None:
    assert accepted(await intake.log((row(0, 900, 1.5) + POWER_FIRST + row(1, 2.5, 901)).encode()))
    assert [(reading.time, reading.P) for reading in await intake.stored()] == [(START + 60, 2.5)]


@pytest.mark.parametrize("foreign", [[row(60, *range(26))], [row(60 + k, *range(26)) for k in range(20)]])
@pytest_twisted.ensureDeferred
async def test_narrow_rows_are_not_read_by_a_layout_of_wide_ones(intake: Intake, foreign: list[str]) -> None:
    log = "".join([*(veris(k, 2.0) for k in range(60)), *foreign])
    assert accepted(await intake.log(encode.gz(log.encode()), MODBUSDEVICECLASS="48"))
    assert [reading.P for reading in await intake.stored()] == [2.0] * 60
    reported = (await logger_and_meters(intake.documents, SERIAL))[1][f"{SERIAL}_1"].body["other_rows"]
    assert reported == {"rows": len(foreign), "time": int(intake.clock.seconds())}
    reply = await intake.log(encode.gz(log.encode()), MODBUSDEVICECLASS="48", SENDDATATRACE="YES")
    assert f"{len(foreign)} row(s) with more or fewer points than the others".encode() in reply.body


@pytest_twisted.ensureDeferred
async def test_wide_rows_are_not_read_by_a_layout_of_narrow_ones(intake: Intake) -> None:
    narrow = [row(k, 7000, 2.5, *range(24)) for k in range(60)]
    log = "".join([*narrow, *(veris(60 + k, 2.0) for k in range(60))])
    assert accepted(await intake.log(encode.gz(log.encode()), MODBUSDEVICECLASS="2"))
    assert [reading.P for reading in await intake.stored()] == [2.5] * 60


@pytest_twisted.ensureDeferred
async def test_a_row_that_lacks_its_last_points_is_read(intake: Intake) -> None:
    log = veris(0, 2.0) + veris(1, 3.0, 75)
    assert accepted(await intake.log(log.encode(), MODBUSDEVICECLASS="48"))
    assert [reading.P for reading in await intake.stored()] == [2.0, 3.0]


@pytest_twisted.ensureDeferred
async def test_a_person_s_columns_are_those_of_every_row(intake: Intake) -> None:
    await intake.choose({"1": {"P": 4}}, 0)
    log = row(0, 1.0) + row(1, 2.0, 9) + veris(2, 2.0)
    assert accepted(await intake.log(log.encode()))
    assert [reading.P for reading in await intake.stored()] == [1.0, 2.0, 5555.0]
