"""Whole random sites by way of a running daemon: uploads as a device sends them, logs before what describes them, on both pairs of stores.

Everything that the daemon then has stored is compared with the reference, as in :mod:`tests.reference.test_whole_site`: each point, rollup, hour
of energy, day, quarter hour of demand and charge. Here the daemon's own intake, derivation and job services have made it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from cenergyd.acquisuite.times import device_time
from cenergyd.customers.model import FIELD_OF_ROLE, Role
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import open_stores
from cenergyd.tools.simulator.configs import meter_config
from tests.daemon_process import RunningDaemon, raw_post
from tests.e2e.conftest import daemon
from tests.e2e.device import PASSWORD, acknowledged, upload
from tests.e2e.operator import Operator
from tests.jobs.site import SERIAL
from tests.reference import derive, energy
from tests.reference.sites import Site, random_site
from tests.reference.test_energy import NEAR
from tests.reference.test_whole_site import (
    check_charges,
    check_net_load,
    check_points,
    check_roles,
    check_rollups,
    reading_of,
)

__all__ = ["daemon"]
MORE_SETTINGS = {"derivation.interval_seconds": "0.2", "cenergyd.derivation.service.MAX_REST_SECONDS": "0"}
UNKNOWN_CLASS = "4711"
PATIENCE = 240
"""Seconds: the machine may be busy with others."""


class StoredResults(NamedTuple):
    """What a daemon has stored."""

    readings: Any
    customer: Any


class SiteOverHttp:
    """A logger and a person, over HTTP."""

    def __init__(self, daemon: RunningDaemon, site: Site) -> None:
        self._daemon = daemon
        zone = ["--time-zone", site.zone, "--serial", SERIAL, "--password-stdin"]
        first = site.setups[0][1]
        named = [word for role, (meter, _) in first.items() for word in (f"--{FIELD_OF_ROLE[as_role(role)]}", meter)]
        made = daemon.run("customers", "add", "--name", "Reference", *zone, *named, stdin=PASSWORD + "\n")
        assert made.returncode == 0, made.stderr
        self.ask = Operator(daemon).ask
        (customer,) = self.ask("GET", "customers")["customers"]
        self._id = customer["id"]
        self.change_meters(0, first)

    def of_customer(self, path: str) -> Any:
        return self.ask("GET", f"customers/{self._id}/{path}")

    def change_meters(self, since: int, setup: dict[str, tuple[str, bool]]) -> None:
        roles: tuple[Role, ...] = ("utility", "load", "solar")
        named = {FIELD_OF_ROLE[role]: setup[role][0] if role in setup else "" for role in roles}
        turned = [role for role in roles if role in setup and setup[role][1]]
        self.ask("POST", f"customers/{self._id}/meters", {"effective_from": since, **named, "reversed": turned})

    def choose_columns(self, meter: str) -> None:
        layouts = {meter: dict(VERIS.columns)}
        self.ask("POST", f"customers/{self._id}/meters", {"effective_from": 0, "layouts": layouts})

    def log(self, meter: str, rows: list[dict[str, Any]], device_class: str) -> None:
        answer = upload(self._daemon, SERIAL, meter, [reading_of(row) for row in rows], device_class=device_class)
        assert acknowledged(answer), answer

    def config(self, meter: str) -> None:
        file = meter_config(meter, VERIS, encode.DEFAULT_COLUMNS, UNKNOWN_CLASS, 1_700_000_000)
        fields = {
            "MODE": "CONFIGFILEUPLOAD", "SERIALNUMBER": SERIAL, "PASSWORD": PASSWORD, "MODBUSDEVICE": meter,
            "MODBUSDEVICECLASS": UNKNOWN_CLASS, "MD5CHECKSUM": encode.md5(file.content),
            "FILETIME": device_time(file.time),
        }  # fmt: skip
        kind, body = encode.multipart_form(fields, file.name, file.content, "CONFIGFILE")
        answer = raw_post(self._daemon.port, "/consume", kind, body)
        assert acknowledged(answer), answer

    def manifest(self) -> str:
        kind, body = encode.multipart_form({"MODE": "CONFIGFILEMANIFEST", "SERIALNUMBER": SERIAL, "PASSWORD": PASSWORD})
        return raw_post(self._daemon.port, "/consume", kind, body)[1].decode()


def as_role(name: str) -> Role:
    roles: dict[str, Role] = {"utility": "utility", "load": "load", "solar": "solar"}
    return roles[name]


@pytest_twisted.async_yield_fixture
async def stores(daemon: RunningDaemon) -> AsyncIterator[Any]:
    opened = await open_stores(load_settings(Settings, None, daemon.in_the_ini), reactor)
    yield opened
    await opened.close()


def play(daemon: RunningDaemon, site: Site, seed: int) -> SiteOverHttp:
    """The uploads in their order; meters become known after the first of them, and the setup changes while they come."""
    rng = random.Random(seed)
    session = SiteOverHttp(daemon, site)
    known_by = {meter: rng.choice(["table", "config", "choice"]) for meter in site.rows}
    known_by[rng.choice(sorted(known_by))] = "config"
    changed = False
    for number, (meter, rows) in enumerate(site.uploads):
        if number == len(site.uploads) // 3:
            manifest = session.manifest()
            for each, way in known_by.items():
                if way == "config":
                    is_asked_for = f"CONFIGFILE,modbus/mb-{int(each):03d}.ini,," in manifest
                    assert is_asked_for == any(each == meter for meter, _ in site.uploads[:number])
                    session.config(each)
                elif way == "choice":
                    session.choose_columns(each)
        if number > len(site.uploads) // 2 and not changed:
            for since, setup in site.setups[1:]:
                session.change_meters(since, setup)
            changed = True
        session.log(meter, rows, encode.VERIS_CLASS if known_by[meter] == "table" else UNKNOWN_CLASS)
    return session


async def settled(stores: Any, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Wait until all that was uploaded is read and nothing is left to derive or for the jobs."""
    names = {f"{SERIAL}_{meter}": len(own) for meter, own in rows.items() if meter != "missing_meter"}
    quiet = 0
    for _ in range(PATIENCE * 5):
        found = await stores.readings.read(list(names), 0, 1 << 33)
        read = all(len(found[name]) == count for name, count in names.items())
        waiting = (await stores.customers.derivation_queue.summary()).customers
        waiting += (await stores.customers.job_queue.summary()).customers
        quiet = quiet + 1 if read and not waiting else 0
        if quiet == 3:
            return
        await deferLater(reactor, 0.2, lambda: None)
    counts = {name: (len(found[name]), count) for name, count in names.items()}
    raise AssertionError(f"after {PATIENCE} s {waiting} customers wait; readings: {counts}")


def check_days(session: SiteOverHttp, site: Site) -> None:
    """Energy as the API tells it, all days together."""
    first = datetime.fromtimestamp(site.start, UTC).date() - timedelta(days=2)
    days = session.of_customer(f"energy?step=day&start={first}&end={first + timedelta(days=6)}")["windows"]
    pieces = energy.hours(site.setups, site.rows, site.zone, site.start - 7200, site.end + 7200)
    for role in ("utility", "load", "solar"):
        for name in ("import_kwh", "export_kwh", "covered_seconds", "bridged_seconds", "interpolated_seconds"):
            whole = sum(piece[name] for (each, _), piece in pieces.items() if each == role)
            shown = sum(day["roles"][role][name] for day in days if day["roles"].get(role))
            assert shown == pytest.approx(whole, abs=12 * NEAR), (role, name)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("seed", (7, 12))
async def test_what_a_daemon_stores_is_what_the_reference_says(daemon: RunningDaemon, stores: Any, seed: int) -> None:
    site = random_site(seed)
    session = play(daemon, site, seed)
    rows = {**site.rows, "missing_meter": derive.missing_meter(site.setups, site.rows)}
    await settled(stores, rows)
    customer = await stores.customers.by_serial(SERIAL)
    found: Any = StoredResults(stores.readings, customer)
    await check_points(found, rows)
    await check_rollups(found, site, rows)
    await check_roles(found, site, rows)
    quarters = await check_net_load(found, site, rows)
    await check_charges(found, site, quarters)
    check_days(session, site)
