"""Settings: from an empty form to a third curve; errors; conflicts; removing."""

from __future__ import annotations

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.actions import (
    Site,
    fill,
    minutes,
    new_page,
    press,
    sign_in,
    text,
    tile,
    until,
    until_reloaded,
    value,
)
from tests.browser.chrome import complaints
from tests.browser.test_appearance import picture
from tests.daemon_process import RunningDaemon
from tests.e2e.device import PASSWORD, upload


def test_from_an_empty_form_to_the_third_curve(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    assert upload(daemon, site.serial, "1", minutes(2.0, 5))[0] == 401
    sign_in(browser, daemon, operator_token)
    # The refused logger is listed, and leads to the form.
    until(browser, lambda: browser.get(f"{daemon.url}/rejected") or site.serial in browser.page_source)
    browser.find_element(By.CSS_SELECTOR, f"a[href$='serial={site.serial}']").click()
    until(browser, lambda: value(browser, "logger_serial_number") == site.serial)
    fill(browser, name="Hill farm", time_zone="America/New_York", logger_password=PASSWORD)
    press(browser, "Add the customer")
    until(browser, lambda: "The customer was added" in text(browser, "main"))
    # Its wrong password before was noted; it uploads now, and its meters appear without a reload.
    browser.execute_script("window.sameDocument = true")
    site.upload("1", minutes(2.0, 90), MODBUSDEVICENAME="House")
    site.upload("2", minutes(1.5, 90, skip=range(20, 40)), MODBUSDEVICENAME="Roof")
    until(browser, lambda: "House" in text(browser, "#meters") and "Roof" in text(browser, "#meters"))
    assert "two of the three" in text(browser, "#computed-meter")
    browser.find_element(By.CSS_SELECTOR, "button[value='facility:1']").click()
    browser.find_element(By.CSS_SELECTOR, "button[value='solar:2']").click()
    until(browser, lambda: (value(browser, "facility"), value(browser, "solar")) == ("1", "2"))
    assert text(browser, "#computed-meter") == "Load will be computed: utility + solar."
    assert browser.execute_script("return window.sameDocument")
    press(browser, "Save")
    until(browser, lambda: "Saved." in text(browser, "main"))

    browser.get(f"{browser.current_url.split('/settings')[0]}/power?range=hour")
    # The gap of one meter is a gap of the computed one. A summary that was told is not told again.
    whole = "Load (computed): mean 3.50 kW, 1 gap"
    until_reloaded(browser, lambda: whole in text(browser, "#chart-summary"))
    browser.execute_script("window.sameDocument = true")
    until(browser, lambda: "Load (computed)" in text(browser, "#legend"))
    until(browser, lambda: tile(browser, "load").find_element(By.CSS_SELECTOR, "[data-part=P]").text == "3.50")
    until(browser, lambda: "computed" in tile(browser, "load").text)
    # More comes while the page is open: tiles and curves follow.
    site.upload("1", minutes(5.0, 1, ago=-1))
    site.upload("2", minutes(2.0, 1, ago=-1))
    until(browser, lambda: tile(browser, "load").find_element(By.CSS_SELECTOR, "[data-part=P]").text == "7.00")
    assert tile(browser, "utility").find_element(By.CSS_SELECTOR, "[data-part=direction]").text == "from the grid"
    chart = browser.find_element(By.ID, "chart")
    assert browser.execute_script("return window.sameDocument")
    chart.send_keys(Keys.SHIFT, Keys.ARROW_RIGHT)
    until(browser, lambda: "Load 3.50 kW" in text(browser, "#chart-summary"))
    assert complaints(browser) == []


def test_errors_stand_beside_their_fields(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    taken = site.neighbour()
    taken.register(load="1", solar="2")
    customer = site.register(load="1", solar="2")
    sign_in(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{customer}/settings")
    fill(browser, load="300", name="Kept name")
    press(browser, "Save")
    until(browser, lambda: browser.find_element(By.ID, "load-error"))
    assert "1 to 255" in text(browser, "#load-error")
    assert browser.find_element(By.ID, "load").get_attribute("aria-invalid") == "true"
    assert (value(browser, "load"), value(browser, "name")) == ("300", "Kept name")
    assert "Nothing was saved" in text(browser, "#errors")
    fill(browser, load="1", logger_serial_number=taken.serial)
    press(browser, "Save")
    until(browser, lambda: browser.find_element(By.ID, "logger_serial_number-error"))
    assert "belongs to another customer" in text(browser, "#logger_serial_number-error")
    fill(browser, logger_serial_number=site.serial)
    press(browser, "Save")
    until(browser, lambda: "Saved." in text(browser, "main"))
    assert value(browser, "name") == "Kept name"
    # The password is never in a page, and leaving it empty kept it.
    assert value(browser, "logger_password") == ""
    assert PASSWORD not in browser.page_source
    site.upload("1", minutes(1.0, 1))


def test_two_editors(browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site) -> None:
    customer = site.register(load="1", solar="2")
    sign_in(browser, daemon, operator_token)
    address = f"{daemon.url}/customers/{customer}/settings"
    browser.get(address)
    mine = browser.current_window_handle
    fill(browser, name="My name", solar="3")
    browser.switch_to.new_window("tab")
    browser.get(address)
    fill(browser, name="Their name", load="9")
    press(browser, "Save")
    until(browser, lambda: "Saved." in text(browser, "main"))
    browser.switch_to.window(mine)
    press(browser, "Save")
    until(browser, lambda: browser.find_element(By.ID, "conflict"))
    reported = text(browser, "#conflict")
    for part in (f"Site {site.serial}", "Their name", "My name", "Load meter", "not changed by you"):
        assert part in reported
    # Their values where only they changed something, mine where I did.
    assert (value(browser, "name"), value(browser, "load"), value(browser, "solar")) == ("My name", "9", "3")
    browser.switch_to.new_window("tab")
    browser.get(address)
    assert (value(browser, "name"), value(browser, "solar")) == ("Their name", "2")
    browser.switch_to.window(mine)
    press(browser, "Save these values")
    until(browser, lambda: "Saved." in text(browser, "main"))
    assert (value(browser, "name"), value(browser, "load"), value(browser, "solar")) == ("My name", "9", "3")


def test_rejected_attempts_of_a_known_logger_are_reported(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(load="1", solar="2")
    sign_in(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{customer}/settings")
    assert "never" in text(browser, "#connection")
    assert upload(daemon, site.serial, "1", minutes(1.0, 1), password="not this one")[0] == 401
    until(browser, lambda: "Rejected" in text(browser, "#connection"))
    assert "127.0.0.1" in text(browser, "#connection")
    site.upload("1", minutes(1.0, 1))
    until(browser, lambda: "Rejected" not in text(browser, "#connection"))


def test_removing_is_confirmed_first(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(load="1", solar="2")
    sign_in(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{customer}/settings")
    with new_page(browser):
        press(browser, "Remove this customer…")
    assert f"Site {site.serial}" in text(browser, "h1")
    with new_page(browser):
        press(browser, "Keep")
    assert browser.current_url.endswith("/settings")
    press(browser, "Remove this customer…")
    press(browser, "Remove")
    until(browser, lambda: "The customer was removed" in text(browser, "main"))
    assert upload(daemon, site.serial, "1", minutes(1.0, 1))[0] == 401


@pytest.mark.parametrize("preset", ["flat", "night", "peak", "seasons"])
def test_a_common_tariff_fits_one_screen(
    preset: str, browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(facility="1", solar="2")
    sign_in(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{customer}/tariff")
    browser.find_element(By.CSS_SELECTOR, f"button[name=preset][value={preset}]").click()
    until(browser, lambda: browser.find_element(By.CSS_SELECTOR, ".notice.ok"))
    for field in browser.find_elements(By.CSS_SELECTOR, "#energy input[id$='import_per_kwh']"):
        field.send_keys("0.25")
    filled = browser.execute_script("return document.documentElement.scrollHeight")
    browser.find_element(By.ID, "currency").clear()
    browser.find_element(By.ID, "currency").send_keys("usd")
    press(browser, "Save")
    until(browser, lambda: "done=saved" in browser.current_url)
    picture(browser, f"tariff-{preset}")
    saved = browser.execute_script("return document.documentElement.scrollHeight")
    assert (filled <= 1200, saved <= 1200) == (True, True), (filled, saved)
