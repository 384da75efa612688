"""Correcting readings by dragging over them in the power view."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from tests.browser.actions import Site, minutes, press, sign_in, text, until, until_reloaded
from tests.browser.chrome import complaints
from tests.browser.test_appearance import look
from tests.daemon_process import RunningDaemon

IN_GAP = """
const canvas = document.querySelector('#chart canvas'), over = document.querySelector('#chart .u-over');
const ratio = canvas.width / canvas.clientWidth;
const style = getComputedStyle(document.documentElement);
// Three eighths of the way: the middle of what was dragged over.
const x = Math.round((over.offsetLeft + over.clientWidth * 3 / 8) * ratio);
const pixels = canvas.getContext('2d').getImageData(x - 20, 0, 40, canvas.height).data;
return ['utility', 'load', 'solar'].filter((role) => {
  const wanted = style.getPropertyValue('--' + role).trim().match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
  for (let i = 0; i < pixels.length; i += 4) {
    if (pixels[i + 3] > 200 && wanted.every((part, c) => Math.abs(pixels[i + c] - part) < 24)) return true;
  }
  return false;
});
"""
"""The roles whose colour is on the canvas in the middle of the void range."""


def test_select_void_and_undo(browser: webdriver.Chrome, daemon: RunningDaemon, site: Site) -> None:
    customer = site.register(load="1", solar="2")
    site.upload("1", minutes(4.0, 60))
    site.upload("2", minutes(1.0, 60))
    sign_in(browser, daemon, site.token(customer))
    power = f"{daemon.url}/customers/{customer}/power?range=hour"
    browser.get(power)
    until_reloaded(browser, lambda: "Utility (computed): mean 3.00 kW" in text(browser, "#chart-summary"))
    assert browser.find_elements(By.ID, "other") == []
    press(browser, "Select wrong readings")
    until(browser, lambda: text(browser, "#chart-summary") == "Drag over the readings that are wrong.")
    area = browser.find_element(By.CSS_SELECTOR, "#chart .u-over")
    width = area.size["width"]
    ActionChains(browser).move_to_element_with_offset(area, -width // 4, 0).click_and_hold().move_by_offset(
        width // 4, 0
    ).release().perform()
    until(browser, lambda: "/corrections?" in browser.current_url)
    query = parse_qs(urlsplit(browser.current_url).query)
    length = int(query["end"][0]) - int(query["start"][0])
    assert 800 < length < 1000
    meter = Select(browser.find_element(By.ID, "meter"))
    assert [option.text for option in meter.options] == ["1 (Load)", "2 (Solar)"]
    browser.find_element(By.ID, "reason").send_keys("phase 2 was off")
    press(browser, "Correct")
    until(browser, lambda: "phase 2 was off" in text(browser, "#corrections"))
    assert "customer: its owner" in text(browser, "#corrections")
    faults = look(browser, "corrections-light")

    browser.get(power)
    until_reloaded(browser, lambda: "Utility (computed): mean 3.00 kW, 1 gap" in text(browser, "#chart-summary"))
    assert "Strip at the top: readings were corrected." in text(browser, "#chart-note")
    assert browser.execute_script(IN_GAP) == ["solar"]
    faults += look(browser, "corrected-light")
    press(browser, "As measured")
    until(browser, lambda: "Load: mean 4.00 kW;" in text(browser, "#chart-summary"))
    assert "as they were measured" in text(browser, "main")
    assert "original=1" in (browser.find_element(By.ID, "csv").get_attribute("href") or "")
    browser.find_element(By.CSS_SELECTOR, "[data-range=day]").click()
    until(browser, lambda: browser.current_url.endswith("?range=day&original=1"))
    press(browser, "As corrected")
    until(browser, lambda: browser.current_url.endswith("?range=day"))

    press(browser, "Corrections…")
    until(browser, lambda: browser.find_elements(By.ID, "corrections"))
    browser.find_element(By.CSS_SELECTOR, "#corrections button").click()
    until(browser, lambda: "Undone by customer: its owner" in text(browser, "#corrections"))
    browser.get(power)

    def whole() -> bool:
        reported = text(browser, "#chart-summary")
        return "Utility (computed): mean 3.00 kW;" in reported and "gap" not in reported

    until_reloaded(browser, whole)
    assert [fault for fault in faults if "willReadFrequently" not in fault] == []
    # A message about reading the canvas is caused by this test.
    assert [each for each in complaints(browser) if "willReadFrequently" not in each] == []
