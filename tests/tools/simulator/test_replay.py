"""Replaying log folders: order, config files, resuming, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import succeed

from cenergyd.acquisuite.encode import gz, log_text
from cenergyd.acquisuite.layouts import VERIS
from cenergyd.errors import UploadError
from cenergyd.readings.model import Reading
from cenergyd.tools.simulator.http import Target
from cenergyd.tools.simulator.replay import Replay, ReplayJournal, Stopped, find_logs
from tests.tools.simulator.server import Server

SERIAL = "001EC6001433"


@pytest_twisted.async_yield_fixture
async def server() -> Any:
    one = Server()
    yield one
    await one.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / SERIAL / "modbus"
    place.mkdir(parents=True)
    for number, name in enumerate(("mb-001.log", "mb-001.4AB87D4F_2.log.gz", "mb-002.4AB87D00_1.log.gz", "mb-1.txt")):
        text = log_text([Reading(1_700_000_000 + number, 1.0)], VERIS)
        (place / name).write_bytes(gz(text) if name.endswith("gz") else text)
    return tmp_path


def replay(server: Server, folder: Path, journal: Path | None = None) -> Replay:
    kept = ReplayJournal(journal or folder / "done.jsonl", server.url, folder)
    return Replay(Target(reactor, server.url).post, lambda _: succeed(None), kept, password="secret")


def uploaded(server: Server) -> list[str]:
    return [form.files["LOGFILE"].filename for form in server.forms if form.fields["MODE"] == "LOGFILEUPLOAD"]


def test_finds_logs_oldest_first_with_their_serial(folder: Path) -> None:
    found = find_logs(folder)
    assert [log.path.name for log in found] == ["mb-002.4AB87D00_1.log.gz", "mb-001.4AB87D4F_2.log.gz", "mb-001.log"]
    assert {log.serial for log in found} == {SERIAL}
    assert {log.serial for log in find_logs(folder, "00AA")} == {"00AA"}


def test_a_log_without_a_known_logger_is_reported(tmp_path: Path) -> None:
    (tmp_path / "mb-001.log").write_bytes(b"")
    with pytest.raises(UploadError, match="--serial"):
        find_logs(tmp_path)


@pytest_twisted.ensureDeferred
async def test_uploads_as_they_are_and_moves_nothing(server: Server, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    counts = await replay(server, folder).run(find_logs(folder), folder)
    assert counts.uploaded == 3
    assert uploaded(server) == [
        "modbus/mb-002.4AB87D00_1.log.gz", "modbus/mb-001.4AB87D4F_2.log.gz", "modbus/mb-001.log",
    ]  # fmt: skip
    form = server.forms[0]
    assert (form.fields["SERIALNUMBER"], form.fields["MODBUSDEVICE"]) == (SERIAL, "2")
    assert form.files["LOGFILE"].content == (folder / SERIAL / "modbus" / "mb-002.4AB87D00_1.log.gz").read_bytes()
    assert {path: path.read_bytes() for path in before} == before


@pytest_twisted.ensureDeferred
async def test_goes_on_where_it_stopped(server: Server, folder: Path) -> None:
    server.answers = [(200, b"SUCCESS\n"), *[(503, b"FAILURE: down\n")] * 5]
    with pytest.raises(Stopped, match="503"):
        await replay(server, folder).run(find_logs(folder), folder)
    server.bodies.clear()
    server.headers.clear()
    with (folder / "done.jsonl").open("a") as file:
        file.write('{"url": "cut off by a ki')
    counts = await replay(server, folder).run(find_logs(folder), folder)
    assert (counts.uploaded, counts.skipped) == (2, 1)
    assert len(uploaded(server)) == 2
    again = await replay(server, folder).run(find_logs(folder), folder)
    assert (again.uploaded, again.skipped) == (0, 3)


@pytest_twisted.ensureDeferred
async def test_a_changed_file_and_another_server_count_as_new(server: Server, folder: Path) -> None:
    await replay(server, folder).run(find_logs(folder), folder)
    log = folder / SERIAL / "modbus" / "mb-001.log"
    log.write_bytes(log.read_bytes() + log_text([Reading(1_700_000_900, 2.0)], VERIS))
    counts = await replay(server, folder).run(find_logs(folder), folder)
    assert (counts.uploaded, counts.skipped) == (1, 2)
    other = Server()
    try:
        counts = await replay(other, folder, folder / "done.jsonl").run(find_logs(folder), folder)
    finally:
        await other.stop()
    assert counts.uploaded == 3


@pytest_twisted.ensureDeferred
async def test_a_refused_file_is_reported_and_does_not_stop_the_others(server: Server, folder: Path) -> None:
    server.answers = [(406, b"FAILURE: no readable row\n")]
    counts = await replay(server, folder).run(find_logs(folder), folder)
    assert counts.uploaded == 2
    assert len(counts.refused) == 1
    assert "no readable row" in counts.refused[0]


@pytest_twisted.ensureDeferred
async def test_wrong_password_stops_at_once(server: Server, folder: Path) -> None:
    server.answers = [(401, b"FAILURE: who\n")]
    with pytest.raises(Stopped, match="401"):
        await replay(server, folder).run(find_logs(folder), folder)
    assert len(server.bodies) == 1


@pytest_twisted.ensureDeferred
async def test_config_files_beside_the_logs_are_offered(server: Server, folder: Path) -> None:
    (folder / SERIAL / "modbus" / "mb-001.ini").write_text("POINT00NAME=x\n")
    (folder / SERIAL / "loggerconfig.ini").write_text("PASSWORD=x\n")
    server.answers = [(200, b"CONFIGFILE,loggerconfig.ini,,\n")]
    counts = await replay(server, folder).run(find_logs(folder), folder)
    assert counts.configs == 2
    names = [form.files["CONFIGFILE"].filename for form in server.forms if "CONFIGFILE" in form.files]
    assert names == ["loggerconfig.ini", "modbus/mb-001.ini"]
