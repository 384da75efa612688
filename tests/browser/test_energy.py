"""The energy page in a browser: another period without reloading the page, the back button, touch, and without scripts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from cenergyd.readings.model import Reading
from tests.browser.actions import Site, new_page, sign_in, text, until
from tests.browser.chrome import PHONE, axe, complaints, open_chrome, set_size
from tests.daemon_process import RunningDaemon

DAY = date(2026, 6, 17)
NOON = int(datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC).timestamp())


@pytest.fixture(scope="session")
def farm(daemon: RunningDaemon, operator_token: str) -> str:
    """A customer with energy of some hours of :data:`DAY`."""
    site = Site(daemon, operator_token, "001EC6EF0001")
    customer = site.register(facility="1", solar="2", name="Farm", time_zone="UTC")
    for meter, power in (("1", 2.0), ("2", 3.0)):
        site.upload(meter, [Reading(NOON + 60 * i, P=power, L1_PF=0.97, L1_V=121.0) for i in range(200)])
    return customer


def show(browser: webdriver.Chrome, daemon: RunningDaemon, customer: str, view: str = "day") -> None:
    """Open the page of that day once it has figures, and mark the document."""
    address = f"{daemon.url}/customers/{customer}/energy?view={view}&date={DAY}"
    until(browser, lambda: browser.get(address) or browser.find_elements(By.CSS_SELECTOR, ".energy-chart"))
    browser.execute_script("window.sameDocument = true")


def same_document(browser: webdriver.Chrome) -> bool:
    return bool(browser.execute_script("return window.sameDocument === true"))


def press(browser: webdriver.Chrome, key: str) -> None:
    browser.find_element(By.CSS_SELECTOR, f"[data-key='{key}']").click()


def test_another_time_without_a_new_page(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, farm: str
) -> None:
    sign_in(browser, daemon, operator_token)
    show(browser, daemon, farm, "week")
    first = text(browser, "h1")
    press(browser, "year")
    until(browser, lambda: text(browser, "h1") != first)
    assert "view=year" in browser.current_url
    assert text(browser, "#energy-announced") == text(browser, "h1")
    assert browser.switch_to.active_element.get_attribute("data-key") == "year"
    press(browser, "earlier")
    until(browser, lambda: "No energy data" in text(browser, "#energy"))
    browser.back()
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".energy-chart"))
    assert "view=year" in browser.current_url
    browser.back()
    until(browser, lambda: text(browser, "h1") == first)
    browser.forward()
    until(browser, lambda: text(browser, "h1") != first)
    assert browser.find_elements(By.CSS_SELECTOR, "a[download][href*='energy.csv']")
    assert browser.find_elements(By.CSS_SELECTOR, "table.cards tbody tr")
    Select(browser.find_element(By.ID, "compare")).select_by_value("last_year")
    browser.execute_script("document.getElementById('date').value = '2026-02-03'")
    press(browser, "show")
    until(browser, lambda: "compare=last_year" in browser.current_url)
    until(browser, lambda: browser.find_element(By.ID, "energy").get_attribute("aria-busy") is None)
    assert "date=2026-02-03" in browser.current_url
    assert same_document(browser)
    assert axe(browser) == []
    assert complaints(browser) == []


def test_a_swipe_shows_the_day_before(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, farm: str
) -> None:
    sign_in(browser, daemon, operator_token)
    set_size(browser, PHONE)
    show(browser, daemon, farm)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    browser.execute_script("""
        const picture = document.querySelector(".energy-chart");
        const box = picture.getBoundingClientRect();
        const at = (name, x) => picture.dispatchEvent(new PointerEvent(name, {pointerId: 1, pointerType: "touch", clientX: x, bubbles: true}));
        at("pointerdown", box.left + 40);
        at("pointermove", box.left + 240);
        at("pointerup", box.left + 240);
    """)
    wanted = (DAY - timedelta(days=1)).isoformat()
    until(browser, lambda: f"date={wanted}" in browser.current_url)
    assert same_document(browser)


def test_without_the_daemon_no_figures_of_another_period_are_shown(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, farm: str
) -> None:
    sign_in(browser, daemon, operator_token)
    show(browser, daemon, farm)
    browser.execute_cdp_cmd("Network.enable", {})
    lost = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", lost)
    press(browser, "week")
    until(browser, lambda: text(browser, "#lost"))
    # The page's own question may have found the daemon gone first.
    until(browser, lambda: not browser.find_element(By.CSS_SELECTOR, ".energy-figures").is_displayed())
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {**lost, "offline": False})
    until(browser, lambda: browser.find_element(By.CSS_SELECTOR, ".energy-chart").is_displayed())
    assert same_document(browser)
    complaints(browser)


def test_without_scripts(
    daemon: RunningDaemon, operator_token: str, farm: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plain = open_chrome(tmp_path_factory.mktemp("plain"), javascript=False)
    try:
        sign_in(plain, daemon, operator_token)
        plain.get(f"{daemon.url}/customers/{farm}/energy")
        with new_page(plain):
            press(plain, "month")
        assert "view=month" in plain.current_url
        Select(plain.find_element(By.ID, "compare")).select_by_value("last_year")
        with new_page(plain):
            press(plain, "show")
        assert "view=month" in plain.current_url
        assert "compare=last_year" in plain.current_url
    finally:
        plain.quit()
