"""A role becomes a sum of meters: from the Meters page to the curve, and which meter is missing."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from selenium import webdriver

from tests.browser.actions import Site, fill, minutes, press, sign_in, text, tile, until, until_reloaded
from tests.browser.chrome import complaints
from tests.daemon_process import RunningDaemon


def keep(browser: webdriver.Chrome, name: str) -> None:
    """Save a picture where CENERGYD_SCREENSHOTS names a folder."""
    if folder := os.environ.get("CENERGYD_SCREENSHOTS"):
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def test_two_inverters(browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site) -> None:
    made = site.register(facility="1", solar="2")
    for meter, power in (("1", 2.0), ("2", 1.0)):
        site.upload(meter, minutes(power, 130))
    site.upload("4", minutes(4.0, 130, skip=range(20, 30)))
    sign_in(browser, daemon, operator_token)
    base = f"{daemon.url}/customers/{made}"
    browser.get(f"{base}/settings")
    fill(browser, solar="2+1")
    assert "meter 1 is named more than once" in text(browser, "#computed-meter")
    fill(browser, solar="2+4*")
    assert "2+4* is not a sum of meters" in text(browser, "#computed-meter")
    fill(browser, solar="2+4*0.5")
    assert "Load will be computed" in text(browser, "#computed-meter")
    keep(browser, "sum-settings")

    browser.get(f"{base}/meters")
    fill(browser, since_kind="from the beginning", solar="2+4+2")
    press(browser, "Change")
    until(browser, lambda: "is named twice: write it once" in text(browser, "#errors"))
    assert all("422" in each for each in complaints(browser))
    fill(browser, since_kind="from the beginning", solar="2+4*0.5")
    press(browser, "Change")
    until(browser, lambda: "sum 2+4*0.5" in text(browser, "main"))
    browser.get(f"{base}/power?range=hour")
    until_reloaded(browser, lambda: "Load (computed): mean 5.00 kW, 1 gap" in text(browser, "#chart-summary"))
    assert tile(browser, "solar").is_displayed()
    keep(browser, "sum-power")
    browser.get(f"{base}/meters")
    until(
        browser,
        lambda: browser.get(f"{base}/meters") or "olar is the sum 2+4*0.5 of meters" in text(browser, "#explain"),
    )
    keep(browser, "sum-meters")
    assert complaints(browser) == []
