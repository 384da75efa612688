"""The power view: ranges, zoom, keys, the table, CSV, conditions without readings."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from tests.browser.actions import Site, drawn, minutes, press, sign_in, text, until, until_reloaded
from tests.browser.chrome import PHONE, complaints, set_size
from tests.daemon_process import RunningDaemon


@pytest.fixture
def power(browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site) -> str:
    """A site with half an hour of readings, its power view open and drawn; the address."""
    customer = site.register(load="1", solar="2")
    site.upload("1", minutes(4.0, 30, skip=range(10, 20)))
    site.upload("2", minutes(1.0, 30))
    sign_in(browser, daemon, operator_token)
    address = f"{daemon.url}/customers/{customer}/power"
    browser.get(address)
    until_reloaded(browser, lambda: "Utility (computed): mean 3.00 kW" in text(browser, "#chart-summary"))
    return address


def shown(browser: webdriver.Chrome) -> tuple[int, int]:
    """The range in the address, as the page itself has it: the browser is told of a change a moment later."""
    query = parse_qs(browser.execute_script("return location.search.slice(1)"))
    return int(query["start"][0]), int(query["end"][0])


PAINTED = """
const canvas = document.querySelector('#chart canvas');
if (canvas === null) return [];
const style = getComputedStyle(document.documentElement);
const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
return ['utility', 'load', 'solar'].filter((role) => {
  const wanted = style.getPropertyValue('--' + role).trim().match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
  let count = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    if (pixels[i + 3] > 200 && wanted.every((part, c) => Math.abs(pixels[i + c] - part) < 24)) count += 1;
  }
  return count > 40;
});
"""
"""The roles whose colour is on the canvas."""


def test_the_third_curve_appears_while_the_page_is_open(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(facility="1", solar="2")
    sign_in(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{customer}/power?range=hour")
    until(browser, lambda: text(browser, "#chart-summary").startswith("No readings in this range."))
    browser.execute_script("window.sameDocument = true")
    site.upload("1", minutes(2.0, 50))
    until(browser, lambda: browser.execute_script(PAINTED) == ["utility"])
    site.upload("2", minutes(3.0, 50))
    until(browser, lambda: browser.execute_script(PAINTED) == ["utility", "load", "solar"])
    browser.find_element(By.ID, "chart").send_keys(Keys.SHIFT, Keys.ARROW_LEFT)
    until(browser, lambda: "Utility 2.00 kW, Load 5.00 kW, Solar 3.00 kW" in text(browser, "#chart-summary"))
    # A change of the settings elsewhere changes which curve is computed.
    site.api("PATCH", f"customers/{customer}", {"facility": "", "load": "1"})
    until(browser, lambda: "Utility (computed)" in text(browser, "#legend"))
    assert browser.execute_script("return window.sameDocument")
    # A message about reading the canvas is caused by this test.
    assert [each for each in complaints(browser) if "willReadFrequently" not in each] == []


def test_the_end_of_a_session_is_reported(browser: webdriver.Chrome, power: str) -> None:
    assert not browser.find_element(By.ID, "gone").is_displayed()
    browser.delete_all_cookies()
    browser.find_element(By.CSS_SELECTOR, "[data-range=hour]").click()
    until(browser, lambda: browser.find_element(By.ID, "gone").is_displayed())


def test_ranges_keys_and_zoom(browser: webdriver.Chrome, power: str) -> None:
    for key in ("hour", "week", "day"):
        browser.find_element(By.CSS_SELECTOR, f"[data-range={key}]").click()
        until(browser, lambda key=key: browser.current_url == f"{power}?range={key}")
        until(browser, lambda: drawn(browser) and "Utility (computed): mean" in text(browser, "#chart-summary"))
    chart = browser.find_element(By.ID, "chart")
    chart.send_keys("+")
    start, end = shown(browser)
    assert end - start == 43200
    chart.send_keys(Keys.ARROW_LEFT)
    assert shown(browser) == (start - 21600, end - 21600)
    chart.send_keys("-")
    assert shown(browser) == (start - 21600 - 21600, end)
    chart.send_keys(Keys.BACK_SPACE)
    assert shown(browser) == (start - 21600, end - 21600)
    chart.send_keys(Keys.END)
    assert abs(shown(browser)[1] - time.time()) < 600, "now, and not a quarter of a day before"
    until(browser, lambda: drawn(browser))
    # A drag over the middle half zooms to it.
    start, end = shown(browser)
    area = chart.find_element(By.CSS_SELECTOR, ".u-over")
    width = area.size["width"]
    ActionChains(browser).move_to_element_with_offset(area, -width // 4, 0).click_and_hold().move_by_offset(
        width // 2, 0
    ).release().perform()
    until(browser, lambda: shown(browser) != (start, end))
    zoomed = shown(browser)
    assert abs((zoomed[1] - zoomed[0]) / (end - start) - 0.5) < 0.02
    assert complaints(browser) == []


def test_everything_follows_the_range(browser: webdriver.Chrome, power: str) -> None:
    browser.find_element(By.CSS_SELECTOR, "[data-range=hour]").click()
    until(browser, lambda: drawn(browser))
    press(browser, "Show the values as a table")
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#values tbody tr"))
    table = text(browser, "#values")
    assert "per 5 min" in text(browser, "#values caption")
    assert "no reading" in text(browser, "#values")
    link = browser.find_element(By.ID, "csv").get_attribute("href")
    lines = browser.execute_async_script(
        "const done = arguments[1]; fetch(arguments[0]).then((r) => r.text()).then((t) => done(t.trim().split('\\r\\n')))",
        link,
    )
    assert lines[0].startswith("time_utc,time_local,role,series,computed")
    assert len(lines) == 1 + 20 + 30 + 20
    browser.find_element(By.CSS_SELECTOR, "[data-do=left]").click()
    until(browser, lambda: browser.find_element(By.ID, "csv").get_attribute("href") != link)
    until(browser, lambda: text(browser, "#values") != table)
    assert complaints(browser) == []


def hold_first(browser: webdriver.Chrome, part: str) -> None:
    """The first answer to an address with this part comes once the page's ``release`` is called."""
    browser.execute_script(
        """
        const whole = window.fetch;
        let held = false;
        window.fetch = (address, more) => {
          if (held || !address.includes(arguments[0])) return whole(address, more);
          held = true;
          return new Promise((resolve) => { window.release = () => whole(address).then(resolve); });
        };
        """,
        part,
    )


def test_a_live_update_does_not_silence_what_was_chosen(browser: webdriver.Chrome, power: str) -> None:
    hold_first(browser, "/readings?")
    Select(browser.find_element(By.ID, "channel")).select_by_visible_text("Voltage, V")
    browser.execute_script("document.dispatchEvent(new Event('connectionback'))")  # loads again, as a live update does
    until(browser, lambda: "Load: mean 121.0 V" in text(browser, "#chart-summary"))


def test_the_table_is_of_the_range_that_was_chosen_last(browser: webdriver.Chrome, power: str) -> None:
    hold_first(browser, "table=1")
    press(browser, "Show the values as a table")
    browser.find_element(By.CSS_SELECTOR, "[data-range=hour]").click()
    until(browser, lambda: "per 5 min" in text(browser, "#values caption"))
    # The page has that answer before another one to the same address.
    browser.execute_async_script(
        "window.release().then(() => fetch('?table=1')).then((answer) => answer.text()).then(() => setTimeout(arguments[0]))"
    )
    assert "per 5 min" in text(browser, "#values caption")


def test_other_quantities_and_hidden_curves(browser: webdriver.Chrome, power: str) -> None:
    browser.find_element(By.CSS_SELECTOR, "[data-range=hour]").click()
    Select(browser.find_element(By.ID, "channel")).select_by_visible_text("Voltage, V")
    until(browser, lambda: "Load: mean 121.0 V, 1 gap" in text(browser, "#chart-summary"))
    assert browser.find_element(By.ID, "chart").get_attribute("aria-label") == "Voltage, V over time"
    Select(browser.find_element(By.ID, "channel")).select_by_visible_text("Power factor")
    until(browser, lambda: "Strip at the bottom: Utility estimated" in text(browser, "#chart-note"))
    assert "Load: 0.97 to 0.97, 1 gap" in text(browser, "#chart-summary")
    button = browser.find_element(By.CSS_SELECTOR, "#legend [data-role=load]")
    button.send_keys(Keys.SPACE)
    assert button.get_attribute("aria-pressed") == "false"
    assert complaints(browser) == []


def test_a_change_of_meters_is_drawn(browser: webdriver.Chrome, site: Site, power: str) -> None:
    customer = power.split("/")[-2]
    rows = minutes(3.0, 30)
    changed = (rows[0].time + rows[-1].time) // 2
    # From then on the utility has a meter, and the load is computed.
    site.upload("7", [row for row in rows if row.time >= changed])
    site.api("POST", f"customers/{customer}/meters", {"effective_from": changed, "facility": "7", "load": ""})
    browser.get(f"{power}?range=hour")
    until_reloaded(browser, lambda: "Utility (partly computed): mean 3.00 kW" in text(browser, "#chart-summary"))
    # From then on the computed series is the load's, not the utility's.
    until_reloaded(browser, lambda: "Load (partly computed): mean 4.00 kW" in text(browser, "#chart-summary"))
    assert "meters changed " in text(browser, "#chart-summary")
    assert "Upright line: meters were changed." in text(browser, "#chart-note")
    until(browser, lambda: browser.execute_script(PAINTED) == ["utility", "load", "solar"])
    chart = browser.find_element(By.ID, "chart")
    chart.send_keys(Keys.SHIFT, Keys.ARROW_LEFT)
    until(browser, lambda: "Utility 3.00 kW" in text(browser, "#chart-summary"))
    press(browser, "Show the values as a table")
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#values tbody .tag"))
    assert "Utility (computed)" not in text(browser, "#values thead")
    assert [each for each in complaints(browser) if "willReadFrequently" not in each] == []


def test_a_range_of_ones_own_is_in_the_sites_zone(browser: webdriver.Chrome, site: Site, power: str) -> None:
    customer = power.split("/")[-2]
    site.api("PATCH", f"customers/{customer}", {"time_zone": "Asia/Kolkata"})
    browser.get(f"{power}?from=2026-11-01T00:00&to=2026-11-02T00:00")
    until(browser, lambda: "No readings" in text(browser, "#chart-summary"))
    assert "Times in Asia/Kolkata" in text(browser, "main")
    link = browser.find_element(By.ID, "csv").get_attribute("href")
    assert parse_qs(urlsplit(link).query)["start"] == ["1793471400"]
    assert browser.find_element(By.ID, "from").get_attribute("value") == "2026-11-01T00:00"
    assert complaints(browser) == []
    browser.get(f"{power}?from=2026-11-02T00:00&to=2026-11-01T00:00")
    assert "later than the beginning" in text(browser, "#to-error")


def test_quantity_and_hidden_curves_are_reported_and_fingers_move_the_range(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(load="1", solar="2")
    site.upload("1", minutes(4.0, 90))
    site.upload("2", minutes(1.0, 90))
    sign_in(browser, daemon, operator_token)
    set_size(browser, PHONE)
    power = f"{daemon.url}/customers/{customer}/power"
    browser.get(f"{power}?range=hour")
    until(browser, lambda: "mean" in text(browser, "#chart-summary"))
    Select(browser.find_element(By.ID, "channel")).select_by_value("L1_V")
    until(browser, lambda: browser.current_url == f"{power}?range=hour&quantity=L1_V")
    browser.refresh()
    until(browser, lambda: "Load: mean 121" in text(browser, "#chart-summary"))
    browser.find_element(By.CSS_SELECTOR, "#legend [data-role=load]").click()
    until(browser, lambda: "Hidden: Load" in text(browser, "#chart-note"))

    def touch(kind: str, *places: int) -> None:
        box = browser.execute_script(
            "const b = document.getElementById('chart').getBoundingClientRect(); return [b.left, b.top]"
        )
        points = [{"x": box[0] + place, "y": box[1] + 80, "id": number} for number, place in enumerate(places)]
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    browser.execute_script("document.getElementById('chart').scrollIntoView({block: 'center'})")
    touch("touchStart", 100)
    touch("touchMove", 160)
    touch("touchMove", 200)
    touch("touchEnd")
    until(browser, lambda: "start=" in browser.current_url)
    start, end = shown(browser)
    assert 3590 <= end - start <= 3610
    assert end < time.time() - 600, "what came before is shown"
    touch("touchStart", 120, 180)
    touch("touchMove", 60, 240)
    touch("touchEnd")
    until(browser, lambda: shown(browser) != (start, end))
    assert 900 < shown(browser)[1] - shown(browser)[0] < 1500
    for name, path in (("Month", "month"), ("Year", "year")):
        link = browser.find_element(By.ID, "ranges").find_element(By.LINK_TEXT, name)
        assert (link.get_attribute("href") or "").endswith(f"/customers/{customer}/energy?view={path}")
    assert complaints(browser) == []


@pytest.mark.parametrize(
    ("ticks", "texts"),
    [
        ([0, 2.5, 5, 7.5, 10], ["0.0", "2.5", "5.0", "7.5", "10.0"]),
        ([-1000, 0, 1000], ["\u22121000", "0", "1000"]),
        ([119.75, 120, 120.25], ["119.75", "120.00", "120.25"]),
        ([0.1, 0.2, 0.30000000000000004], ["0.1", "0.2", "0.3"]),
    ],
)
def test_an_axis_has_the_digits_that_its_ticks_need(
    ticks: list[float], texts: list[str], browser: webdriver.Chrome, power: str
) -> None:
    script = """
        const [ticks, done] = arguments;
        const chart = new URL("./chart.js", document.querySelector("script[src*='power']").src);
        import(chart).then((module) => done(module.tickTexts(null, ticks)));
    """
    assert browser.execute_async_script(script, ticks) == texts


def test_a_late_answer_does_not_replace_what_came_after_it(browser: webdriver.Chrome, power: str) -> None:
    script = """
        const [done] = arguments;
        const lib = new URL("./lib.js", document.querySelector("script[src*='power']").src);
        import(lib).then(async ({ refresh }) => {
          const region = (text) => `<div data-live="probe">${text}</div>`;
          document.body.insertAdjacentHTML("beforeend", region("at first"));
          const fetch = window.fetch;
          const answers = [];
          window.fetch = () => new Promise((resolve) => answers.push(resolve));
          const asked = [refresh("/"), refresh("/")];
          window.fetch = fetch;
          answers[1](new Response(region("later")));
          await asked[1];
          answers[0](new Response(region("earlier")));
          await asked[0];
          done(document.querySelector("[data-live=probe]").textContent);
        });
    """
    assert browser.execute_async_script(script) == "later"
