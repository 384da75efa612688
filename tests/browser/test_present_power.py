"""Values of "now" on real pages: of one time, or marked as old, also while the page stays open."""

from __future__ import annotations

from selenium import webdriver
from selenium.webdriver.common.by import By

from cenergyd.web.pages.texts import NOTHING
from tests.browser.actions import Site, minutes, sign_in, text, tile, until
from tests.browser.chrome import axe
from tests.browser.test_appearance import picture
from tests.daemon_process import RunningDaemon

LOAD = "#flow tr[data-role=load]"

REFRESH = """
const clock = Date.now;
Date.now = () => clock() + 60000;
document.dispatchEvent(new Event("visibilitychange"));
Date.now = clock;
"""
"""A minute later the page asks for what has changed."""


def old_roles(browser: webdriver.Chrome) -> tuple[list[str | None], list[str | None]]:
    """The roles whose values are marked as old: by the tiles, and by the table of the flows."""
    tiles = browser.find_elements(By.CSS_SELECTOR, ".tile.stale")
    rows = browser.find_elements(By.CSS_SELECTOR, "#flow tr.stale")
    return [each.get_attribute("data-role") for each in tiles], [each.get_attribute("data-role") for each in rows]


def open_power_page(browser: webdriver.Chrome, site: Site, customer: str, load: str, state: str = "") -> None:
    """The customer's power page, once its load is computed and its state follows."""
    page = f"{site.daemon.url}/customers/{customer}/power"
    until(browser, lambda: browser.get(page) or load in text(browser, LOAD), "load is computed")
    if state:
        until(browser, lambda: text(browser, "#state strong") == state or browser.refresh(), state)


def overview_row(browser: webdriver.Chrome, site: Site, customer: str) -> dict[str | None, str]:
    """The site's line in the list of sites; it is evaluated now."""
    site.api("PATCH", f"customers/{customer}", {"name": site.serial})
    browser.get(f"{site.daemon.url}/overview?search={site.serial}")
    cells = browser.find_elements(By.CSS_SELECTOR, ".sites tbody td")
    return {each.get_attribute("data-label"): each.text for each in cells}


def test_a_new_logger_whose_solar_meter_is_five_hours_behind(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(facility="1", solar="2")
    site.upload("2", minutes(0.0, 60, ago=300))
    site.upload("1", minutes(5.97, 400))
    sign_in(browser, daemon, operator_token)
    open_power_page(browser, site, customer, "5.97", "Waiting for the solar meter.")
    assert old_roles(browser) == (["load", "solar"], ["solar", "load"])
    assert "5 h ago" in tile(browser, "solar").text
    assert text(browser, "#flow caption") == "Sun: not known now; Grid: 5.97 kW from the grid; Site: not known now."
    assert axe(browser) == []
    picture(browser, "solar-behind-power")
    row = overview_row(browser, site, customer)
    assert (row["Solar now"], row["Load now"], row["Grid now"]) == (NOTHING, NOTHING, "5.97")
    assert axe(browser) == []
    picture(browser, "solar-behind-overview")


def test_a_first_upload_that_ends_five_hours_ago_is_not_good(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(facility="1", solar="2")
    site.upload("1", minutes(5.97, 60, ago=300))
    site.upload("2", minutes(0.0, 60, ago=300))
    sign_in(browser, daemon, operator_token)
    open_power_page(browser, site, customer, "5.97", "Catching up.")
    assert old_roles(browser) == (["utility", "load", "solar"], ["solar", "utility", "load"])
    picture(browser, "all-behind-power")
    row = overview_row(browser, site, customer)
    assert {row["Solar now"], row["Load now"], row["Grid now"]} == {NOTHING}


def test_an_open_page_marks_what_has_become_old(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(facility="1", solar="2")
    site.upload("1", minutes(2.0, 10, ago=30))
    site.upload("2", minutes(3.0, 10, ago=30))
    sign_in(browser, daemon, operator_token)
    open_power_page(browser, site, customer, "5.00")
    assert old_roles(browser) == ([], [])
    browser.execute_script("window.sameDocument = true")
    site.upload("1", minutes(2.5, 10))
    until(
        browser,
        lambda: browser.execute_script(REFRESH) or old_roles(browser) == (["load", "solar"], ["solar", "load"]),
        "the page marks the old values",
    )
    assert text(browser, "#flow caption") == "Sun: not known now; Grid: 2.50 kW from the grid; Site: not known now."
    assert browser.execute_script("return window.sameDocument")
