"""A logger is replaced, and a logger is rejected: what operators and owners see of both, against the real daemon."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from typing import Any

import attrs
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.browser.actions import Site, enter, minutes, press, sign_in, text, until
from tests.browser.chrome import complaints
from tests.browser.test_appearance import look
from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, upload, wait_for

HOUR, DAY = 3600, 86400


def noon_zone() -> str:
    """A zone in which it is about noon now, so that the last hours are of one day, and of one month."""
    ahead = 12 - int(time.time()) // HOUR % 24
    return f"Etc/GMT{-ahead:+d}" if ahead else "UTC"


def ask(site: Site, path: str) -> Any:
    """What the API tells."""
    request = urllib.request.Request(
        f"{site.daemon.url}/api/v1/{path}", headers={"Authorization": f"Bearer {site.operator_token}"}
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)


def grid_kwh(site: Site, customer: str) -> float:
    """Yesterday's, today's and tomorrow's import."""
    first, last = (time.strftime("%Y-%m-%d", time.gmtime(time.time() + DAY * days)) for days in (-1, 2))
    windows = ask(site, f"customers/{customer}/energy?step=day&start={first}&end={last}")["windows"]
    return float(sum(each["roles"].get("utility", {"import_kwh": 0})["import_kwh"] or 0 for each in windows))


def replaced(site: Site) -> str:
    """A site whose logger was replaced two hours ago: 7 kW from the grid before, 3 kW after; the customer."""
    customer = site.register(facility="1", solar="2", name="Replaced", time_zone=noon_zone())
    for meter, power in (("1", 7.0), ("2", 1.0)):
        site.upload(meter, minutes(power, 120, ago=121))
    # All that is computed with the old logger is stored before it is replaced.
    wait_for(lambda: 13.7 < grid_kwh(site, customer) < 14.1, what="the energy of the old logger")
    new = attrs.evolve(site, serial=site.serial.replace("BB", "EA"))
    first, *_ = minutes(3.0, 120)
    site.api(
        "POST", f"customers/{customer}/meters", {"effective_from": first.time - 60, "logger_serial_number": new.serial}
    )
    for meter, power in (("1", 3.0), ("2", 1.0)):
        new.upload(meter, minutes(power, 120))
    return customer


def test_what_the_old_logger_sent_stays_in_view(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = replaced(site)
    base, now = f"customers/{customer}", int(time.time())
    # Two hours of 7 kW, two hours of 3 kW, but for the minute between the two loggers.
    wait_for(lambda: 19.5 < grid_kwh(site, customer) < 20.1, what="the energy of both loggers")
    (curve,) = ask(site, f"{base}/readings?role=utility&start={now - 5 * HOUR}&end={now}&resolution=3600")["curves"]
    means = [mean for mean in curve["P"]["mean"] if mean is not None]
    assert len({segment["series"] for segment in curve["segments"]}) == 2
    assert (max(means), min(means)) == (7.0, 3.0), "the rollups of both"

    sign_in(browser, daemon, site.token(customer))
    browser.get(f"{daemon.url}/{base}/power?start={now - 5 * HOUR}&end={now}")
    until(browser, lambda: "Utility: mean" in text(browser, "#chart-summary"))
    assert "Utility: mean 5.00 kW" in text(browser, "#chart-summary")
    assert re.search(r"meters changed on \d+ \w{3,4} \d{4}, \d\d:\d\d\.", text(browser, "#chart-summary")), "once"
    browser.get(f"{daemon.url}/{base}/power?start={now - 5 * HOUR}&end={now}&table=1")
    assert "7.00" in text(browser, "#values table")
    assert "3.00" in text(browser, "#values table")
    browser.get(f"{daemon.url}/{base}/energy")
    assert "kWh" in text(browser, ".energy-totals")
    grid = float(text(browser, ".energy-totals dd").split(" kWh")[0])
    assert 19.4 < grid < 20.1
    meters = text(browser, "#energy-meters")
    assert f"of logger {site.serial}" in meters, "each of the two loggers' meters has its own line"
    assert f"of logger {site.serial.replace('BB', 'EA')}" in meters
    assert look(browser, "energy-replaced") == []
    browser.get(f"{daemon.url}/{base}/charges?basis=calendar")
    assert 19.4 < float(text(browser, ".bars dd").split(" kWh")[0]) < 20.1
    browser.get(f"{daemon.url}/{base}/meters")
    assert site.serial in text(browser, "main table")
    assert complaints(browser) == []


def test_a_rejected_logger_whose_serial_number_has_a_customer(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(facility="1", solar="2", name="Mistyped", logger_password="not what the device has")
    password = "what the device has"

    def send() -> bool:
        return acknowledged(upload(daemon, site.serial, "1", minutes(2.0, 5), password=password))

    assert not send()
    sign_in(browser, daemon, operator_token)
    row = f"//tr[th[normalize-space()='{site.serial}']]"
    until(browser, lambda: browser.get(f"{daemon.url}/rejected") or browser.find_element(By.XPATH, row))
    assert "wrong password" in browser.find_element(By.XPATH, row).text
    # A logger that nobody has is offered as a new customer, this one is not.
    assert "Add a customer" not in browser.find_element(By.XPATH, row).text
    offer = browser.find_element(By.XPATH, f"{row}//a")
    assert offer.text.startswith("Set its password")
    offer.click()
    until(browser, lambda: f"/customers/{customer}/settings" in browser.current_url)
    assert "Rejected" in text(browser, "#connection")
    enter(browser.find_element(By.ID, "logger_password"), password)
    press(browser, "Save")
    until(browser, lambda: "Saved." in text(browser, "main"))
    browser.get(f"{daemon.url}/rejected")
    assert browser.find_elements(By.XPATH, row), "it stays until the logger has uploaded"
    assert send()
    until(browser, lambda: browser.get(f"{daemon.url}/rejected") or not browser.find_elements(By.XPATH, row))
    browser.get(f"{daemon.url}/overview?search={site.serial}")
    assert site.serial not in text(browser, "#rejected")
    browser.get(f"{daemon.url}/loggers/{site.serial}")
    assert "Rejected" not in text(browser, "main")
    browser.get(f"{daemon.url}/customers/{customer}/settings")
    assert "Rejected" not in text(browser, "#connection")
    complaints(browser)
