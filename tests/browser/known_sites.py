"""A daemon with a site in every possible state."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.times import device_time
from cenergyd.documents.kinds import DERIVATION, LOGGER, METER, REJECTED
from cenergyd.readings.model import Reading
from tests.browser.actions import Site, minutes
from tests.daemon_process import RunningDaemon, raw_post
from tests.e2e.device import PASSWORD, acknowledged, wait_for

HOUR, DAY = 3600, 86400
Bodies = dict[str, dict[str, Any]]


def known(
    now: int, *, uploaded: int = 300, utility: int = 60, solar: int = 60, computed: int = 60, **changes: Any
) -> Bodies:
    """What is kept of a site; each time is so many seconds before the upload, or before now."""
    last = now - uploaded

    def meter(ago: int, **more: Any) -> dict[str, Any]:
        values = {"P": 2.5, "L1_PF": 1.0, "L1_V": 240.0, "Q": 0.0}
        return {
            "last_time": last - ago,
            "last_upload": last,
            "interval": 60,
            "last": values,
            "error": None,
            "name": "",
            **more,
        }

    return {
        LOGGER: {"loop_name": "", "address": "192.0.2.1", "last_upload": last, "gaps": [[1, 900]]},
        f"{METER}_1": meter(utility),
        f"{METER}_2": meter(solar, **changes.get("meter", {})),
        DERIVATION: {"derived_until": last - computed, **changes.get("derivation", {})},
    }  # fmt: skip


def states(now: int) -> dict[str, tuple[Bodies, str, str]]:
    """State -> what is kept, the first words on the power page, the badge in the list."""
    error = {"error": {"time": now - 360, "code": 139}}
    window = {"window": {"start": now - 20 * DAY, "end": now, "done": now - 10 * DAY}}
    never: Bodies = {}
    return {
        "good": (known(now), "Good.", "Good"),
        "logger_silent": (known(now, uploaded=12 * HOUR), "Logger silent.", "Logger silent"),
        "meter_error": (known(now, solar=12 * HOUR, computed=12 * HOUR, meter=error), "Solar meter: error 139.", "Solar meter: error 139"),
        "meter_stopped": (known(now, solar=12 * HOUR, computed=12 * HOUR), "Solar meter stopped.", "Solar meter stopped"),
        "not_computed": (known(now, uploaded=1000, computed=5 * HOUR), "Load not computed.", "Load not computed"),
        "waiting": (known(now, solar=1500, computed=1500), "Waiting for the solar meter.", "Waiting for the solar meter"),
        "computing": (known(now, computed=10 * DAY, derivation=window), "Computing.", "Computing"),
        "refused": ({**known(now, uploaded=12 * HOUR), REJECTED: {"time": now - 60, "reason": "wrong password", "count": 3, "address": "192.0.2.1"}},
                    "Uploads are refused.", "Uploads are refused"),
        "never_uploaded": (never, "Never uploaded.", "Never uploaded"),
    }  # fmt: skip


def keep(daemon: RunningDaemon, serial: str, customer: str, bodies: Bodies) -> None:
    """Write a site's documents and readings into the daemon's store, as if they had arrived over days."""
    keys = {
        LOGGER: serial,
        REJECTED: serial,
        DERIVATION: customer,
        f"{METER}_1": f"{serial}_1",
        f"{METER}_2": f"{serial}_2",
    }
    with sqlite3.connect(daemon.folder / "customers.sqlite", timeout=60) as database:
        for name, body in bodies.items():
            kind = name.partition("_")[0]
            due = body.get("last_upload", body.get("time"))
            owner = serial if kind == METER else customer if kind == DERIVATION else None
            database.execute(
                "INSERT OR REPLACE INTO document (kind, key, body, version, owner, due) VALUES (?, ?, ?, 1, ?, ?)",
                (kind, keys[name], json.dumps(body), owner, due),
            )
    database.close()


def called(state: str) -> str:
    """The name of the site that is in a state."""
    return f"State: {state.replace('_', ' ')}"


class States(NamedTuple):
    """A daemon with a site in every state."""

    daemon: RunningDaemon
    token: str
    sites: dict[str, tuple[str, str, str]]
    """State -> customer, first words, badge."""


def not_understood(daemon: RunningDaemon, token: str) -> str:
    """A site whose solar meter sends logs with unknown columns; returns the customer."""
    site = Site(daemon, token, "001EC6DDFF01")
    customer = site.register(facility="1", solar="2", time_zone="America/Denver")
    site.upload("1", minutes(2.5, 60))
    now = int(time.time()) // 60 * 60
    rows = [f"'{device_time(now - 60 * k)}',0,0,0,{4000 + k},{6 + k / 8}\n" for k in reversed(range(5))]
    content = encode.gz("".join(rows).encode())
    form = encode.log_fields(site.serial, PASSWORD, "2", content, device_class="9377")
    assert acknowledged(
        raw_post(daemon.port, "/consume", *encode.multipart_form(form, encode.log_filename("2"), content))
    )
    wait_for_state(site, customer, "meter_not_understood")
    return customer


def dark_by_day(daemon: RunningDaemon, token: str) -> str:
    """A site whose solar meter gave power on each of the last days, and has given none in the last hours of sun; the customer."""
    site = Site(daemon, token, "001EC6DDFF02")
    customer = site.register(facility="1", solar="2", time_zone="UTC")
    now = int(time.time()) // 900 * 900
    # On the equator, where it is two in the afternoon now, whenever this is run.
    longitude = (14 - now % DAY / HOUR) * 15
    place = {"latitude": 0.0, "longitude": (longitude + 180) % 360 - 180}
    site.api("PATCH", f"customers/{customer}", place)
    times = range(now - 3 * DAY - 5 * HOUR, now + 1, 900)
    site.upload("1", [Reading(each, P=1.0, L1_PF=1.0, L1_V=240.0) for each in times])
    dark = now - 4 * HOUR - 900
    site.upload("2", [Reading(each, P=0.0 if each > dark else 5.0, L1_PF=1.0, L1_V=240.0) for each in times])
    wait_for_state(site, customer, "solar_zero")
    return customer


def wait_for_state(site: Site, customer: str, kind: str) -> None:
    """Wait until the daemon reports that the uploads are processed."""

    def is_so() -> bool:
        site.api("PATCH", f"customers/{customer}", {"name": f"Until {time.time()}"})  # evaluated at once
        return bool(site.api("GET", f"customers/{customer}/status", None)["state"]["kind"] == kind)

    wait_for(is_so, what=f"the state {kind}")


@pytest.fixture(scope="session")
def known_sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[States]:
    """A daemon of its own: what is known of its sites is written into the store while it is stopped."""
    settings = {"cenergyd.web.access.auth.MAX_WRONG_TOKENS": "1000", "cenergyd.ingest.activity.INTERVAL_SECONDS": "0.2"}
    daemon = RunningDaemon(tmp_path_factory.mktemp("states"), settings)
    daemon.start()
    token = daemon.run("token", "add", "--operator", "the operator").stdout.strip()
    found: dict[str, tuple[str, str, str]] = {}
    kept = []
    for number, (name, (bodies, words, badge)) in enumerate(states(int(time.time())).items()):
        site = Site(daemon, token, f"001EC6DD{number:04X}")
        customer = site.register(facility="1", solar="2", name=name, time_zone="America/Denver")
        kept.append((site, customer, bodies))
        found[name] = (customer, words, badge)
    incomplete = Site(daemon, token, "001EC6DDFFFF")
    customer = incomplete.register(facility="1", name="settings_incomplete")
    found["settings_incomplete"] = (customer, "Settings incomplete.", "Settings incomplete")
    daemon.stop()
    for site, customer, bodies in kept:
        keep(daemon, site.serial, customer, bodies)
    daemon.start()
    found["meter_not_understood"] = (
        not_understood(daemon, token),
        "Solar meter not understood.",
        "Solar meter not understood",
    )
    found["solar_zero"] = (dark_by_day(daemon, token), "No solar power.", "No solar power")
    for name, (customer, _, _) in found.items():
        incomplete.api("PATCH", f"customers/{customer}", {"name": called(name)})  # evaluated at once
    yield States(daemon, token, found)
    daemon.stop()
