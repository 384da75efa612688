"""What people and their logger do in these tests."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.cookies import Morsel, SimpleCookie
from typing import Any

import attrs
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from cenergyd.acquisuite import encode
from cenergyd.readings.model import Reading
from tests.daemon_process import RunningDaemon, raw_post
from tests.e2e.device import PASSWORD, acknowledged, upload

PATIENCE = 120


@attrs.frozen
class Site:
    """A customer's site with its logger."""

    daemon: RunningDaemon
    operator_token: str
    serial: str

    def register(self, **settings: str) -> str:
        """Add the customer; the id."""
        given = {
            "name": f"Site {self.serial}",
            "logger_serial_number": self.serial,
            "logger_password": PASSWORD,
            **settings,
        }
        return str(self.api("POST", "customers", given)["id"])

    def token(self, customer: str) -> str:
        """A token for this customer."""
        return str(
            self.api("POST", "tokens", {"role": "customer", "customer_id": customer, "name": "its owner"})["token"]
        )

    def neighbour(self) -> Site:
        """Another site."""
        return Site(self.daemon, self.operator_token, self.serial.replace("BB", "CC"))

    def api(self, method: str, path: str, body: Any) -> Any:
        """Ask the API as an operator."""
        link = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=60)
        headers = {
            "Authorization": f"Bearer {self.operator_token}",
            "Content-Type": "application/json",
            "If-Match": "*",
        }
        link.request(method, f"/api/v1/{path}", json.dumps(body), headers)
        reply = link.getresponse()
        content = reply.read()
        link.close()
        assert reply.status in (200, 201), content
        return json.loads(content)

    def upload(self, meter: str, readings: Sequence[Reading], **fields: str) -> None:
        """The logger uploads a meter's log and may delete it."""
        assert acknowledged(upload(self.daemon, self.serial, meter, readings, **fields))

    def report_status(self, **fields: str) -> None:
        """The logger's STATUS message."""
        form = {"MODE": "STATUS", "SERIALNUMBER": self.serial, "PASSWORD": PASSWORD, **fields}
        assert acknowledged(raw_post(self.daemon.port, "/consume", *encode.multipart_form(form)))


_minute = 0


def begin_minute() -> None:
    """The minute now is the last of all :func:`minutes` until the next call: two meters' readings would not meet where a minute begins between."""
    global _minute  # noqa: PLW0603 - a test has one clock
    _minute = int(time.time()) // 60 * 60


def minutes(power: float, count: int, *, ago: int = 0, skip: range = range(0)) -> list[Reading]:
    """Readings of the last ``count`` minutes, oldest first, ending ``ago`` minutes back; ``skip`` are minutes back without one."""
    last = _minute - ago * 60
    return [
        Reading(last - 60 * back, P=power, L1_PF=0.97, L1_V=121.0)
        for back in reversed(range(count))
        if back not in skip
    ]


def open_session(daemon: RunningDaemon, token: str) -> Morsel[str]:
    """Open a session with a token; its cookie."""
    link = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    link.request("POST", "/api/v1/session", json.dumps({"token": token}), {"Content-Type": "application/json"})
    reply = link.getresponse()
    content = reply.read()
    link.close()
    assert reply.status in (200, 201), content
    (cookie,) = SimpleCookie(reply.getheader("Set-Cookie", "")).values()
    return cookie


def sign_in(browser: webdriver.Chrome, daemon: RunningDaemon, token: str) -> None:
    """Give the browser a session; no page is opened. The sign-in page, which takes half a second of CPU time, has tests of its own."""
    cookie = open_session(daemon, token)
    kept = {"name": cookie.key, "value": cookie.value, "url": daemon.url, "path": cookie["path"]}
    kept |= {"httpOnly": bool(cookie["httponly"]), "sameSite": cookie["samesite"].capitalize()}
    assert browser.execute_cdp_cmd("Network.setCookie", kept)["success"]


def paste_token(browser: webdriver.Chrome, daemon: RunningDaemon, token: str) -> None:
    """Sign in on the sign-in page; wait for the page that follows."""
    browser.get(f"{daemon.url}/")
    browser.find_element(By.ID, "token").send_keys(token)
    press(browser, "Sign in")
    until(browser, lambda: "/sign-in" not in browser.current_url)


def sign_out(browser: webdriver.Chrome) -> None:
    """Press "Sign out"; wait for the page that follows, as the session lives until the daemon has the request."""
    with new_page(browser):
        browser.find_element(By.XPATH, "//button[normalize-space()='Sign out']").click()
    until(browser, lambda: "You have signed out" in text(browser, "main"))


def until(browser: webdriver.Chrome, condition: Callable[[], Any], message: str = "") -> Any:
    """Wait for a condition; elements that the page replaces meanwhile are ignored."""
    end, pause = time.monotonic() + PATIENCE, 0.02
    error: WebDriverException | None = None
    while True:
        try:
            if found := condition():
                return found
        except WebDriverException as failed:
            error = failed
        if time.monotonic() > end:
            raise AssertionError(f"{message} did not come to be in {PATIENCE} s ({error}) on {_shown(browser)}")
        time.sleep(pause)
        pause = min(2 * pause, 0.3)  # each question takes CPU time of three processes


def until_reloaded(browser: webdriver.Chrome, condition: Callable[[], Any], message: str = "") -> None:
    """Load the page again until a condition is true of it; each time its curves are drawn first, as a page that is left at once shows none."""

    def is_so() -> bool:
        until(browser, lambda: drawn(browser), "the curves")
        if condition():
            return True
        browser.refresh()
        return False

    until(browser, is_so, message)


def drawn(browser: webdriver.Chrome) -> bool:
    """Whether no curves are being loaded."""
    return not browser.find_elements(By.CSS_SELECTOR, "#chart[aria-busy]")


def _shown(browser: webdriver.Chrome) -> str:
    """The address and the beginning of what is seen, for a failure."""
    return f"{browser.current_url}: {browser.find_element(By.TAG_NAME, 'body').text[:500]!r}"


def press(browser: webdriver.Chrome, text: str) -> None:
    """Press the button, or follow the link, with this text."""
    path = f"//main//*[self::button or self::a][normalize-space()='{text}'][not(@aria-hidden)]"
    until(browser, lambda: browser.find_element(By.XPATH, path), text).click()


@contextlib.contextmanager
def new_page(browser: webdriver.Chrome) -> Iterator[None]:
    """What is pressed in here leads to another document: wait until that one has come.

    A click may return before Chromium has begun to leave the page.
    """
    before = _document(browser)
    yield
    until(browser, lambda: _document(browser) != before)


def _document(browser: webdriver.Chrome) -> str:
    return str(browser.execute_cdp_cmd("Page.getFrameTree", {})["frameTree"]["frame"]["loaderId"])


def fill(browser: webdriver.Chrome, **values: str) -> None:
    """Type into fields by name."""
    for name, value in values.items():
        field = (By.CSS_SELECTOR, f"form.settings [name='{name}']")
        enter(until(browser, functools.partial(browser.find_element, *field)), value)


def put_fields(browser: webdriver.Chrome, values: Mapping[str, str]) -> None:
    """Set fields by name, whether they are in sight or folded away."""
    for name, value in values.items():
        field = browser.find_element(By.NAME, name)
        browser.execute_script("arguments[0].value = arguments[1]", field, value)


def enter(field: WebElement, value: str) -> None:
    """Type into a field, or choose from it."""
    if field.tag_name == "select":
        Select(field).select_by_visible_text(value)
    else:
        field.clear()
        field.send_keys(value)


def value(browser: webdriver.Chrome, name: str) -> str:
    """What a field holds."""
    return browser.find_element(By.CSS_SELECTOR, f"form.settings [name='{name}']").get_attribute("value") or ""


def text(browser: webdriver.Chrome, selector: str) -> str:
    """The visible text of an element."""
    return browser.find_element(By.CSS_SELECTOR, selector).text


def tile(browser: webdriver.Chrome, role: str) -> WebElement:
    """A role's tile of the power view."""
    return browser.find_element(By.CSS_SELECTOR, f".tile[data-role='{role}']")
