"""Signing in and out, and who sees what."""

from __future__ import annotations

import re

from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.browser.chrome import complaints
from tests.browser.people import Site, enter, press, sign_in, text, until
from tests.browser.test_looks import look
from tests.daemon_process import RunningDaemon


def refused(complaint: str) -> bool:
    """The console's note about an answer that these tests want."""
    return "the server responded with a status of 4" in complaint


def test_the_printed_token_is_good_once(browser: webdriver.Chrome, daemon: RunningDaemon) -> None:
    found = re.search(r"One-time sign-in token: (\S+)", daemon.log())
    assert found
    sign_in(browser, daemon, found[1])
    assert browser.current_url == f"{daemon.url}/overview"
    assert complaints(browser) == []
    browser.find_element(By.XPATH, "//button[normalize-space()='Sign out']").click()
    until(browser, lambda: "You have signed out" in text(browser, "main"))
    browser.find_element(By.ID, "token").send_keys(found[1])
    press(browser, "Sign in")
    error = until(browser, lambda: browser.find_element(By.ID, "token-error"))
    assert "wrong, expired or revoked" in error.text
    assert browser.find_element(By.ID, "token").get_attribute("aria-invalid") == "true"


def test_a_page_asked_for_comes_after_signing_in(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str
) -> None:
    browser.get(f"{daemon.url}/rejected")
    assert "/sign-in?next=%2Frejected" in browser.current_url
    browser.find_element(By.ID, "token").send_keys(operator_token)
    press(browser, "Sign in")
    until(browser, lambda: browser.current_url == f"{daemon.url}/rejected")
    for elsewhere in ("//evil.example/", "https://evil.example/", "/\\evil.example"):
        browser.get(f"{daemon.url}/sign-in?next={elsewhere}")
        assert browser.current_url == f"{daemon.url}/overview"


def test_a_customer_sees_only_their_own(browser: webdriver.Chrome, daemon: RunningDaemon, site: Site) -> None:
    own = site.register(load="1", solar="2")
    neighbour = site.neighbour()
    other = neighbour.register(load="1", solar="2")
    sign_in(browser, daemon, site.token(own))
    assert browser.current_url == f"{daemon.url}/customers/{own}/power"
    assert "Customers" not in text(browser, "header.bar")
    assert complaints(browser) == []
    browser.get(f"{daemon.url}/customers/{own}/settings")
    assert browser.find_elements(By.LINK_TEXT, "Remove this customer…") == []
    for path, title in (
        (f"/customers/{other}/power", "Not found"),
        (f"/customers/{other}/settings", "Not found"),
        ("/nothing", "Not found"),
        ("/overview", "Not allowed"),
        ("/rejected", "Not allowed"),
        ("/access", "Not allowed"),
        ("/customers/new", "Not allowed"),
        (f"/customers/{own}/remove", "Not allowed"),
    ):
        browser.get(daemon.url + path)
        assert text(browser, "h1") == title, path
        assert neighbour.serial not in browser.page_source
        assert all(refused(complaint) for complaint in complaints(browser))


def test_an_operator_lets_somebody_in_and_out_again(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    own = site.register(load="1", solar="2")
    sign_in(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{own}/power")
    browser.find_element(By.CSS_SELECTOR, ".tabs").find_element(By.LINK_TEXT, "Access").click()
    assert "Nobody can sign in for this customer yet." in text(browser, "main")
    enter(browser.find_element(By.ID, "name"), "Roof owner")
    press(browser, "Make it")
    secret = until(browser, lambda: text(browser, ".secret"))
    assert look(browser, "token-made") == []
    browser.delete_all_cookies()
    sign_in(browser, daemon, secret)
    assert browser.current_url == f"{daemon.url}/customers/{own}/power"
    assert browser.find_elements(By.LINK_TEXT, "Access") == []
    theirs = browser.get_cookies()
    browser.delete_all_cookies()
    sign_in(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{own}/access")
    browser.find_element(By.TAG_NAME, "summary").click()
    assert look(browser, "token-revoke") == []
    press(browser, "Revoke Roof owner")
    until(browser, lambda: "Revoked: who has it is signed out." in text(browser, "main"))
    browser.delete_all_cookies()
    for cookie in theirs:
        browser.add_cookie(cookie)
    browser.get(f"{daemon.url}/customers/{own}/power")
    assert "/sign-in" in browser.current_url
