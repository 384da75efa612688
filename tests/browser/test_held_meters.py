"""A meter that is not understood, in a browser: its held rows are shown, its columns chosen, and its held logs read."""

from __future__ import annotations

import json
import urllib.request

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.times import device_time
from tests.browser.actions import Site, sign_in, text, until
from tests.browser.test_appearance import look
from tests.daemon_process import RunningDaemon, raw_post
from tests.e2e.device import PASSWORD, acknowledged

SERIAL = "001EC6DD0077"
DAY = 1_782_000_000


def send_unknown(daemon: RunningDaemon) -> None:
    """A log of a device whose class is in no table."""
    rows = [f"'{device_time(DAY + 60 * k)}',0,0,0,{4000 + k},{6 + k / 8},229.{k}\n" for k in range(5)]
    content = encode.gz("".join(rows).encode())
    form = encode.log_fields(SERIAL, PASSWORD, "1", content, device_class="9377", MODBUSDEVICENAME="Main <meter>")
    assert acknowledged(
        raw_post(daemon.port, "/consume", *encode.multipart_form(form, encode.log_filename("1"), content))
    )


def test_columns_of_a_held_meter_are_chosen(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str
) -> None:
    site = Site(daemon, operator_token, SERIAL)
    customer = site.register(facility="1", solar="2", name="Mill", time_zone="UTC")
    send_unknown(daemon)
    sign_in(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{customer}/meters")
    held = browser.find_element(By.ID, "held")
    assert "Meter 1 is not understood" in held.text
    assert "Main <meter>" in held.text
    assert "6.125" in held.text
    assert look(browser, "held-meter") == []
    for column, value in (("column.5", "P"), ("column.6", "L1_V"), ("column.4", "E_net")):
        Select(browser.find_element(By.NAME, column)).select_by_value(value)
    browser.find_element(By.CSS_SELECTOR, "#held button.primary").click()
    until(browser, lambda: "done=chosen" in browser.current_url)
    until(browser, lambda: powers(daemon, operator_token, customer) == [6.0, 6.125, 6.25, 6.375, 6.5])
    until(browser, lambda: browser.refresh() or "is not understood" not in text(browser, "main"))


def powers(daemon: RunningDaemon, token: str, customer: str) -> list[float]:
    """The meter in the API."""
    url = f"{daemon.url}/api/v1/customers/{customer}/readings?start={DAY}&end={DAY + 600}&resolution=raw&series={SERIAL}_1"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        (curve,) = json.load(reply)["curves"]
    return list(curve["P"]["mean"])
