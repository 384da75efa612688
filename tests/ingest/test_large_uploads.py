"""A large upload is read in steps, with the same result."""

from __future__ import annotations

import pytest
import pytest_twisted

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from cenergyd.ingest import log_reader
from cenergyd.readings.model import Reading
from tests.ingest.conftest import MakeIntake
from tests.ingest.intake import NOW, accepted

ROWS = [Reading(NOW - 60 * n, 2.5, 0.9, 120.5, 0.5) for n in range(60, 0, -1)]


@pytest.fixture(params=["sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_twisted.ensureDeferred
async def test_in_steps_it_is_read_and_its_checksum_checked(
    make_intake: MakeIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "LARGE_BYTES", 0)
    intake = await make_intake()
    await intake.add_customer(load="1")
    content = encode.log_text(ROWS, VERIS)
    damaged = await intake.log(content, device_class=encode.VERIS_CLASS, MD5CHECKSUM=encode.md5(content + b"x"))
    assert not accepted(damaged)
    assert b"MD5CHECKSUM" in damaged.body
    assert await intake.stored() == []
    assert accepted(await intake.log(content, device_class=encode.VERIS_CLASS))
    assert [(row.time, row.P) for row in await intake.stored()] == [(row.time, row.P) for row in ROWS]
