"""The archive of accepted uploads: its records, its folder, the service, and reading it again."""

from __future__ import annotations

import errno
import gzip
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from cenergyd.acquisuite.encode import gz, log_text, xml_device, xml_message
from cenergyd.acquisuite.layouts import VERIS, LayoutTable
from cenergyd.acquisuite.row_times import row_times
from cenergyd.customers.model import Customer, TimeRange
from cenergyd.documents.memory import MemoryDocumentStore
from cenergyd.errors import StoreUnavailable
from cenergyd.ingest.archive import UploadArchive, without_password
from cenergyd.ingest.archive_files import ArchiveFolder, ArchiveFull
from cenergyd.ingest.archive_format import (
    ArchivedUpload,
    ArchiveEntry,
    Damage,
    DamagedRecord,
    archived_entries,
    day_of,
    encoded,
    file_day,
    read_upload,
    without_passwords,
)
from cenergyd.ingest.log_reader import LogReader
from cenergyd.ingest.meter_layouts import MeterLayouts
from cenergyd.ingest.reread import RereadCounts, Rereader
from cenergyd.readings.corrected import corrected_store
from cenergyd.readings.corrections import LATEST, CorrectionMap
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from tests.ingest.intake import NOW as INTAKE_NOW
from tests.ingest.intake import Intake, accepted

DAY = 86400
NOW = 1_750_000_000
SERIAL = "001EC6001433"


def upload(content: bytes = b"x", *, received: int = NOW, serial: str = SERIAL, **more: Any) -> ArchivedUpload:
    return ArchivedUpload(
        serial=serial, customer_id="c1", received=received, format=more.pop("format", "log"), content=content, **more
    )


def uploads_in(path: Path, serial: str = SERIAL) -> tuple[list[ArchivedUpload], list[Damage]]:
    found = list(archived_entries(path, serial))
    return (
        [read_upload(each) for each in found if isinstance(each, ArchiveEntry)],
        [each for each in found if isinstance(each, Damage)],
    )


texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(
    uploads=st.lists(
        st.builds(
            upload,
            st.binary(max_size=200) | st.just(gzip.compress(b"rows")),
            serial=st.sampled_from(["A1", "A12", "B2"]),
            fields=st.dictionaries(texts.filter(lambda name: "PASSWORD" not in name.upper()), texts, max_size=4),
            filename=texts,
        ),
        max_size=6,
    ),
    cut=st.integers(0, 400),
)
def test_records_come_back_as_they_were_and_a_cut_one_hides_no_other(
    tmp_path_factory: pytest.TempPathFactory, uploads: list[ArchivedUpload], cut: int
) -> None:
    path = tmp_path_factory.mktemp("a") / "f"
    records = [encoded(each) for each in uploads]
    path.write_bytes(b"".join(records))
    found, damage = uploads_in(path, "A1")
    assert (found, damage) == ([each for each in uploads if each.serial == "A1"], [])
    data = b"".join(records)
    path.write_bytes(data[: max(0, len(data) - cut)])
    whole, left = 0, len(data) - cut
    for record in records:
        left -= len(record)
        if left < 0:
            break
        whole += 1
    found, damage = uploads_in(path, "A1")
    assert found == [each for each in uploads[:whole] if each.serial == "A1"]
    assert all(each.is_end for each in damage) and len(damage) <= 1


def test_damage_within_a_file_is_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "f"
    one, two, three = (encoded(upload(text)) for text in (b"one", b"two", b"three"))
    path.write_bytes(one + b"?" * 30 + b"\n" + two + three)
    found, damage = uploads_in(path)
    assert [each.content for each in found] == [b"one", b"two", b"three"]
    assert [(each.at, each.is_end) for each in damage] == [(len(one), False)]
    broken = bytearray(one)
    broken[-3] ^= 1
    path.write_bytes(bytes(broken) + two)
    first, second = archived_entries(path, SERIAL)
    assert isinstance(first, ArchiveEntry) and isinstance(second, ArchiveEntry)
    with pytest.raises(DamagedRecord):
        read_upload(first)
    assert read_upload(second).content == b"two"


def test_no_password_is_kept() -> None:
    assert without_passwords({"PASSWORD": "x", "ESERVERPASSWORD": "x", "MODE": "y"}) == {"MODE": "y"}
    message = (
        b"<DAS><mode>LOGFILEUPLOAD</mode><serial>%s</serial>%s<devices><device><address>1</address>"
        b"</device></devices></DAS>"
    )
    secret = b"<Password >hu&#110;ter2</Password><password/><password>hunter3</password>"
    kept = without_password(upload(message % (SERIAL.encode(), secret), format="xml"))
    assert kept is not None
    assert b"unter" not in kept.content and SERIAL.encode() in kept.content
    plain = upload(message % (SERIAL.encode(), b""), format="xml")
    assert without_password(plain) is plain
    wide = (message % (SERIAL.encode(), b"<password>hunter2</password>")).decode().encode("utf-16")
    assert without_password(upload(wide, format="xml")) is None, "where it cannot be taken out, nothing is kept"


def test_one_file_a_day_and_daemon_for_the_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "archive"
    one, two = ArchiveFolder(folder, 10, 1 << 20), ArchiveFolder(folder, 10, 1 << 20)
    one.append([encoded(upload(b"a"))], NOW)
    two.append([encoded(upload(b"b"))], NOW)
    one.append([encoded(upload(b"c"))], NOW)
    one.append([encoded(upload(b"d"))], NOW + DAY)
    paths = sorted(folder.iterdir())
    assert [file_day(path.name) for path in paths] == [day_of(NOW), day_of(NOW), day_of(NOW + DAY)]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(each.content for path in paths for each in uploads_in(path)[0]) == [b"a", b"b", b"c", b"d"]
    for path in paths:
        path.unlink()  # by somebody
    one.append([encoded(upload(b"e"))], NOW + DAY)
    assert [each.content for path in folder.iterdir() for each in uploads_in(path)[0]] == [b"e"]
    one.close()
    two.close()


def test_old_days_are_deleted_and_the_oldest_beyond_the_bound(tmp_path: Path) -> None:
    record = encoded(upload(os.urandom(1000)))
    for ago in range(6):
        (tmp_path / f"{day_of(NOW - ago * DAY)}.other-daemon.uploads").write_bytes(record)
    (tmp_path / "notes.txt").write_text("somebody's")
    folder = ArchiveFolder(tmp_path, 4, 10 * len(record))
    assert folder.prune(NOW) == 1
    assert folder.total_bytes == 5 * len(record)
    folder.max_bytes = 3 * len(record)
    folder.append([record], NOW + 3600)
    left = sorted(path.name[:10] for path in tmp_path.iterdir())
    assert left == sorted([day_of(NOW), day_of(NOW), day_of(NOW - DAY), "notes.txt"])
    with pytest.raises(ArchiveFull):
        folder.append([record] * 3, NOW + 7200)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.uploads")) <= 3 * len(record)
    folder.close()


def test_a_full_disk_leaves_no_half_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ArchiveFolder(tmp_path, 4, 1 << 20)
    folder.append([encoded(upload(b"before"))], NOW)
    write = os.write

    def full(file: int, data: Any) -> int:
        write(file, bytes(data)[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        folder.append([encoded(upload(b"lost"))], NOW)
    monkeypatch.setattr(os, "write", write)
    folder.append([encoded(upload(b"after"))], NOW)
    (path,) = tmp_path.iterdir()
    found, damage = uploads_in(path)
    assert ([each.content for each in found], damage) == ([b"before", b"after"], [])
    folder.close()


@pytest_twisted.ensureDeferred
async def test_the_service_keeps_what_it_was_given_and_shows_what_it_could_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ArchiveFolder(tmp_path, 4, 1 << 20)
    archive = UploadArchive(reactor, folder)  # type: ignore[arg-type]
    archive.keep(upload(b"too early"))
    archive.startService()
    for number in range(50):
        archive.keep(upload(b"%d" % number))
    monkeypatch.setattr("cenergyd.ingest.archive.QUEUE_BYTES", 100)
    archive.keep(upload(bytes(101)))
    await archive.stopService()
    (path,) = tmp_path.iterdir()
    assert [each.content for each in uploads_in(path)[0]] == [b"%d" % number for number in range(50)]
    assert (archive.kept, archive.left_out) == (50, 2)


@pytest_twisted.ensureDeferred
async def test_one_that_never_began_ends_at_once(tmp_path: Path) -> None:
    await UploadArchive(reactor, ArchiveFolder(tmp_path / "x", 4, 1 << 20)).stopService()  # type: ignore[arg-type]
    assert not (tmp_path / "x").exists()


@pytest_twisted.ensureDeferred
async def test_a_disk_that_fails_costs_archived_uploads_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    archive = UploadArchive(reactor, ArchiveFolder(tmp_path / "file" / "x", 4, 1 << 20))  # type: ignore[arg-type]
    archive.startService()
    archive.keep(upload())
    await archive.stopService()
    assert (archive.kept, archive.left_out) == (0, 1)


def test_times_of_rows() -> None:
    rows = (
        b"time(UTC),error,lowrange,highrange,x\r\n'2025-06-15 12:00:00',0,,,1\r\n'2025-06-15 12:01:00',139,,,\r\n"
        b"2025-06-15 12:02:00,,,,\nrubbish\n'2025-06-15 12:03:00',0"
    )
    noon = 1_749_988_800
    for content in (rows, gzip.compress(rows)):
        assert row_times(content, 1 << 20) == {noon, noon + 120, noon + 180}


class ArchivedMeter:
    """A logger's meter with an archive in a folder and readings in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.customer = Customer(id="c1", load="1", solar="2", logger_serial_number=SERIAL)
        self.readings = MemoryReadingStore()
        self.marked: list[Any] = []
        self.gone: list[tuple[str, int, int]] = []
        self.reported: list[tuple[int, int]] = []
        self.files = ArchiveFolder(folder, 400, 1 << 30)

    async def mark(self, marks: Any) -> None:
        self.marked += marks

    async def removed(self, series: str, start: int, end: int) -> None:
        self.gone.append((series, start, end))

    def archive(self, rows: list[Reading], *, received: int, meter: str = "1", **more: Any) -> None:
        fields = {"MODE": "LOGFILEUPLOAD", "MODBUSDEVICE": meter, "MODBUSDEVICECLASS": "48"}
        kept = upload(
            gz(log_text(rows, VERIS)), received=received, fields=fields, filename=f"mb-{meter:0>3}.log.gz", **more
        )
        self.files.append([encoded(kept)], received)

    async def reread(self, start: int, end: int, meter: str | None = None, *, dry_run: bool = False) -> RereadCounts:
        layouts = MeterLayouts(LayoutTable(), MemoryDocumentStore(), reactor)  # type: ignore[arg-type]
        rereader = Rereader(
            readings=self.readings, queue=self, reader=LogReader(layouts, reactor, 3600), clock=reactor,  # type: ignore[arg-type]
            in_thread=deferToThread, removed=self.removed, dry_run=dry_run,  # type: ignore[arg-type]
            progress=lambda done, total: self.reported.append((done, total)),
        )  # fmt: skip
        return await rereader.run(self.folder, self.customer, TimeRange(start, end), meter=meter)

    async def stored(self, meter: str = "1") -> dict[int, float | None]:
        name = f"{SERIAL}_{meter}"
        return {each.time: each.P for each in (await self.readings.read([name], 0, 1 << 40))[name]}


def rows(times: range, P: float) -> list[Reading]:
    return [Reading(time, P=P, L1_PF=1.0, L1_V=120.0, Q=0.0) for time in times]


@pytest_twisted.ensureDeferred
async def test_only_times_that_the_archive_has_are_replaced(tmp_path: Path) -> None:
    archived = ArchivedMeter(tmp_path)
    base = NOW // DAY * DAY
    await archived.readings.write([SeriesReadings(f"{SERIAL}_1", rows(range(base - 120, base + 600, 60), 99.0))])
    archived.archive(rows(range(base, base + 300, 60), 1.0), received=base + 400)
    archived.archive(rows(range(base + 240, base + 360, 60), 2.0), received=base + 500)  # overlaps: the later counts
    archived.archive(rows(range(base + 120, base + 180, 60), 3.0), received=base + 3 * DAY)  # came days late
    looked = await archived.reread(base + 60, base + 10_000, dry_run=True)
    assert (looked.changed, looked.removed, archived.marked) == (6, 0, []), "of one time in two uploads each counts"
    counts = await archived.reread(base + 60, base + 10_000)
    assert (counts.uploads, counts.changed, counts.removed) == (3, 6, 0)
    stored = await archived.stored()
    assert stored == {
        **dict.fromkeys(range(base - 120, base + 600, 60), 99.0),
        base + 60: 1.0, base + 120: 3.0, base + 180: 1.0, base + 240: 2.0, base + 300: 2.0,
    }  # fmt: skip
    marks = [(base + 60, base + 301), (base + 120, base + 121)]
    assert [(mark.start, mark.end) for mark in archived.marked] == [each for each in marks for _ in range(2)]
    archived.reported.clear()
    await archived.reread(base + 60, base + 10_000)  # repeating it comes to the same
    assert archived.reported == sorted(archived.reported)
    assert len(archived.reported) == 5, "each of three uploads, and both days"
    assert archived.reported[-1][0] == archived.reported[-1][1] == archived.files.total_bytes
    assert await archived.stored() == stored


@pytest_twisted.ensureDeferred
async def test_a_row_that_gives_nothing_now_takes_its_reading_away(tmp_path: Path) -> None:
    archived = ArchivedMeter(tmp_path)
    base = NOW // DAY * DAY
    await archived.readings.write([SeriesReadings(f"{SERIAL}_1", rows(range(base, base + 240, 60), 99.0))])
    empty = [Reading(base + 60), Reading(base + 120)]
    archived.archive([*rows(range(base, base + 60, 60), 1.0), *empty], received=base + 200)
    counts = await archived.reread(base, base + DAY)
    assert (counts.changed, counts.removed) == (1, 2)
    assert await archived.stored() == {base: 1.0, base + 180: 99.0}
    assert archived.gone == [(f"{SERIAL}_1", base, base + 121)]


@pytest_twisted.ensureDeferred
async def test_what_an_interrupted_run_has_written_is_marked(tmp_path: Path) -> None:
    archived = ArchivedMeter(tmp_path)
    base = NOW // DAY * DAY
    await archived.readings.write([SeriesReadings(f"{SERIAL}_1", rows(range(base, base + 240, 60), 99.0))])
    archived.archive([*rows(range(base, base + 60, 60), 1.0), Reading(base + 60)], received=base + 200)

    async def interrupted(series: str, start: int, end: int) -> None:
        raise StoreUnavailable("interrupted")

    archived.removed = interrupted  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await archived.reread(base, base + DAY)
    assert (await archived.stored())[base] == 1.0
    assert [(mark.start, mark.end) for mark in archived.marked] == [(base, base + 61)]


class Interrupted(MemoryReadingStore):
    """A store in which an upload's readings arrive between what is read and what is written because of it."""

    def __init__(self, coming: SeriesReadings) -> None:
        super().__init__()
        self._coming = coming

    async def read(self, *asked: Any) -> Any:
        found = await super().read(*asked)
        await super().write([self._coming])
        return found


@pytest_twisted.ensureDeferred
async def test_what_is_uploaded_meanwhile_stays(tmp_path: Path) -> None:
    """Late rows in a gap, and new ones: none is in the archive's part that is read, nor in what was stored before."""
    archived, name = ArchivedMeter(tmp_path), f"{SERIAL}_1"
    base = NOW // DAY * DAY
    gap, new = range(base + 600, base + 1200, 60), range(base + 1800, base + 2400, 60)
    archived.readings = Interrupted(SeriesReadings(name, [*rows(gap, 7.0), *rows(new, 8.0)]))
    known = [*range(base, base + 600, 60), *range(base + 1200, base + 1800, 60)]
    await archived.readings.write([SeriesReadings(name, [Reading(time, 99.0, E_net=1.0) for time in known])])
    archived.archive([Reading(time, 1.0) for time in known[1:]], received=base + 1800)
    counts = await archived.reread(base, base + DAY)
    assert (counts.changed, counts.removed) == (19, 0)
    wanted = {base: 99.0, **dict.fromkeys(known[1:], 1.0), **dict.fromkeys(gap, 7.0), **dict.fromkeys(new, 8.0)}
    assert await archived.stored() == dict(sorted(wanted.items()))
    found = (await archived.readings.read([name], 0, 1 << 40))[name]
    assert [each.time for each in found if each.E_net is not None] == [base], "registers of columns that are none"


@pytest_twisted.ensureDeferred
async def test_other_meters_other_owners_and_unknown_columns_are_left_alone(tmp_path: Path) -> None:
    archived = ArchivedMeter(tmp_path)
    base = NOW // DAY * DAY
    archived.archive(rows(range(base, base + 60, 60), 1.0), received=base + 200)
    archived.archive(rows(range(base, base + 60, 60), 2.0), received=base + 200, meter="2")
    kept = upload(
        gz(log_text(rows(range(base, base + 60, 60), 1.0), VERIS)), received=base,
        fields={"MODE": "LOGFILEUPLOAD", "MODBUSDEVICE": "3", "MODBUSDEVICECLASS": "9999"}, filename="mb-003.log.gz",
    )  # fmt: skip
    others = ArchivedUpload(serial=SERIAL, customer_id="c0", received=base, format="log", content=b"x")
    archived.files.append([encoded(kept), encoded(others), encoded(upload(b"x", received=base))], base)
    await archived.readings.write([SeriesReadings(f"{SERIAL}_3", rows(range(base, base + 60, 60), 7.0))])
    counts = await archived.reread(base, base + DAY, meter="2")
    assert (counts.uploads, counts.changed) == (1, 1)
    counts = await archived.reread(base, base + DAY)
    assert (counts.uploads, counts.unread, counts.others, counts.refused) == (3, 1, 1, 1)
    assert await archived.stored("3") == {base: 7.0}
    assert await archived.stored("1") == {base: 1.0} and await archived.stored("2") == {base: 2.0}


@pytest_twisted.ensureDeferred
async def test_accepted_logs_are_archived_and_nothing_else(intake: Intake) -> None:
    content = gz(log_text(rows(range(INTAKE_NOW, INTAKE_NOW + 60, 60), 1.0), VERIS))
    assert accepted(await intake.log(content, device_class="48"))
    assert not accepted(await intake.log(b"no log", device_class="48"))
    assert accepted(await intake.config(b"POINT00NAME=x\n"))
    assert accepted(await intake.rows({INTAKE_NOW: (7, 1.5, 0)}, "9")), "held"
    one, held = intake.archived
    assert (one.content, one.format, one.received, one.serial) == (content, "log", INTAKE_NOW, SERIAL)
    assert one.fields["MODBUSDEVICECLASS"] == "48" and "PASSWORD" not in one.fields
    assert held.fields["MODBUSDEVICE"] == "9"
    body = xml_message(SERIAL, [xml_device("1", rows(range(INTAKE_NOW + 60, INTAKE_NOW + 120, 60), 2.0), VERIS)])
    assert accepted(await intake.xml(body))
    assert (intake.archived[-1].format, intake.archived[-1].content) == ("xml", body)


@pytest_twisted.ensureDeferred
async def test_messages_in_xml_are_read_again(tmp_path: Path) -> None:
    archived = ArchivedMeter(tmp_path)
    base = NOW // DAY * DAY
    devices = [
        xml_device("1", rows(range(base, base + 120, 60), 2.0), VERIS),
        xml_device("2", rows(range(base, base + 60, 60), 3.0), VERIS),
    ]
    body = xml_message(SERIAL, devices)
    archived.files.append([encoded(upload(body, received=base + 300, format="xml"))], base + 300)
    await archived.readings.write([SeriesReadings(f"{SERIAL}_1", rows(range(base, base + 60, 60), 99.0))])
    counts = await archived.reread(base, base + DAY)
    assert (counts.uploads, counts.readings) == (1, 3)
    assert await archived.stored("1") == {base: 2.0, base + 60: 2.0}
    assert await archived.stored("2") == {base: 3.0}


class HalvingCorrections:
    """A correction of every series: P times a half."""

    async def maps(self, series: Sequence[str]) -> dict[str, CorrectionMap]:
        return {name: CorrectionMap().scaled(0, LATEST, 0.5) for name in series}

    async def ever_corrected(self, series: Sequence[str]) -> frozenset[str]:
        return frozenset(series)


@pytest_twisted.ensureDeferred
async def test_corrections_in_force_do_not_get_into_what_is_stored(tmp_path: Path) -> None:
    archived = ArchivedMeter(tmp_path)
    base = NOW // DAY * DAY
    measured = archived.readings
    await measured.write([SeriesReadings(f"{SERIAL}_1", rows(range(base, base + 600, 60), 99.0))])
    archived.archive([*rows(range(base, base + 60, 60), 1.0), Reading(base + 60)], received=base + 400)
    archived.readings = corrected_store(measured, HalvingCorrections())  # type: ignore[assignment]
    assert set((await archived.stored()).values()) == {49.5}
    counts = await archived.reread(base, base + DAY)
    assert (counts.changed, counts.removed) == (1, 1)
    archived.readings = measured
    assert await archived.stored() == {base: 1.0, **dict.fromkeys(range(base + 120, base + 600, 60), 99.0)}
