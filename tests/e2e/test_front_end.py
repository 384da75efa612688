"""The existing front end at work beside real daemons: uploads, settings changes, ``migrate``, kills; nobody loses anything.

Readings are kept in SQLite, then in InfluxDB. ``CENERGYD_ALL_SAVES=1`` makes all 10,000 saves with each, however long they take; otherwise they end
once everything else has happened often enough.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mongoengine
import pytest

from cenergyd.readings.model import Reading
from tests import forking
from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, readings, upload, wait_for
from tests.e2e.stored import stored
from tests.servers import RunningMongo
from tests.storage.customers.front_end import FrontEndCustomer

SITES = 20
SAVES = 10_000
ALL_SAVES = bool(os.environ.get("CENERGYD_ALL_SAVES"))
ENOUGH = {"kills": 3, "migrations": 2, "killed_migrations": 2, "changes": 30}
"""What is done beside the saves, at least so often."""
SAVE_PAUSE_SECONDS = 0.02
"""Between two saves, unless all are made: as fast as they can be made they take a whole core from the daemons that they are to meet."""
MOST_SECONDS = 900
PASSWORD = "as the front end wrote it"
AGREED = ("facility", "load", "solar", "logger_serial_number")


@pytest.fixture(params=["sqlite", "influx"])
def readings_url(request: pytest.FixtureRequest, tmp_path: Path, unique_name: str) -> str:
    """Of each store of readings."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/readings.sqlite"
    return f"{request.getfixturevalue('influx').url}/{unique_name}"


@pytest.fixture
def daemon(tmp_path: Path, mongo: RunningMongo, unique_name: str, readings_url: str) -> Iterator[RunningDaemon]:
    made = RunningDaemon(
        tmp_path,
        {
            "customers.url": f"{mongo.url}/{unique_name}",
            "readings.url": readings_url,
            "cenergyd.derivation.front_end_watch.PASS_SECONDS": "1",
            "cenergyd.storage.mongodb.front_end.LEASE_SECONDS": "5",
            "cenergyd.storage.mongodb.front_end._RENEW_SECONDS": "1",
        },
    )
    yield made
    made.kill()


@pytest.fixture
def front_end(mongo: RunningMongo, unique_name: str) -> Iterator[Any]:
    """mongoengine, connected."""
    mongoengine.connect(unique_name, host=f"{mongo.url}/{unique_name}", uuidRepresentation="standard")
    yield FrontEndCustomer
    mongoengine.disconnect()


class RunningPrograms:
    """The programs that run concurrently until the front end has made its saves."""

    def __init__(self, daemon: RunningDaemon, front_end: Any) -> None:
        self.daemon, self.front_end = daemon, front_end
        self.ended = threading.Event()
        self.errors: list[BaseException] = []
        self.saves = self.kills = self.migrations = self.killed_migrations = self.changes = 0
        self.there: dict[str, dict[str, Any]] = {}
        """What the front end saved last, by customer."""
        self.here: defaultdict[str, set[str]] = defaultdict(set)
        """What ``facility`` may be by what was changed here: one value, or two where a reply was lost."""
        self.uploaded: defaultdict[str, list[Reading]] = defaultdict(list)

    def front_end_saves(self) -> None:
        chance, end = random.Random(1), time.monotonic() + MOST_SECONDS
        while self.saves < SAVES and (ALL_SAVES or (not self.enough() and time.monotonic() < end)):
            for customer in self.front_end.objects:
                customer.last_alerted = self.saves
                if not chance.randrange(10):
                    customer.facility_name = f"name {self.saves}"
                if not chance.randrange(20):
                    customer.solar = str(chance.randrange(3, 9))
                customer.save()
                kept = ("last_alerted", "facility_name", "solar")
                self.there[str(customer.id)] = {field: customer[field] for field in kept}
                self.saves += 1
                if not ALL_SAVES:
                    time.sleep(SAVE_PAUSE_SECONDS)

    def enough(self) -> bool:
        """Whether all that is done beside the saves was done often enough."""
        return all(getattr(self, name) >= count for name, count in ENOUGH.items()) and len(self.uploaded) == 4

    def settings_change(self, ids: list[str], token: str) -> None:
        chance = random.Random(2)
        while not self.ended.is_set():
            customer, facility = chance.choice(ids), str(chance.randrange(10, 99))
            known = self.here[customer]
            try:
                status = self.patch(customer, token, {"facility": facility})
            except (OSError, http.client.HTTPException, ValueError):
                known.add(facility)  # killed in between
                time.sleep(0.1)
                continue
            if status == 200:
                known.clear()
                self.changes += 1
            if status in (200, 503):
                known.add(facility)
            assert status in (200, 401, 412, 503), status
            time.sleep(0.02 if ALL_SAVES else 0.1)

    def patch(self, customer: str, token: str, change: dict[str, str]) -> int:
        link = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=120)
        try:
            head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "If-Match": "*"}
            link.request("PATCH", f"/api/v1/customers/{customer}", json.dumps(change), head)
            reply = link.getresponse()
            reply.read()
            return reply.status
        finally:
            link.close()

    def logger_uploads(self, serial: str) -> None:
        start, position = int(time.time()) // 60 * 60 - 86_400, 0
        while not self.ended.is_set():
            values = readings(start + 60 * position, 2, 50.0)
            for meter in ("1", "2"):
                while not self.sent(serial, meter, values):
                    if self.ended.is_set():
                        return
                    time.sleep(0.2)
                self.uploaded[f"{serial}_{meter}"] += values
            position += 2
            time.sleep(0.05 if ALL_SAVES else 0.2)

    def sent(self, serial: str, meter: str, values: list[Reading]) -> bool:
        try:
            return acknowledged(upload(self.daemon, serial, meter, values, password=PASSWORD))
        except OSError:
            return False

    def migrates(self) -> None:
        chance = random.Random(3)
        for number in itertools.count():
            if self.ended.is_set():
                return
            running = forking.Popen(
                self.daemon.arguments("migrate"),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.daemon.folder,
            )
            if number % 2:
                time.sleep(chance.uniform(0.2, 1.0))
                running.kill()
                running.wait()
                self.killed_migrations += 1
            else:
                said, _ = running.communicate(timeout=200)
                assert running.returncode == 0, said.decode()
                self.migrations += 1
            self.ended.wait(0.5 if ALL_SAVES or self.migrations < ENOUGH["migrations"] else 3.0)

    def kills_daemons(self) -> None:
        chance = random.Random(4)
        while not self.ended.wait(chance.uniform(1.5, 5.0) if ALL_SAVES else chance.uniform(0.5, 2.0)):
            changes = self.changes
            self.daemon.kill()
            self.kills += 1
            self.daemon.start()
            # On a busy machine it would otherwise be killed before it has answered anything.
            while self.changes == changes and not self.ended.wait(0.05):
                pass

    def run(self, *works: Callable[[], None]) -> None:
        """Run all concurrently until the first has ended; any error ends all of them."""

        def guarded(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException as error:
                self.errors.append(error)
                self.ended.set()

        threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        threads[0].join()
        self.ended.set()
        for thread in threads[1:]:
            thread.join()
        if self.errors:
            raise self.errors[0]


@pytest.mark.slow
def test_ten_thousand_saves_beside_everything_that_is_done_here(daemon: RunningDaemon, front_end: Any) -> None:
    for number in range(SITES):
        front_end(
            name=f"site {number}", facility="10", load="1", solar="2", logger_serial_number=f"AA{number:04}",
            logger_password=PASSWORD, voltage_threshold=5.0, alerts_emails=["a@example.org"],
        ).save()  # fmt: skip
    front_end.ensure_indexes()
    ids = [str(customer.id) for customer in front_end.objects]
    daemon.start()
    token = daemon.run("token", "add", "--operator", "test").stdout.split()[0]
    programs = RunningPrograms(daemon, front_end)
    for each in ids:
        programs.here[each] = {"10"}
    programs.run(
        programs.front_end_saves,
        lambda: programs.settings_change(ids, token),
        lambda: programs.logger_uploads("AA0000"),
        lambda: programs.logger_uploads("AA0001"),
        programs.migrates,
        programs.kills_daemons,
    )
    print(
        f"{programs.saves} saves, {programs.changes} settings changed, {programs.kills} kills, {programs.migrations} whole migrations, "
        f"{sum(map(len, programs.uploaded.values()))} readings"
    )
    assert programs.enough()
    assert programs.saves == SAVES or not ALL_SAVES
    nothing_is_lost(programs, ids, token)


def nothing_is_lost(programs: RunningPrograms, ids: list[str], token: str) -> None:
    def same() -> bool:
        return all(api_settings(programs, each, token) == agreed_there(programs, each) for each in ids)

    wait_for(same, 120, "following of what the front end changed last")
    for customer in programs.front_end.objects:
        assert {field: customer[field] for field in ("last_alerted", "facility_name", "solar")} == programs.there[
            str(customer.id)
        ]
        assert (customer.voltage_threshold, customer.alerts_emails) == (5.0, ["a@example.org"])
        assert (customer.load, customer.logger_password) == ("1", PASSWORD)
        assert customer.facility in programs.here[str(customer.id)]
    found = stored(programs.daemon, list(programs.uploaded))[0]
    for series, values in programs.uploaded.items():
        assert set(values) <= set(found[series])


def api_settings(programs: RunningPrograms, customer: str, token: str) -> dict[str, str]:
    _, body = programs.daemon.get(f"/api/v1/customers/{customer}", {"Authorization": f"Bearer {token}"})
    answer = json.loads(body)
    return {field: answer[field] for field in AGREED}


def agreed_there(programs: RunningPrograms, customer: str) -> dict[str, str]:
    document = programs.front_end.objects.get(id=customer)
    return {field: document[field] or "" for field in AGREED}
