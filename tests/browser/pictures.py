"""Takes the pictures of the documentation: a list of sites, one site's power, and its energy, of simulated sites on a real daemon.

``.venv/bin/python -m tests.browser.pictures`` writes docs/overview.png, docs/power.png and docs/energy.png; takes a minute.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By

from cenergyd.acquisuite import encode
from cenergyd.readings.model import Reading
from cenergyd.tools.simulator.day import site_moments
from cenergyd.tools.simulator.site import SimulatedSite, make_sites
from tests.browser.actions import Site, sign_in, until
from tests.browser.chrome import open_chrome, set_size
from tests.daemon_process import RunningDaemon, raw_post
from tests.e2e.device import wait_for

DOCS = Path(__file__).parent.parent.parent / "docs"
WIDTH = 1280
SITES = 8
STOPPED, REFUSED, NEW = 3, 5, 6
"""Numbers of the sites whose solar meter has stopped, whose logger has another password, and whose logger has not uploaded yet."""
STOPPED_SECONDS = 30 * 3600
DAYS = 3


def main() -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory() as folder:
        daemon = RunningDaemon(Path(folder) / "daemon", {"cenergyd.ingest.activity.INTERVAL_SECONDS": "0.2"})
        daemon.folder.mkdir(exist_ok=True)
        daemon.start()
        try:
            token = daemon.run("token", "add", "--operator", "Energy office").stdout.strip()
            shown = add_sites(daemon, token)
            browser = open_chrome(Path(folder) / "chrome")
            try:
                sign_in(browser, daemon, token)
                take(browser, f"{daemon.url}/overview", "overview")
                take(browser, f"{daemon.url}/customers/{shown}", "power")
                take(browser, f"{daemon.url}/customers/{shown}/energy", "energy")
            finally:
                browser.quit()
        finally:
            daemon.stop()


def add_sites(daemon: RunningDaemon, token: str) -> str:
    """Upload the last days of every site, and wait until all is computed; the id of the site that is shown."""
    now = int(time.time()) // 60 * 60
    shown, operator = "", Site(daemon, token, "")
    for number, simulated in enumerate(make_sites(SITES, seed=4)):
        site = Site(daemon, token, simulated.serial)
        named = f"{simulated.place.town} {'school' if number % 2 else 'farm'}"
        customer = site.register(name=named, time_zone=simulated.place.zone, **simulated.fields)
        shown = shown if number else customer
        if number == REFUSED:
            refused = encode.log_fields(site.serial, "another", "1", b"", device_class="48")
            raw_post(daemon.port, "/consume", *encode.multipart_form(refused, encode.log_filename("1"), b""))
            wait_for(lambda: operator.api("GET", "overview", None)["rejected"], what="the refusal")
            site.api("PATCH", f"customers/{customer}", {"name": named})  # evaluated at once
        elif number != NEW:
            upload_days(site, simulated, number, now)
    wait_for(lambda: is_computed(operator), 300, "everything computed")
    return shown


def upload_days(site: Site, simulated: SimulatedSite, number: int, now: int) -> None:
    """Each meter's log of the last days."""
    for role in simulated.roles:
        last = now - STOPPED_SECONDS if role == "solar" and number == STOPPED else now
        interval = 60 if number == 0 else 300
        readings = [
            Reading(moment.time, P=power.P, L1_PF=power.power_factor, L1_V=moment.volts, Q=power.Q)
            for moment in site_moments(simulated, last - DAYS * 86400, last + 1, interval)
            for power in (moment.of(role),)
        ]
        for first in range(0, len(readings), 400):
            site.upload(simulated.meters[role], readings[first : first + 400])


def is_computed(site: Site) -> bool:
    """Whether no work is pending and the sites that upload have been evaluated since."""
    overview = site.api("GET", "overview", None)
    kinds = Counter(each["state"]["kind"] for each in overview["customers"])
    return (
        overview["pending"]["customers"] == 0
        and kinds["good"] == SITES - 3
        and kinds["meter_stopped"] + kinds["waiting"] == 1
    )


def take(browser: webdriver.Chrome, url: str, name: str) -> None:
    """A picture of a whole page once it shows its content."""
    set_size(browser, (WIDTH, 900))
    browser.get(url)
    if name == "power":
        until(browser, lambda: browser.find_element(By.CSS_SELECTOR, ".u-over"), "the curves")
        time.sleep(2)  # the curves are drawn after their canvas is there; nothing depends on it
    height = browser.execute_script("return document.documentElement.scrollHeight")
    set_size(browser, (WIDTH, height))
    browser.save_screenshot(str(DOCS / f"{name}.png"))


if __name__ == "__main__":
    main()
