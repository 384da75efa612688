"""Headless Chromium for these tests: themes, phone width, JavaScript off, reading the console."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.webelement import WebElement

from tests.browser.slow import SLOW, slow_down
from tests.parent_death import ending_with_tests

PHONE = (360, 812)
DESKTOP = (1280, 900)
_ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--force-device-scale-factor=1",
    "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    # One process for all pages, and none in advance for the next one: a tenth of the CPU time.
    "--renderer-process-limit=1", "--disable-site-isolation-trials",
    "--disable-features=SpareRendererForSitePerProcess,BackForwardCache",
)  # fmt: skip

_FIND_AGAIN_SECONDS = 60


class LastingElement(WebElement):
    """An element that is found again, in the way it was found, once the page's script has replaced it.

    The pages write tables and texts anew when new readings come: between finding an element and reading it that can happen at any time.
    """

    find_again: Callable[[], WebElement] | None = None

    def _execute(self, command: str, params: dict[str, Any] | None = None) -> Any:
        give_up = time.monotonic() + _FIND_AGAIN_SECONDS
        while True:
            try:
                return super()._execute(command, dict(params or {}))
            except StaleElementReferenceException:
                if self.find_again is None or time.monotonic() > give_up:
                    raise
                try:
                    self._id = self.find_again().id
                except (NoSuchElementException, IndexError):
                    time.sleep(0.05)

    def find_element(self, by: Any = By.ID, value: str | None = None) -> WebElement:
        found = super().find_element(by, value)
        return _lasting(found, lambda: super(LastingElement, self).find_element(by, value))

    def find_elements(self, by: Any = By.ID, value: str | None = None) -> list[WebElement]:
        found = super().find_elements(by, value)
        return _all_lasting(found, lambda: super(LastingElement, self).find_elements(by, value))


class Chrome(webdriver.Chrome):
    """Chrome whose elements are :class:`LastingElement`."""

    _web_element_cls = LastingElement

    def execute(self, driver_command: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = super().execute(driver_command, params)
        if SLOW and driver_command == Command.SWITCH_TO_WINDOW:
            slow_down(self)
        return answer

    def find_element(self, by: Any = By.ID, value: str | None = None) -> WebElement:
        found = super().find_element(by, value)
        return _lasting(found, lambda: super(Chrome, self).find_element(by, value))

    def find_elements(self, by: Any = By.ID, value: str | None = None) -> list[WebElement]:
        found = super().find_elements(by, value)
        return _all_lasting(found, lambda: super(Chrome, self).find_elements(by, value))


def _lasting(element: WebElement, find_again: Callable[[], WebElement]) -> WebElement:
    assert isinstance(element, LastingElement)
    element.find_again = find_again
    return element


def _all_lasting(elements: list[WebElement], find_all: Callable[[], list[WebElement]]) -> list[WebElement]:
    return [_lasting(element, lambda number=number: find_all()[number]) for number, element in enumerate(elements)]  # type: ignore[misc]


class Driver(Service):
    """Chromedriver, which ends with the tests, as Chromium ends with it."""

    def __init__(self, profile: Path) -> None:
        self._program, *self._words = ending_with_tests(["/usr/bin/chromedriver"])
        super().__init__(self._program, env=_environment(profile))

    def command_line_args(self) -> list[str]:
        return [*self._words, *super().command_line_args()]


def open_chrome(profile: Path, *, javascript: bool = True) -> webdriver.Chrome:
    """A new browser with an empty profile; it can reach only this machine."""
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not javascript:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    browser = Chrome(options, Driver(profile))
    browser.set_page_load_timeout(110)
    set_size(browser, DESKTOP)
    if SLOW:
        slow_down(browser)
    return browser


def _environment(profile: Path) -> dict[str, str]:
    # Chromium keeps crash reports, and its wrapper settings, beside the profile otherwise: in the home of whoever runs the tests.
    own = {name: str(profile / name.lower()) for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    return {**os.environ, **own}


def set_size(browser: webdriver.Chrome, size: tuple[int, int]) -> None:
    """The viewport, exactly; a window cannot be as narrow as a phone."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def set_theme(browser: webdriver.Chrome, theme: str) -> None:
    """``light`` or ``dark``, as the reader's system prefers."""
    feature = {"name": "prefers-color-scheme", "value": theme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def complaints(browser: webdriver.Chrome) -> list[str]:
    """Unwanted console messages since the last call: errors, warnings, policy violations."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def axe(browser: webdriver.Chrome, *, colours_only: bool = False) -> list[str]:
    """Serious and critical faults of accessibility on the page as it is; with ``colours_only`` those that another theme can have."""
    # Evaluated through the debugger, which the page's own policy does not bind.
    there = browser.execute_cdp_cmd("Runtime.evaluate", {"expression": "typeof axe"})["result"]["value"]
    if there == "undefined":  # half a megabyte, once for each document
        source = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
        browser.execute_cdp_cmd("Runtime.evaluate", {"expression": source})
    options = {"resultTypes": ["violations"]} | (
        {"runOnly": ["color-contrast", "link-in-text-block"]} if colours_only else {}
    )
    expression = f"axe.run(document, {json.dumps(options)}).then((found) => JSON.stringify(found.violations))"
    answer = browser.execute_cdp_cmd("Runtime.evaluate", {"expression": expression, "awaitPromise": True})
    violations: list[dict[str, Any]] = json.loads(answer["result"]["value"])
    return [
        f"{fault['impact']} {fault['id']}: {node['target']} {node.get('failureSummary', '')}"
        for fault in violations
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
