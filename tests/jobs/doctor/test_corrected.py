"""The doctor names what people have corrected."""

from __future__ import annotations

import time
from zoneinfo import ZoneInfo

import pytest_twisted

from cenergyd.derivation.corrector import CorrectionRequest, Corrector, Listed
from cenergyd.jobs.doctor.corrected import MOST, correction_findings
from cenergyd.jobs.doctor.report import doctor
from cenergyd.readings.corrected import corrected_store
from cenergyd.readings.correction_cache import CorrectionCache
from cenergyd.readings.corrections import LATEST, Correction
from cenergyd.readings.model import Reading
from tests.jobs.conftest import SERIAL, JobsUnderTest

NOW = 1_782_900_000


def made(number: int, kind: str = "void", **more: object) -> Listed:
    facts = {"start": NOW - 7200, "end": NOW - 3600, "reason": "a loose wire", "customer_id": "c", "by": "operator: Jo"}
    return Listed(f"{SERIAL}_2", Correction(number=number, kind=kind, at=NOW + number, **(facts | more)))  # type: ignore[arg-type]


def test_each_is_reported_in_words() -> None:
    found = correction_findings(
        [made(1), made(2, "scale", factor=-1.0), made(3, "shift", seconds=-3600, end=LATEST)], ZoneInfo("UTC")
    )
    assert [each.evidence for each in found] == [{"correction": f"{SERIAL}_2.{n}"} for n in (3, 2, 1)]
    shift, scale, void = (each.message for each in found)
    assert void.startswith("Readings of meter 2 from ") and " are corrected: void. Made by operator: Jo on " in void
    assert void.endswith(": a loose wire.")
    assert " are corrected: times -1. Made by " in scale
    assert " on are corrected: shifted by -3600 s. Made by " in shift


def test_many_are_counted() -> None:
    found = correction_findings([made(n) for n in range(1, MOST + 6)], ZoneInfo("UTC"))
    assert len(found) == MOST + 1
    assert found[-1].message == "5 more corrections change readings of this period."


@pytest_twisted.ensureDeferred
async def test_the_report_lists_those_of_its_time(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer({})
    documents = jobs.context.documents
    readings = corrected_store(jobs.context.readings, CorrectionCache(documents, time.monotonic))
    for meter in "12":
        await jobs.write(meter, [Reading(NOW - 60 * k, P=1.0) for k in range(300, 0, -1)])
    corrector = Corrector(customers=jobs.context.customers, readings=readings, documents=documents)
    wanted = CorrectionRequest(meter="2", kind="void", start=NOW - 7200, end=NOW - 3600, reason="a loose wire")
    listed = await corrector.add(customer, wanted, "operator: Jo", NOW)
    report = await doctor(customer, readings, documents, NOW)
    assert [each.evidence for each in report.findings if each.code == "corrected"] == [{"correction": listed.id}]
    await corrector.undo(customer, listed.id, "operator: Jo", NOW + 10)
    report = await doctor(customer, readings, documents, NOW + 20)
    assert not [each for each in report.findings if each.code == "corrected"]
