"""What is seen first, for every state of a site: on its power page, its settings page, and in the list of sites.

With CENERGYD_SCREENSHOTS=/some/folder each is saved there as a picture.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from cenergyd.documents.kinds import DERIVATION, LOGGER, METER, REJECTED
from tests.browser.chrome import DESKTOP, PHONE, axe, set_size, set_theme
from tests.browser.people import Site, sign_in, text, until
from tests.browser.test_looks import picture
from tests.daemon_process import RunningDaemon

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
    """Write what is known of a site into the daemon's store, as if it had come over days."""
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


class States(NamedTuple):
    """A daemon with a site in every state."""

    daemon: RunningDaemon
    token: str
    sites: dict[str, tuple[str, str, str]]
    """State -> customer, first words, badge."""


@pytest.fixture(scope="session")
def known_sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[States]:
    """A daemon of its own: what is known of its sites is written into the store while it is stopped."""
    daemon = RunningDaemon(tmp_path_factory.mktemp("states"), {"cenergyd.web.access.auth.MAX_WRONG_TOKENS": "1000"})
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
    for name, (customer, _, _) in found.items():
        incomplete.api("PATCH", f"customers/{customer}", {"name": f"State: {name}"})  # evaluated at once
    yield States(daemon, token, found)
    daemon.stop()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_words_of_a_site_are_its_state(theme: str, browser: webdriver.Chrome, known_sites: States) -> None:
    daemon, token, sites = known_sites
    set_theme(browser, theme)
    sign_in(browser, daemon, token)
    faults: list[str] = []
    for name, (customer, words, _) in sites.items():
        browser.get(f"{daemon.url}/customers/{customer}/power")
        first = browser.find_element(By.CSS_SELECTOR, "main .state strong")
        assert first.text == words, name
        height = browser.execute_script("return arguments[0].getBoundingClientRect().top", first)
        assert height < 250, f"{name}: what is wrong is at the top"
        picture(browser, f"state-{name}-{theme}")
        if name in ("meter_stopped", "logger_silent"):
            set_size(browser, PHONE)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
            picture(browser, f"state-{name}-{theme}-phone")
            set_size(browser, DESKTOP)
        faults += axe(browser)
    assert faults == []


def test_the_list_of_sites_has_troubles_first_and_each_state_to_bookmark(
    browser: webdriver.Chrome, known_sites: States
) -> None:
    daemon, token, sites = known_sites
    sign_in(browser, daemon, token)
    browser.get(f"{daemon.url}/overview?search=State")
    rows = browser.find_elements(By.CSS_SELECTOR, ".sites tbody tr")
    shown = {row.find_element(By.TAG_NAME, "a").text: row.find_element(By.CSS_SELECTOR, ".badge").text for row in rows}
    for name, (_, _, badge) in sites.items():
        assert shown[f"State: {name}"] == badge
    order = list(shown)
    assert order.index("State: meter_stopped") < order.index("State: waiting") < order.index("State: good")
    picture(browser, "overview-states")
    browser.find_element(By.PARTIAL_LINK_TEXT, "Meter stopped").click()
    until(browser, lambda: "state=meter_stopped" in browser.current_url)
    assert [row.text for row in browser.find_elements(By.CSS_SELECTOR, ".sites tbody th a")] == ["State: meter_stopped"]
    browser.find_element(By.PARTIAL_LINK_TEXT, "Last upload").click()
    until(browser, lambda: "sort=last_upload" in browser.current_url)
    assert text(browser, "#customers .badge") == "Solar meter stopped"
