"""Backup and restore of the embedded store: beside a daemon that takes uploads, and what they refuse."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from cenergyd.readings.model import Reading
from cenergyd.storage import backup
from cenergyd.storage.backup import BackupError, Database, back_up, restore
from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, add_customer, readings, upload, wait_for
from tests.e2e.stored import derived, stored

NOW = 1_800_000_000
SERIALS = ("001EC6000001", "001EC6000002")


def nobody_asks(done: int, total: int) -> None:
    assert 0 <= done <= total


class Uploads(threading.Thread):
    """Two meters of a site upload a minute after the other until told to stop; ``acknowledged`` is in order."""

    def __init__(self, daemon: RunningDaemon, serial: str) -> None:
        super().__init__()
        self._daemon, self._serial = daemon, serial
        self.ended = threading.Event()
        self.acknowledged: list[Reading] = []

    def run(self) -> None:
        start = int(time.time()) // 60 * 60 - 50_000 * 60
        for i in range(50_000):
            if self.ended.is_set():
                return
            (load,), (solar,) = readings(start + 60 * i, 1, 90.0), readings(start + 60 * i, 1, 4.0)
            assert acknowledged(upload(self._daemon, self._serial, "1", [load]))
            assert acknowledged(upload(self._daemon, self._serial, "2", [solar]))
            self.acknowledged.append(load)


def test_beside_a_daemon_that_takes_uploads(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    daemon = RunningDaemon(first)
    daemon.start()
    sites = [Uploads(daemon, serial) for serial in SERIALS]
    try:
        for serial in SERIALS:
            add_customer(daemon, serial, load="1", solar="2")
        for site in sites:
            site.start()
        wait_for(lambda: all(len(site.acknowledged) > 5 for site in sites))
        before = [len(site.acknowledged) for site in sites]
        made = daemon.run("backup", str(tmp_path / "backup"))
        assert made.returncode == 0, made.stderr
        assert made.stdout == f"customers and readings backed up into {tmp_path / 'backup'}\n"
        wait_for(lambda: all(len(site.acknowledged) > n for site, n in zip(sites, before, strict=True)))
    finally:
        for site in sites:
            site.ended.set()
            if site.ident:
                site.join()
        daemon.kill()
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "backup").iterdir()} == {0}

    restored = RunningDaemon(second)
    done = restored.run("restore", str(tmp_path / "backup"))
    assert done.returncode == 0, done.stderr
    loads = [f"{serial}_1" for serial in SERIALS]
    solars = [f"{serial}_2" for serial in SERIALS]
    found, _ = stored(restored, [*loads, *solars])
    for site, load, count in zip(sites, loads, before, strict=True):
        assert count <= len(found[load]) <= len(site.acknowledged) + 1
        assert found[load][: len(site.acknowledged)] == site.acknowledged[: len(found[load])]
    # What was not derived at the time of the backup is derived by the daemon that runs on it.
    restored.start()
    try:
        derived(restored, {f"{serial}_missing_meter": len(found[f"{serial}_2"]) for serial in SERIALS})
        for serial in SERIALS:
            assert acknowledged(upload(restored, serial, "1", readings(int(time.time()) // 60 * 60, 1, 1.0)))
    finally:
        assert restored.stop() == 0


@pytest.fixture
def pair(tmp_path: Path) -> list[Database]:
    """Two databases as the daemon keeps them, with the smallest of schemas."""
    databases = [Database("customers", tmp_path / "c.sqlite"), Database("readings", tmp_path / "r.sqlite")]
    for database in databases:
        with closing(sqlite3.connect(database.path)) as made:
            made.execute("PRAGMA journal_mode = WAL")
            made.execute("CREATE TABLE document (kind, key, body, version)")
            made.execute("CREATE TABLE customer (pending_claim, pending_claim_until, jobs_claim, jobs_claim_until)")
            made.execute("CREATE TABLE item (name, number)")
    return databases


def run_sql(path: Path, *statements: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as database:
        found: list[tuple[object, ...]] = []
        for statement in statements:
            found = database.execute(statement).fetchall()
        return found


@pytest.fixture
def working(pair: list[Database]) -> Iterator[list[int]]:
    """One thread writes a reading, then marks it; another derives from the marks, then removes them.

    The numbers of the readings that are marked.
    """
    customers, store = (database.path for database in pair)
    ended = threading.Event()
    marked: list[int] = []
    faults: list[BaseException] = []

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            run_sql(store, f"INSERT INTO item VALUES ('reading', {number})")
            time.sleep(0.01)
            run_sql(customers, f"INSERT INTO item VALUES ('mark', {number})")
            marked.append(number)

    def derive() -> None:
        while not ended.is_set():
            for (number,) in run_sql(customers, "SELECT number FROM item"):
                run_sql(store, f"INSERT INTO item VALUES ('derived', {number})")
                run_sql(customers, f"DELETE FROM item WHERE number = {number}")

    def caught(work: object) -> None:
        assert callable(work)
        try:
            work()
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=caught, args=[work]) for work in (write, derive)]
    for thread in threads:
        thread.start()
    yield marked
    ended.set()
    for thread in threads:
        thread.join()
    assert faults == []


def test_both_databases_are_of_one_moment(
    pair: list[Database], working: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settle(seconds: float) -> None:
        """Readings written before the lock get their marks, however long that takes here."""
        ((newest,),) = run_sql(pair[1].path, "SELECT max(number) FROM item WHERE name = 'reading'")
        wait_for(lambda: newest in working, what=f"the mark of reading {newest}")
        paused.append(seconds)

    paused: list[float] = []
    for i in range(4):
        count = len(working)
        wait_for(lambda count=count: len(working) > count + 5, what="some work")
        with monkeypatch.context() as patched:
            patched.setattr(backup, "time", SimpleNamespace(sleep=settle))
            back_up(pair, tmp_path / f"backup{i}", NOW, nobody_asks, settle_seconds=0.4)
        rows = run_sql(tmp_path / f"backup{i}" / "readings.sqlite", "SELECT name, number FROM item")
        marked = {row[0] for row in run_sql(tmp_path / f"backup{i}" / "customers.sqlite", "SELECT number FROM item")}
        read = {number for name, number in rows if name == "reading"}
        derived = {number for name, number in rows if name == "derived"}
        assert read, "the work has begun"
        assert read <= derived | marked, "neither derived nor marked: it would never be derived"
    assert paused == [0.4] * 4


def test_a_backup_needs_an_empty_folder_and_leaves_nothing_half_done(pair: list[Database], tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").touch()
    with pytest.raises(BackupError, match="is not empty"):
        back_up(pair, full, NOW, nobody_asks, 0)
    pair[1].path.write_bytes(b"no database" * 1000)
    with pytest.raises(BackupError, match="cannot be copied: file is not a database"):
        back_up(pair, tmp_path / "new", NOW, nobody_asks, 0)
    assert list((tmp_path / "new").iterdir()) == []
    pair[1].path.unlink()
    with pytest.raises(BackupError, match="no such database"):
        back_up(pair, tmp_path / "other", NOW, nobody_asks, 0)


def test_a_damaged_or_incomplete_backup_changes_nothing(pair: list[Database], tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    back_up(pair, backup, NOW, nobody_asks, 0)
    run_sql(pair[0].path, "INSERT INTO item VALUES ('later', 1)")

    def refused(match: str) -> None:
        with pytest.raises(BackupError, match=match):
            restore(pair, backup, nobody_asks, force=True, now=NOW)
        assert run_sql(pair[0].path, "SELECT name FROM item") == [("later",)]
        assert not list(tmp_path.glob("*.restoring"))

    with pytest.raises(BackupError, match="exists; --force"):
        restore(pair, backup, nobody_asks, force=False, now=NOW)
    content = (backup / "readings.sqlite").read_bytes()
    (backup / "readings.sqlite").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused("its checksum differs")
    (backup / "readings.sqlite").unlink()
    refused("No such file")
    (backup / "backup.json").write_text("{}")
    refused("a format that this version does not know")
    (backup / "backup.json").unlink()
    refused("is not a complete backup")


def test_what_is_in_use_is_never_replaced(pair: list[Database], tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    back_up(pair, backup, NOW, nobody_asks, 0)
    for database in pair:
        with closing(sqlite3.connect(database.path)) as daemon:
            daemon.execute("SELECT * FROM item").fetchall()  # open, and idle
            with pytest.raises(BackupError, match="is in use: stop the daemon first"):
                restore(pair, backup, nobody_asks, force=True, now=NOW)
    assert sorted(path.name for path in tmp_path.glob("*.sqlite")) == ["c.sqlite", "r.sqlite"]
    assert len(restore(pair, backup, nobody_asks, force=True, now=NOW)) == 2


def test_force_keeps_what_was_there_even_if_it_is_broken(pair: list[Database], tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    run_sql(pair[0].path, "INSERT INTO item VALUES ('backed up', 1)")
    back_up(pair, backup, NOW, nobody_asks, 0)
    run_sql(pair[0].path, "INSERT INTO item VALUES ('later', 1)")
    pair[1].path.write_bytes(b"broken" * 1000)
    aside = restore(pair, backup, nobody_asks, force=True, now=NOW)
    assert run_sql(pair[0].path, "SELECT name FROM item") == [("backed up",)]
    assert run_sql(pair[1].path, "SELECT name FROM item") == []
    assert sorted(path.name for path in aside) == [
        "c.sqlite.replaced-20270115T080000Z", "r.sqlite.replaced-20270115T080000Z",
    ]  # fmt: skip
    assert run_sql(aside[1], "SELECT name FROM item") == [("backed up",), ("later",)], "with what was in its log"
    assert aside[0].read_bytes() == b"broken" * 1000


def test_waiting_messages_are_held_back(pair: list[Database], tmp_path: Path) -> None:
    states = {"a": "queued", "b": "sending", "c": "sent", "d": "failed"}
    for key, state in states.items():
        body = json.dumps({"state": state, "unsure": False, "error": ""})
        run_sql(pair[0].path, f"INSERT INTO document VALUES ('outbox', '{key}', '{body}', 1)")
    back_up(pair, tmp_path / "backup", NOW, nobody_asks, 0)
    restore(pair, tmp_path / "backup", nobody_asks, force=True, now=NOW)
    rows = run_sql(pair[0].path, "SELECT key, body, version FROM document ORDER BY key")
    assert [(key, json.loads(str(body))["state"], version) for key, body, version in rows] == [
        ("a", "unsure", 2), ("b", "unsure", 2), ("c", "sent", 1), ("d", "failed", 1),
    ]  # fmt: skip


def test_the_commands_say_what_they_leave_out_and_refuse(tmp_path: Path) -> None:
    daemon = RunningDaemon(tmp_path, {"readings.url": "influxdb://me:hunter2@h:8086/x"})
    missing = daemon.run("backup", "b")
    assert missing.returncode == 1
    assert "not in this backup: readings, in influxdb://me:***@h:8086/x; use influxd backup" in missing.stderr
    assert "customers.sqlite; 'cenergyd run' creates it" in missing.stderr
    assert not (tmp_path / "b").exists()
    shutil.copytree(tmp_path, tmp_path.with_name("empty"))
    gone = daemon.run("restore", str(tmp_path.with_name("empty")))
    assert gone.returncode == 1
    assert gone.stderr.endswith("is not a complete backup: it has no backup.json\n")
    none = daemon.run("backup", "b", "--set", "customers.url=mongodb://h/x")
    assert none.stderr.endswith("cenergyd: no store is embedded\n")
