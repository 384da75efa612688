"""Logs whose columns are not known: held as received, and read automatically once the columns are known."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
import pytest_twisted

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import SHARK, LayoutTable
from cenergyd.acquisuite.times import device_time
from cenergyd.documents.kinds import HELD_LOG, HELD_METER, HELD_PART, LAYOUT
from cenergyd.errors import Overloaded, StoredTypeConflict, StoreRejected
from cenergyd.ingest.held_meters import HeldMeter
from cenergyd.jobs.doctor.report import doctor
from cenergyd.jobs.site_state.gather import gather
from cenergyd.jobs.site_state.model import HeldSummary
from cenergyd.readings.model import Reading
from cenergyd.runtime.byte_budget import ByteBudget, Lease
from tests.acquisuite.test_layouts import Section
from tests.ingest.intake import NOW, SERIAL, Intake, accepted

POWER = b"POINT00NAME=Energy\nPOINT00UNITS=kWh\nPOINT01NAME=Real Power\nPOINT01UNITS=kW\nPOINT02NAME=-\nPOINT02UNITS=\n"
LABELS = b"POINT00NAME=Main\nPOINT00UNITS=kW\nPOINT01NAME=Annex\nPOINT01UNITS=kW\nPOINT02NAME=x\n"
WATER = b"POINT00NAME=Water\nPOINT00UNITS=Gallons\nPOINT01NAME=-\nPOINT02NAME=-\n"


async def held(intake: Intake, meter: str = "1") -> HeldMeter | None:
    await intake.meters.flush()
    found = await intake.meters.get(f"{SERIAL}_{meter}")
    return found if found is not None and found.logs else None


@pytest_twisted.ensureDeferred
async def test_a_first_session_logs_before_their_description(intake: Intake) -> None:
    assert accepted(await intake.rows({NOW: (7, 1.5, 0)}))
    assert accepted(await intake.rows({NOW + 60: (8, 2.5, 0)}))
    assert await intake.stored() == []
    assert "CONFIGFILE,modbus/mb-001.ini,," in await intake.manifest(), "in the same session"
    found = await held(intake)
    assert found is not None
    assert (found.state, found.logs, found.points, found.first_row) == ("unknown", 2, 3, NOW)
    assert found.is_not_understood

    assert accepted(await intake.config(POWER))
    await intake.held.work()
    assert await intake.stored() == [Reading(NOW, 1.5, E_net=7), Reading(NOW + 60, 2.5, E_net=8)]
    assert [(mark.start, mark.end) for mark in intake.marks] == [(NOW, NOW + 1), (NOW + 60, NOW + 61)], "in order"
    assert await held(intake) is None
    assert await intake.documents.count(HELD_LOG) == 0
    assert accepted(await intake.rows({NOW + 120: (9, 3.5, 0)}))
    assert len(await intake.stored()) == 3


@pytest_twisted.ensureDeferred
async def test_what_is_held_is_held_in_the_store_before_success(intake: Intake, make_intake: Any) -> None:
    assert accepted(await intake.rows({NOW: (7, 1.5, 0)}))
    # Nothing more is done: the daemon is killed, and another one is asked.
    other = await make_intake()
    assert [(meter.series, meter.logs) for meter in await other.meters.of_logger(SERIAL)] == [(f"{SERIAL}_1", 1)]
    (log,) = await other.logs.page(f"{SERIAL}_1")
    assert (log.meter, log.format, log.received) == ("1", "log", NOW)
    await other.config(POWER)
    await other.held.work()
    assert await other.stored() == [Reading(NOW, 1.5, E_net=7)]


@pytest_twisted.ensureDeferred
async def test_an_upload_by_another_daemon_after_the_columns_are_known_reads_what_is_held(
    intake: Intake, make_intake: Any
) -> None:
    await intake.rows({NOW: (7, 1.5, 0)})
    other = await make_intake()
    await other.config(POWER)
    intake.clock.now += 61  # its memory of the config file's absence is over
    await intake.rows({NOW + 60: (8, 2.5, 0)})
    await intake.held.work()
    assert [reading.P for reading in await intake.stored()] == [1.5, 2.5]


@pytest_twisted.ensureDeferred
async def test_a_choice_from_a_time_on_reads_what_is_held(intake: Intake) -> None:
    await intake.rows({NOW - 60: (1, 2, 3), NOW: (4, 5, 6)})
    await intake.choose({"1": {"P": 6}}, NOW - 30)
    await intake.held.work()
    assert await intake.stored() == [Reading(NOW, 6.0)]
    assert await held(intake) is not None, "the row of before is not known yet"
    await intake.choose({"1": {"P": 4}}, 0)
    await intake.held.work()
    assert await held(intake) is None


@pytest_twisted.ensureDeferred
async def test_a_choice_holds_for_late_and_resent_rows_of_its_time(intake: Intake) -> None:
    await intake.choose({"1": {"P": 4}}, 0)
    await intake.choose({"1": {"P": 5}}, NOW - 60)
    await intake.choose({"1": {"P": 6, "E_import": 4}}, NOW - 30)
    rows = {NOW - 90: (1, 2, 3), NOW - 60: (1, 2, 3), NOW - 31: (1, 2, 3), NOW - 30: (1, 2, 3), NOW: (1, 2, 3)}
    await intake.rows(rows)
    assert [(r.time - NOW, r.P, r.E_import) for r in await intake.stored()] == [
        (-90, 1, None), (-60, 2, None), (-31, 2, None), (-30, 3, 1), (0, 3, 1)
    ]  # fmt: skip
    await intake.rows({NOW - 120: (7, 8, 9)})
    assert (await intake.stored())[0] == Reading(NOW - 120, 7.0)


@pytest_twisted.ensureDeferred
async def test_an_ini_section_reads_what_is_held(intake: Intake) -> None:
    await intake.rows({NOW: (1, 2, 3)}, MODBUSDEVICECLASS="99")
    intake.layouts.table = LayoutTable({"mine": Section(("99",), P="6")})
    intake.held.read_all_again()
    await intake.held.work()
    assert await intake.stored() == [Reading(NOW, 3.0)]


@pytest_twisted.ensureDeferred
async def test_a_restart_finds_what_was_held_and_can_be_read_now(intake: Intake, make_intake: Any) -> None:
    await intake.rows({NOW: (1, 2, 3)}, MODBUSDEVICECLASS="99")
    await intake.rows({NOW: (1, 2, 3)}, "2", MODBUSDEVICECLASS="98")
    restarted = await make_intake(table=LayoutTable({"mine": Section(("99",), P="6")}))
    await restarted.held.work()
    assert await restarted.stored("1") == [Reading(NOW, 3.0)]
    assert await restarted.stored("2") == []
    assert (restarted.meters.not_understood, restarted.meters.held_logs) == (1, 1)


@pytest_twisted.ensureDeferred
async def test_a_doubtful_description_is_reported_and_a_person_decides(intake: Intake) -> None:
    await intake.config(LABELS)
    await intake.rows({NOW: (7, 1.5, 0)})
    found = await held(intake)
    assert found is not None
    assert found.reason == "the config file does not say which column it is"
    assert found.doubts == (
        'real power: "Main" in column 4, "Annex" in column 5 may be it, but the name or unit does not say so',
    )
    await intake.choose({"1": {"P": 5}}, 0)
    await intake.held.work()
    assert await intake.stored() == [Reading(NOW, 1.5)]


@pytest.mark.parametrize("fields", [{"MODBUSDEVICECLASS": "17"}, {}])
@pytest_twisted.ensureDeferred
async def test_logs_of_a_device_without_power_are_held_and_not_reported(intake: Intake, fields: dict[str, str]) -> None:
    if not fields:
        await intake.config(WATER)
    assert accepted(await intake.rows({NOW: (7, 1.5, 0)}, **fields))
    assert await intake.stored() == []
    found = await held(intake)
    assert found is not None
    assert (found.state, found.is_not_understood) == ("other", False)
    await intake.choose({"1": {"P": 5}}, 0)  # but somebody wants a column of it after all
    await intake.held.work()
    assert await intake.stored() == [Reading(NOW, 1.5)]


@pytest_twisted.ensureDeferred
async def test_when_the_room_is_full_the_device_keeps_its_file(make_intake: Any) -> None:
    intake = await make_intake(logger_bytes=2000)
    await intake.add_customer()
    replies = [await intake.rows({NOW + n: (1, 2, 3)}) for n in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 406, 406]
    assert b"the room for its logger's unread logs is full" in replies[2].body
    assert await intake.documents.count(HELD_LOG) == 2
    await intake.meters.flush()  # as every few seconds
    other = await make_intake(logger_bytes=2000)
    assert (await other.rows({NOW + 9: (1, 2, 3)})).status == 406, "the room is that of all daemons"
    await intake.config(POWER)
    await intake.held.work()
    assert accepted(await intake.rows({NOW + 2: (1, 2, 3)})), "the device tries again"
    assert len(await intake.stored()) == 3


@pytest_twisted.ensureDeferred
async def test_other_devices_do_not_crowd_out_meters(make_intake: Any) -> None:
    intake = await make_intake(logger_bytes=8000)
    await intake.add_customer()
    for n in range(12):
        assert accepted(await intake.rows({NOW + n: (1, 2, 3)}, "2", MODBUSDEVICECLASS="27"))
    assert await intake.documents.count(HELD_LOG) == 2, "a quarter of the room; what does not fit is not kept"
    for n in range(5):
        assert accepted(await intake.rows({NOW + n: (1, 2, 3)}))


@pytest_twisted.ensureDeferred
async def test_the_room_of_all_loggers_is_bounded(make_intake: Any) -> None:
    intake = await make_intake(all_bytes=3000)
    await intake.add_customer()
    statuses = [(await intake.rows({NOW: (1, 2, 3)}, str(n))).status for n in range(1, 8)]
    assert statuses == [200] * 4 + [406] * 3


@pytest_twisted.ensureDeferred
async def test_held_logs_are_given_up_after_some_days(make_intake: Any) -> None:
    intake = await make_intake(keep_days=2)
    await intake.add_customer()
    await intake.rows({NOW: (1, 2, 3)})
    intake.clock.now += 86400
    await intake.rows({NOW: (1, 2, 3)})
    intake.clock.now += 86401
    await intake.held.work()
    assert await intake.documents.count(HELD_LOG) == 1
    assert intake.logs.expired == 1
    intake.clock.now += 86401
    await intake.held.work()
    intake.clock.now += 86400
    await intake.held.work()
    assert await intake.documents.count(HELD_LOG) == await intake.documents.count(HELD_METER) == 0


@pytest_twisted.ensureDeferred
async def test_a_large_log_is_kept_in_parts(intake: Intake) -> None:
    import random

    chance = random.Random(1)
    lines = [
        f"'{device_time(NOW - 60 * n)}',0,0,0," + ",".join(str(chance.random()) for _ in range(30)) + "\n"
        for n in range(9000)
    ]
    content = encode.gz("".join(lines).encode())
    assert len(content) > 1_500_000
    assert accepted(await intake.log(content))
    assert await intake.documents.count(HELD_PART) > 1
    (log,) = await intake.logs.page(f"{SERIAL}_1")
    assert await intake.logs.content(log) == content
    await intake.choose({"1": {"P": 33}}, 0)
    await intake.held.work()
    assert len(await intake.stored()) == 9000
    assert await intake.documents.count(HELD_PART) == await intake.documents.count(HELD_LOG) == 0


@pytest_twisted.ensureDeferred
async def test_logs_of_errors_alone_are_not_held(intake: Intake) -> None:
    assert accepted(await intake.log(encode.error_row(NOW, 139).encode() + b"\n"))
    assert await held(intake) is None
    assert len(intake.without_readings) == 1, "the site's state may change by it"


@pytest_twisted.ensureDeferred
async def test_a_log_without_a_readable_row_is_refused(intake: Intake) -> None:
    assert (await intake.log(b"rubbish\n")).status == 406
    assert await held(intake) is None


@pytest_twisted.ensureDeferred
async def test_a_meter_that_is_replaced_by_another_kind_is_not_read_by_the_old_description(intake: Intake) -> None:
    await intake.config(POWER, device_class="2")
    await intake.rows({NOW: (7, 1.5, 0)}, MODBUSDEVICECLASS="2")
    await intake.rows({NOW + 60: (9, 9, 9)}, MODBUSDEVICECLASS="98")
    assert await intake.stored() == [Reading(NOW, 1.5, E_net=7)]
    await intake.config(
        POWER.replace(b"POINT01", b"POINT02").replace(b"POINT02NAME=-\nPOINT02UNITS=\n", b""), device_class="98"
    )
    await intake.held.work()
    assert await intake.stored() == [Reading(NOW, 1.5, E_net=7), Reading(NOW + 60, 9.0, E_net=9)]


@pytest_twisted.ensureDeferred
async def test_xml_devices_without_names_are_held(intake: Intake) -> None:
    nameless = dict.fromkeys(("P", "L1_PF", "L1_V", "Q"), ("", ""))
    known = encode.xml_device("2", [Reading(NOW, 4.0)], SHARK)
    strange = encode.xml_device("1", [Reading(NOW, 1.5)], SHARK, points=nameless)
    assert accepted(await intake.xml(encode.xml_message(SERIAL, [known, strange])))
    assert await intake.stored("2") == [Reading(NOW, 4.0)]
    assert await intake.stored("1") == []
    (log,) = await intake.logs.page(f"{SERIAL}_1")
    assert log.format == "xml"
    await intake.choose({"1": {"P": 13}}, 0)
    await intake.held.work()
    assert await intake.stored("1") == [Reading(NOW, 1.5)]
    assert await intake.stored("2") == [Reading(NOW, 4.0)]


@pytest_twisted.ensureDeferred
async def test_a_meter_can_be_marked_as_not_a_power_meter(intake: Intake) -> None:
    await intake.rows({NOW: (1, 2, 3)})
    await intake.meters.dismiss(f"{SERIAL}_1", True)
    await intake.rows({NOW + 60: (1, 2, 3)})
    found = await held(intake)
    assert found is not None
    assert (found.logs, found.is_not_understood) == (2, False)


@pytest_twisted.ensureDeferred
async def test_a_layout_learned_by_an_earlier_version_is_learned_again_from_its_file(intake: Intake) -> None:
    await intake.config(POWER)
    await intake.documents.put(LAYOUT, f"{SERIAL}_1", {"P": [14, 1.0], "L1_PF": [17, 1.0]}, owner=SERIAL)
    intake.clock.now += 61
    await intake.rows({NOW: (7, 1.5, 0)})
    assert await intake.stored() == [Reading(NOW, 1.5, E_net=7)]
    await intake.documents.put(LAYOUT, f"{SERIAL}_2", {"P": [14, 1.0]}, owner=SERIAL)
    await intake.rows({NOW: (7, 1.5, 0)}, "2")
    assert await intake.stored("2") == [], "of which there is no file"


@pytest_twisted.ensureDeferred
async def test_nothing_but_rows_of_the_future_is_not_acknowledged(intake: Intake) -> None:
    await intake.choose({"1": {"P": 4}}, 0)
    reply = await intake.rows({NOW + 200_000: (1,), NOW + 200_060: (2,)})
    assert reply.status == 503
    assert reply.body.startswith(b"FAILURE: all rows are later than the server's time")
    assert accepted(await intake.rows({NOW + 200_000: (1,), NOW: (2,)})), "one jumped row does not cost the others"
    assert [reading.P for reading in await intake.stored()] == [2]
    assert (await intake.rows({NOW + 200_000: (1, 2)}, "9")).status == 503, "of a meter that is not known, too"
    message = encode.xml_message(SERIAL, [encode.xml_device("5", [Reading(NOW + 200_000, 4.0)], SHARK)])
    assert (await intake.xml(message)).status == 503


@pytest.mark.parametrize(
    ("error", "status"),
    [(StoredTypeConflict("influx.example:8086 holds x"), 503), (StoreRejected("influx.example:8086 rejects x"), 406)],
)
@pytest_twisted.ensureDeferred
async def test_a_store_that_refuses_readings_is_reported_without_its_address(
    intake: Intake, error: Exception, status: int
) -> None:
    async def refuse(batches: object) -> None:
        raise error

    await intake.choose({"1": {"P": 4}}, 0)
    with patch.object(intake.readings, "write", refuse):
        reply = await intake.rows({NOW: (1,)})
    assert reply.status == status
    assert b"influx" not in reply.body
    assert (intake.receiver.type_conflict_at == NOW) == (status == 503)
    assert accepted(await intake.rows({NOW: (1,)})), "the device sends it again"


@pytest_twisted.ensureDeferred
async def test_reading_what_is_held_counts_among_the_bytes_of_all_requests(intake: Intake) -> None:
    """It waits while requests leave no room for it, and takes its share while it reads."""
    budget = intake.held.budget = ByteBudget(1 << 20)
    await intake.rows({NOW + 60 * row: (7, 1.5, 0) for row in range(500)})
    crowd = budget.own_lease()
    crowd.count(budget.total)
    await intake.config(POWER)
    with pytest.raises(Overloaded):
        await intake.held.work()
    assert await held(intake) is not None
    assert budget.held == budget.total
    crowd.release()
    most = 0
    account = budget._account

    def watched(lease: Lease, more: int) -> None:
        nonlocal most
        account(lease, more)
        most = max(most, budget.held)

    with patch.object(budget, "_account", watched):
        await intake.held.work()
    assert most > 500 * 200
    assert budget.held == 0


@pytest_twisted.ensureDeferred
async def test_the_doctor_and_the_site_s_state_tell_of_it(intake: Intake) -> None:
    customer = await intake.customers.by_serial(SERIAL)
    assert customer is not None
    customer = await intake.customers.update(customer.id, {"facility": "1", "load": "2"})
    await intake.config(LABELS)
    await intake.rows({NOW: (7, 1.5, 0)})
    await intake.rows({NOW: (7, 1.5, 0)}, "3", MODBUSDEVICECLASS="98")
    await intake.rows({NOW: (7, 1.5, 0)}, "4", MODBUSDEVICECLASS="27")
    await intake.meters.flush()
    report = await doctor(customer, intake.readings, intake.documents, NOW)
    reported = {
        finding.message: finding.severity for finding in report.findings if finding.code == "meter_not_understood"
    }
    assert [message[:24] for message in reported] == ["1 logs of meter 1 are he", "1 logs of meter 3 are he"]
    assert list(reported.values()) == ["error", "warning"]
    assert '"Main" in column 4' in next(iter(reported))
    (facts,) = await gather([customer], intake.documents)
    assert [(meter.meter, meter.held) for meter in facts.meters] == [("1", HeldSummary(NOW, 1)), ("2", None)]
