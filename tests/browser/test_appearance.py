"""Every page, light and dark, on desktop and phone: no serious findings by axe, nothing wider than a phone, an empty console.

With CENERGYD_SCREENSHOTS=/some/folder every page is saved there as a picture.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.actions import Site, fill, minutes, press, sign_in, text, until
from tests.browser.chrome import DESKTOP, PHONE, axe, complaints, set_size, set_theme
from tests.daemon_process import RunningDaemon
from tests.e2e.device import upload

LONG = "A site whose name somebody thought about for a rather long time, NorthEasternBuildingNumberSeventeen"


@pytest.fixture(scope="session")
def customer(daemon: RunningDaemon, operator_token: str) -> str:
    """A customer with all that pages can show."""
    site = Site(daemon, operator_token, "001EC6EE0001")
    made = site.register(load="1", solar="2", name=LONG)
    site.upload("1", minutes(4.0, 200, skip=range(30, 60)), MODBUSDEVICENAME=LONG, MODBUSDEVICETYPE="Veris E51C2")
    site.upload("2", minutes(1.0, 200), LOOPNAME="AcquiSuite of the north-eastern building")
    site.report_status(
        UPTIME="77777", FIRMWAREVERSION="v02.16.0225", LOOPNAME="AcquiSuite of the north-eastern building"
    )
    Site(daemon, operator_token, "001EC6EE0002").register(load="1")
    assert upload(daemon, "001EC6EEFFFF", "1", minutes(1.0, 1))[0] == 401
    return made


def pages(customer: str) -> dict[str, str]:
    one = f"/customers/{customer}"
    return {
        "overview": "/overview", "nobody": "/overview?search=nobody+has+this", "rejected": "/rejected", "new": "/customers/new",
        "access": "/access", "customer-access": f"{one}/access", "sessions": "/sessions",
        "power": f"{one}/power", "hour": f"{one}/power?range=hour&table=1", "settings": f"{one}/settings", "remove": f"{one}/remove",
        "operator": f"{one}/operator", "plugins": "/plugins",
        "energy": f"{one}/energy", "energy-year": f"{one}/energy?view=year", "silent": "/overview?state=logger_silent&sort=last_upload",
        "missing": "/nothing/here", "wrong-range": f"{one}/power?from=&to=x",
    }  # fmt: skip


def test_pages(browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, customer: str) -> None:
    browser.get(f"{daemon.url}/sign-in")
    faults = look_in_both_themes(browser, "sign-in")
    sign_in(browser, daemon, operator_token)
    for name, path in pages(customer).items():
        browser.get(daemon.url + path)
        if "power" in path:
            until(browser, lambda: text(browser, "#chart-summary"))
        faults += look_in_both_themes(browser, name)
    browser.get(f"{daemon.url}/customers/{customer}/settings")
    fill(browser, load="0x1", logger_serial_number="no serial!", name="")
    press(browser, "Save")
    until(browser, lambda: browser.find_element(By.ID, "load-error"))
    faults += look_in_both_themes(browser, "errors")
    assert faults == []


def look_in_both_themes(browser: webdriver.Chrome, name: str) -> list[str]:
    """What is wrong with a page as it is; the dark theme comes second, where only the colours can differ."""
    faults = look(browser, f"{name}-light")
    set_theme(browser, "dark")
    faults += look(browser, f"{name}-dark", colours_only=True)
    set_theme(browser, "light")
    return faults


def look(browser: webdriver.Chrome, name: str, *, colours_only: bool = False) -> list[str]:
    """What is wrong with a page as it is, at both sizes; ``colours_only`` where the other theme was looked at."""
    faults = [
        f"{name}: {complaint}"
        for complaint in complaints(browser)
        if "server responded with a status of 4" not in complaint
    ]
    for size in (DESKTOP, PHONE):
        set_size(browser, size)
        width = browser.execute_script("return document.documentElement.scrollWidth")
        if width > size[0]:
            faults.append(f"{name}: {width} px wide on {size[0]}")
        faults += [f"{name}: a table wider than {size[0]} px: {table}" for table in wide_tables(browser)]
        picture(browser, f"{name}-{size[0]}")
        faults += [f"{name} {size[0]}: {fault}" for fault in axe(browser, colours_only=colours_only)]
    set_size(browser, DESKTOP)
    return faults


def wide_tables(browser: webdriver.Chrome) -> list[str]:
    """Tables of which a part is out of sight; on a phone their rows are cards."""
    found: list[str] = browser.execute_script("""
        return [...document.querySelectorAll("main table")].filter((table) => {
          const frame = table.closest(".scroll") || table.parentElement;
          return frame.clientWidth && table.scrollWidth > frame.clientWidth + 1;
        }).map((table) => table.id || table.caption?.textContent || table.textContent.slice(0, 60));
    """)
    return found


def picture(browser: webdriver.Chrome, name: str) -> None:
    if folder := os.environ.get("CENERGYD_SCREENSHOTS"):
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def test_the_link_of_the_current_page_is_visible_on_a_phone(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, customer: str
) -> None:
    sign_in(browser, daemon, operator_token)
    set_size(browser, PHONE)
    for path in (
        f"/customers/{customer}/tariff",
        f"/customers/{customer}/doctor",
        f"/customers/{customer}/power",
        "/plugins",
    ):
        browser.get(daemon.url + path)
        box = browser.execute_script("""
            const {left, right} = document.querySelector("nav a[aria-current=page]").getBoundingClientRect();
            return [left, right];
        """)
        assert -1 <= box[0] < box[1] <= PHONE[0] + 1, (path, box)


def test_axe_would_find_a_fault(browser: webdriver.Chrome, daemon: RunningDaemon) -> None:
    browser.get(f"{daemon.url}/sign-in")
    assert axe(browser) == []
    browser.execute_script("document.querySelector('main').append(document.createElement('input'))")
    assert any("label" in fault for fault in axe(browser))


def test_by_keyboard_alone(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, customer: str
) -> None:
    browser.get(f"{daemon.url}/sign-in")
    # Chromium gives it the focus with its first picture of the page.
    until(browser, lambda: browser.switch_to.active_element.get_attribute("id") == "token")
    browser.switch_to.active_element.send_keys(operator_token, Keys.ENTER)
    until(browser, lambda: browser.current_url == f"{daemon.url}/overview")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the content"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    until(browser, lambda: browser.switch_to.active_element.get_attribute("id") == "main")
    browser.get(f"{daemon.url}/customers/{customer}/power")
    until(browser, lambda: text(browser, "#chart-summary"))
    names = []
    for _ in range(60):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        focused = browser.switch_to.active_element
        outlined = browser.execute_script(
            "const s = getComputedStyle(arguments[0]); return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0",
            focused,
        )
        names.append(focused.get_attribute("id") or focused.text)
        assert outlined, f"nothing shows that {names[-1]} has the focus"
        if names[-1] == "show-table":
            break
    for each in ("Power", "Hour", "Later", "channel", "chart", "from", "csv", "show-table"):
        assert any(each == name or each in name for name in names), (each, names)
