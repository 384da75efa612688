"""Signing in and out, and who sees what."""

from __future__ import annotations

import re

from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.browser.actions import Site, enter, fill, paste_token, press, sign_out, text, until
from tests.browser.chrome import complaints
from tests.browser.test_appearance import look
from tests.daemon_process import RunningDaemon


def refused(complaint: str) -> bool:
    """The console's note about an answer that these tests want."""
    return "the server responded with a status of 4" in complaint


def test_the_printed_token_is_valid_once(browser: webdriver.Chrome, daemon: RunningDaemon) -> None:
    found = re.search(r"One-time sign-in token: (\S+)", daemon.log())
    assert found
    paste_token(browser, daemon, found[1])
    if "/access" in browser.current_url:  # no other test has made a permanent token yet
        assert "is used up" in text(browser, "#first")
        assert look(browser, "first-start") == []
    assert complaints(browser) == []
    sign_out(browser)
    browser.find_element(By.ID, "token").send_keys(found[1])
    press(browser, "Sign in")
    error = until(browser, lambda: browser.find_element(By.ID, "token-error"))
    assert "wrong, expired or revoked" in error.text
    assert browser.find_element(By.ID, "token").get_attribute("aria-invalid") == "true"


def test_the_requested_page_comes_after_signing_in(
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
    paste_token(browser, daemon, site.token(own))
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


def test_an_operator_creates_and_revokes_a_token(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    own = site.register(load="1", solar="2")
    paste_token(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{own}/power")
    browser.find_element(By.CSS_SELECTOR, ".tabs").find_element(By.LINK_TEXT, "Access").click()
    until(browser, lambda: "Nobody can sign in as this customer yet." in text(browser, "main"))
    enter(browser.find_element(By.ID, "name"), "Roof owner")
    press(browser, "Create the token")
    secret = until(browser, lambda: text(browser, ".secret"))
    assert look(browser, "token-made") == []
    browser.delete_all_cookies()
    paste_token(browser, daemon, secret)
    assert browser.current_url == f"{daemon.url}/customers/{own}/power"
    assert browser.find_elements(By.LINK_TEXT, "Access") == []
    theirs = browser.get_cookies()
    browser.delete_all_cookies()
    paste_token(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{own}/access")
    browser.find_element(By.TAG_NAME, "summary").click()
    assert look(browser, "token-revoke") == []
    press(browser, "Revoke Roof owner")
    until(browser, lambda: "Revoked. Anyone signed in with it is signed out." in text(browser, "main"))
    browser.delete_all_cookies()
    for cookie in theirs:
        browser.add_cookie(cookie)
    browser.get(f"{daemon.url}/customers/{own}/power")
    assert "/sign-in" in browser.current_url


def test_what_was_typed_outlives_the_session(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(load="1", solar="2")
    paste_token(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{customer}/settings")
    browser.delete_all_cookies()
    fill(browser, name="Typed for an hour")
    press(browser, "Save")
    until(browser, lambda: "What you typed is kept" in text(browser, "main"))
    assert look(browser, "sign-in-kept") == []
    browser.find_element(By.ID, "token").send_keys("cenergyd_wrong")
    press(browser, "Sign in")
    until(browser, lambda: browser.find_element(By.ID, "token-error"))
    browser.find_element(By.ID, "token").send_keys(operator_token)
    press(browser, "Sign in")
    until(browser, lambda: "You are signed in again" in text(browser, "main"))
    assert look(browser, "resume") == []
    press(browser, "Save it")
    until(browser, lambda: "Saved." in text(browser, "main"))
    assert browser.find_element(By.ID, "name").get_attribute("value") == "Typed for an hour"
    complaints(browser)


def test_a_form_of_an_older_session_is_offered_again(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(load="1", solar="2")
    paste_token(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{customer}/settings")
    old = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(daemon.url)
    sign_out(browser)
    paste_token(browser, daemon, operator_token)
    browser.switch_to.window(old)
    fill(browser, name="From the older tab")
    press(browser, "Save")
    until(browser, lambda: "You are signed in again" in text(browser, "main"))
    press(browser, "Save it")
    until(browser, lambda: "Saved." in text(browser, "main"))


def test_a_session_that_ends_leaves_the_page_and_says_so(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site
) -> None:
    customer = site.register(load="1", solar="2")
    paste_token(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/customers/{customer}/alerts")
    field = browser.find_element(By.ID, "net_load.threshold_kw")
    browser.execute_script("arguments[0].value = '77'", field)
    browser.delete_all_cookies()
    until(browser, lambda: browser.find_element(By.ID, "gone").is_displayed())
    assert field.get_attribute("value") == "77"
    browser.find_element(By.CSS_SELECTOR, "#gone a").click()
    until(browser, lambda: "Your session has ended" in text(browser, "main"))
    browser.find_element(By.ID, "token").send_keys(operator_token)
    press(browser, "Sign in")
    until(browser, lambda: browser.current_url == f"{daemon.url}/customers/{customer}/alerts")


def test_a_lost_connection_is_reported_and_its_return_too(
    browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str
) -> None:
    paste_token(browser, daemon, operator_token)
    browser.get(f"{daemon.url}/overview")
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    until(browser, lambda: "Connection lost" in text(browser, "#lost"))
    online = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", online)
    until(browser, lambda: not browser.find_element(By.ID, "lost").is_displayed())
    complaints(browser)
