"""Everything that changes something, and the values, work without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.actions import Site, fill, minutes, new_page, paste_token, press, sign_out, text, tile, until, value
from tests.browser.chrome import open_chrome
from tests.daemon_process import RunningDaemon
from tests.e2e.device import PASSWORD


@pytest.fixture
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser that runs no page's scripts."""
    browser = open_chrome(tmp_path_factory.mktemp("plain"), javascript=False)
    yield browser
    browser.quit()


def test_without_javascript(plain: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site) -> None:
    paste_token(plain, daemon, operator_token)
    assert plain.find_elements(By.CSS_SELECTOR, "html.js") == []
    press(plain, "Add a customer")
    fill(plain, name="Plain", logger_serial_number=f"{site.serial}!", logger_password=PASSWORD, load="1")
    press(plain, "Add the customer")
    until(plain, lambda: "Choose the site's time zone" in text(plain, "#time_zone-error"))
    fill(plain, time_zone="America/Denver")
    press(plain, "Add the customer")
    until(plain, lambda: "letters A-Z and digits" in text(plain, "#logger_serial_number-error"))
    assert value(plain, "name") == "Plain"
    # What was typed stays, also the password.
    fill(plain, logger_serial_number=site.serial)
    press(plain, "Add the customer")
    until(plain, lambda: "The customer was added" in text(plain, "main"))
    site.upload("1", minutes(3.0, 90))
    site.upload("7", minutes(2.0, 90))

    def seen() -> bool:
        plain.refresh()
        return "Meter 7" in text(plain, "#meters")

    until(plain, seen)
    # Choosing a meter sends the form and shows it again, filled in and not saved.
    plain.find_element(By.CSS_SELECTOR, "button[value='solar:7']").click()
    until(plain, lambda: value(plain, "solar") == "7")
    assert text(plain, "#computed-meter") == "Utility will be computed: load \u2212 solar."
    # Enter saves; it does not press the first meter's button.
    plain.find_element(By.CSS_SELECTOR, "form.settings [name=name]").send_keys(" site", Keys.ENTER)
    until(plain, lambda: "Saved." in text(plain, "main"))
    assert (value(plain, "name"), value(plain, "solar")) == ("Plain site", "7")

    with new_page(plain):
        plain.find_element(By.LINK_TEXT, "Power").click()
    until(plain, lambda: plain.refresh() or "1.00" in tile(plain, "utility").text)
    assert "need JavaScript" in text(plain, "noscript")
    plain.find_element(By.LINK_TEXT, "Hour").click()
    until(plain, lambda: plain.current_url.endswith("?range=hour"))
    press(plain, "Show the values as a table")
    until(plain, lambda: plain.find_element(By.CSS_SELECTOR, "#values tbody"))
    row = plain.find_elements(By.CSS_SELECTOR, "#values tbody tr")[1]
    assert [cell.text.split("\n")[0].removesuffix(" ≈") for cell in row.find_elements(By.TAG_NAME, "td")] == [
        "1.00",
        "3.00",
        "2.00",
    ]
    sign_out(plain)
