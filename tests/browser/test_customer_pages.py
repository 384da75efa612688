"""Alerts, tariff, charges, checks, meters and loggers in a browser: with scripts and without, hostile texts, both themes, a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.actions import Site, enter, minutes, press, sign_in, text, until
from tests.browser.chrome import axe, complaints, open_chrome, set_theme
from tests.browser.rich_site import LOOPNAME
from tests.browser.test_appearance import look, picture
from tests.browser.test_hostile_names import PROBES, check
from tests.daemon_process import RunningDaemon

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@pytest.fixture
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser that runs no page's scripts."""
    browser = open_chrome(tmp_path_factory.mktemp("plain"), javascript=False)
    yield browser
    browser.quit()


def put(browser: webdriver.Chrome, **values: str) -> None:
    """Type into fields by id; ``__`` stands for the dot."""
    for name, value in values.items():
        enter(browser.find_element(By.ID, name.replace("__", ".")), value)


def add(browser: webdriver.Chrome, section: str, expected: str) -> None:
    """Add a row to a list of the tariff."""
    browser.find_element(By.CSS_SELECTOR, f"button[name=add][value={section}]").click()
    until(browser, lambda: browser.find_element(By.ID, expected))


def choose_days(browser: webdriver.Chrome, row: int) -> None:
    for day in WEEK:
        browser.find_element(By.NAME, f"schedules.{row}.{day}").click()


def look_dark(browser: webdriver.Chrome, name: str) -> list[str]:
    """As ``look``, where only the colours differ."""
    set_theme(browser, "dark")
    picture(browser, f"{name}-dark")
    faults = [f"{name} dark: {fault}" for fault in axe(browser, colours_only=True)]
    set_theme(browser, "light")
    return faults


def test_appearance(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, rich: tuple[Site, str]
) -> None:
    site, customer = rich
    sign_in(browser, daemon, operator_token)
    faults: list[str] = []
    one, logger = f"/customers/{customer}", f"/loggers/{site.serial}"
    paths = {
        "alerts": f"{one}/alerts", "tariff": f"{one}/tariff", "charges": f"{one}/charges?basis=calendar", "doctor": f"{one}/doctor",
        "meters": f"{one}/meters", "logger": logger, "config": f"{logger}/config?name=loggerconfig.ini",
        "diff": f"{logger}/config?name=loggerconfig.ini&old=1&new=2",
    }  # fmt: skip
    for name, path in paths.items():
        browser.get(daemon.url + path)
        faults += look(browser, name) + look_dark(browser, name)
    browser.get(f"{daemon.url}{one}/alerts")
    put(browser, net_load__threshold_kw="much", address="nobody")
    press(browser, "Save")
    until(browser, lambda: browser.find_element(By.ID, "net_load.threshold_kw-error"))
    faults += look(browser, "alerts-errors") + look_dark(browser, "alerts-errors")
    browser.get(f"{daemon.url}{one}/tariff")
    browser.find_element(By.CSS_SELECTOR, "#schedules summary").click()
    put(browser, schedules__0__to="17:00", schedules__1__to="13:00")
    press(browser, "Save")
    until(browser, lambda: browser.find_element(By.ID, "errors"))
    faults += look(browser, "tariff-errors") + look_dark(browser, "tariff-errors")
    assert faults == []


def test_tariff_with_scripts(browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site) -> None:
    customer = site.register(load="1", solar="2")
    sign_in(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{customer}/tariff")
    browser.execute_script("window.sameDocument = true")
    add(browser, "schedules", "schedules.0.period")
    put(browser, schedules__0__period="day", schedules__0__to="20:00")
    choose_days(browser, 0)
    # The week is drawn while typing, and names the gaps. When the last day's is drawn, nothing above the button moves any more.
    until(browser, lambda: "Sun 20:00 to 24:00: no period" in text(browser, "#picture"))
    add(browser, "schedules", "schedules.1.period")
    assert browser.switch_to.active_element.get_attribute("id") == "schedules.1.period"
    add(browser, "schedules", "schedules.2.period")
    put(browser, schedules__2__period="night", schedules__2__from="8 pm")
    choose_days(browser, 2)
    until(browser, lambda: "no period" not in text(browser, "#picture") and "night" in text(browser, "#picture"))
    browser.find_element(By.CSS_SELECTOR, "button[name=remove][value='schedules.1']").click()
    until(browser, lambda: not browser.find_elements(By.ID, "schedules.2.period"))
    assert browser.execute_script("return window.sameDocument")
    add(browser, "holidays", "holidays.0.kind")
    put(browser, holidays__0__kind="Nth weekday of a month")
    put(browser, holidays__0__nth="4th", holidays__0__weekday="Thu", holidays__0__month="November")
    press(browser, "Save")
    until(browser, lambda: "Saved." in text(browser, "main"))
    assert "night" in text(browser, "#picture")
    assert complaints(browser) == []


def test_nothing_is_typed_into_a_form_that_is_being_replaced(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(load="1", solar="2")
    sign_in(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{customer}/tariff")
    add_row = browser.find_element(By.CSS_SELECTOR, "button[name=add][value=schedules]")
    typing = ActionChains(browser).click(browser.find_element(By.ID, "fixed")).send_keys("7")
    daemon.freeze()
    try:
        add_row.click()
        typing.perform()
        typed = browser.find_element(By.ID, "fixed").get_attribute("value")
    finally:
        daemon.thaw()
    until(browser, lambda: browser.find_element(By.ID, "schedules.0.period"))
    assert browser.find_element(By.ID, "fixed").get_attribute("value") == typed


def test_drawing_the_week_moves_nothing_of_what_is_typed(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(load="1", solar="2")
    sign_in(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{customer}/tariff")
    add(browser, "schedules", "schedules.0.period")
    put(browser, schedules__0__period="day", schedules__0__to="20:00")
    choose_days(browser, 0)
    until(browser, lambda: "Sun 20:00 to 24:00: no period" in text(browser, "#picture"))
    heights = [height_of(browser, "#picture")]
    for _ in range(2):  # every second day out, which splits the week's rows, and in again
        for day in WEEK[1::2]:
            box = browser.find_element(By.NAME, f"schedules.0.{day}")
            drawn, place = text(browser, "#picture"), box.location_once_scrolled_into_view
            box.click()
            until(browser, lambda drawn=drawn: text(browser, "#picture") != drawn)
            seen = browser.execute_script("return arguments[0].getBoundingClientRect().top", box)
            assert seen == pytest.approx(place["y"], abs=1)
            heights.append(height_of(browser, "#picture"))
    assert heights == sorted(heights)
    assert heights[0] < heights[-1]
    assert complaints(browser) == []


def height_of(browser: webdriver.Chrome, selector: str) -> float:
    """The height of an element, px."""
    return float(browser.find_element(By.CSS_SELECTOR, selector).rect["height"])


def test_without_scripts(plain: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site) -> None:
    customer = site.register(load="1", solar="2")
    sign_in(plain, daemon, operator_token)
    base = f"{daemon.url}/customers/{customer}"
    plain.get(f"{base}/tariff")
    press(plain, "One price")
    until(plain, lambda: "type the prices" in text(plain, "main"))
    add(plain, "schedules", "schedules.0.period")
    put(plain, schedules__0__period="all day", schedules__0__to="22:00")
    choose_days(plain, 0)
    press(plain, "Update the diagram")
    until(plain, lambda: "Mon 22:00 to 24:00: no period" in text(plain, "#picture"))
    press(plain, "Save")
    until(plain, lambda: "no period covers 22:00" in text(plain, "#schedules-error"))
    add(plain, "schedules", "schedules.1.period")
    put(plain, schedules__0__to="24:00", energy__0__import_per_kwh="0.25")
    plain.find_element(By.ID, "fixed").send_keys(Keys.ENTER)
    until(plain, lambda: "Saved." in text(plain, "main"))
    plain.find_elements(By.CSS_SELECTOR, "main summary")[-1].click()
    press(plain, "Remove the tariff")
    until(plain, lambda: "The tariff was removed." in text(plain, "main"))

    plain.get(f"{base}/alerts")
    plain.find_element(By.ID, "voltage.enabled").click()
    put(plain, voltage__percent="-4")
    press(plain, "Save")
    until(plain, lambda: "a number from 0.1" in text(plain, "[id='voltage.percent-error']").lower())
    put(plain, voltage__percent="5")
    press(plain, "Save")
    until(plain, lambda: "Saved." in text(plain, "main"))
    put(plain, type="Webhook", address="http://127.0.0.1:9/hook", secret="very secret words")
    press(plain, "Add")
    until(plain, lambda: "The channel was added" in text(plain, "main"))
    plain.find_element(By.CSS_SELECTOR, ".channel form[action$=test] button").click()
    until(plain, lambda: "A test message is queued" in text(plain, "main"))
    assert "Test " in text(plain, ".channel")
    assert "Test message" in text(plain, "#messages")
    plain.find_element(By.CSS_SELECTOR, ".channel form[action$=remove] button").click()
    until(plain, lambda: "The channel was removed" in text(plain, "main"))

    plain.get(f"{base}/meters")
    put(plain, since_kind="from now on", solar="3")
    press(plain, "Change")
    until(plain, lambda: "The meters were changed" in text(plain, "main"))
    assert "meter 3" in text(plain, "main")


def test_two_people_at_the_rules(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(load="1", solar="2")
    sign_in(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{customer}/alerts")
    site.api("PUT", f"customers/{customer}/alerts", {"net_load": {"threshold_kw": 50}})
    browser.find_element(By.ID, "net_load.enabled").click()
    put(browser, net_load__threshold_kw="60")
    press(browser, "Save")
    until(browser, lambda: "Somebody else changed these rules" in text(browser, "#conflict"))
    assert "50" in text(browser, "#conflict")
    press(browser, "Save these rules")
    until(browser, lambda: "Saved." in text(browser, "main"))
    assert browser.find_element(By.ID, "net_load.threshold_kw").get_attribute("value") == "60"


def test_hostile_texts_are_text(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, rich: tuple[Site, str], site: Site
) -> None:
    configured, _ = rich
    # Names of a tariff have at most 40 characters.
    period, season = "<img src=x onerror=window.pwned=1>", "'\"><svg onload=window.pwned=2>"
    customer = site.register(load="1", solar="2", name=PROBES[1])
    tariff = {
        "seasons": [{"name": season, "from": "01-01", "to": "12-31"}],
        "schedules": [{"season": season, "period": period, "days": list(WEEK)}],
    }
    site.api("PUT", f"customers/{customer}/tariff", tariff)
    channel = {"type": "pager", "to": PROBES[0], PROBES[1]: PROBES[3]}
    site.api("PUT", f"customers/{customer}/alerts", {"channels": [channel]})
    site.upload("1", minutes(1.0, 5), LOOPNAME=PROBES[0], MODBUSDEVICENAME=PROBES[1], MODBUSDEVICETYPE=PROBES[3])
    site.report_status(LOOPNAME=PROBES[0], FIRMWAREVERSION=PROBES[1])
    sign_in(browser, daemon, operator_token)
    base = f"{daemon.url}/customers/{customer}"
    check(browser, f"{base}/tariff", period)
    check(browser, f"{base}/alerts", PROBES[0])
    for page in ("charges", "doctor", "meters"):
        check(browser, f"{base}/{page}")
    until(browser, lambda: browser.get(f"{daemon.url}/loggers/{site.serial}") or PROBES[0] in text(browser, "main"))
    check(browser, f"{daemon.url}/loggers/{site.serial}", PROBES[1])
    config = f"{daemon.url}/loggers/{configured.serial}/config?name=loggerconfig.ini"
    check(browser, config, LOOPNAME)
    check(browser, f"{config}&old=1&new=2", "+TIMEZONE=America/New_York")
