"""What is seen first, for every state of a site: on its power page, its settings page, and in the list of sites.

With CENERGYD_SCREENSHOTS=/some/folder each is saved there as a picture.
"""

from __future__ import annotations

from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.browser.actions import sign_in, text, until
from tests.browser.chrome import DESKTOP, PHONE, axe, set_size, set_theme
from tests.browser.known_sites import States, called
from tests.browser.test_appearance import picture


def test_the_first_words_of_a_site_are_its_state(browser: webdriver.Chrome, known_sites: States) -> None:
    daemon, token, sites = known_sites
    sign_in(browser, daemon, token)
    faults: list[str] = []
    for name, (customer, words, _) in sites.items():
        browser.get(f"{daemon.url}/customers/{customer}/power")
        for size in (DESKTOP, PHONE):
            set_size(browser, size)
            first = browser.find_element(By.CSS_SELECTOR, "main .state strong")
            assert first.text == words, name
            height = browser.execute_script("return arguments[0].getBoundingClientRect().top", first)
            assert height < 250, f"{name}: what is wrong is at the top of {size}"
            assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0], name
            for theme in ("light", "dark"):
                set_theme(browser, theme)
                picture(browser, f"state-{name}-{theme}-{size[0]}")
                if size == DESKTOP:  # test_pages looks at the power page of a phone; a state has the same colours there
                    faults += axe(browser, colours_only=theme == "dark")
            set_theme(browser, "light")
        set_size(browser, DESKTOP)
    assert faults == []


def test_the_list_of_sites_shows_problems_first_and_has_a_link_for_each_state(
    browser: webdriver.Chrome, known_sites: States
) -> None:
    daemon, token, sites = known_sites
    sign_in(browser, daemon, token)
    browser.get(f"{daemon.url}/overview?search=State")
    rows = browser.find_elements(By.CSS_SELECTOR, ".sites tbody tr")
    shown = {row.find_element(By.TAG_NAME, "a").text: row.find_element(By.CSS_SELECTOR, ".badge").text for row in rows}
    for name, (_, _, badge) in sites.items():
        assert shown[called(name)] == badge
    order = list(shown)
    assert order.index("State: meter stopped") < order.index("State: waiting") < order.index("State: good")
    picture(browser, "overview-states")
    browser.find_element(By.PARTIAL_LINK_TEXT, "Meter stopped").click()
    until(browser, lambda: "state=meter_stopped" in browser.current_url)
    assert [row.text for row in browser.find_elements(By.CSS_SELECTOR, ".sites tbody th a")] == ["State: meter stopped"]
    browser.find_element(By.PARTIAL_LINK_TEXT, "Last upload").click()
    until(browser, lambda: "sort=last_upload" in browser.current_url)
    assert text(browser, "#customers .badge") == "Solar meter stopped"
