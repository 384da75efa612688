"""One daemon and one browser for the whole suite: starting either takes longer than most tests. Each test has customers of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from selenium import webdriver

from tests.browser.actions import Site, begin_minute
from tests.browser.chrome import DESKTOP, complaints, open_chrome, set_size, set_theme
from tests.browser.known_sites import known_sites  # noqa: F401 - a fixture
from tests.browser.rich_site import rich  # noqa: F401 - a fixture
from tests.daemon_process import RunningDaemon
from tests.e2e.device import wait_for

_serials = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here drives a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session", autouse=True)
def first_minute() -> None:
    """For the fixtures of the session."""
    begin_minute()


@pytest.fixture(autouse=True)
def minute() -> None:
    """For each test."""
    begin_minute()


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon on embedded stores with short intervals for activity and live views."""
    settings = {
        "cenergyd.ingest.activity.INTERVAL_SECONDS": "0.2",
        "cenergyd.ingest.activity.REPEAT_SECONDS": "0",
        "cenergyd.ingest.activity.FORGET_SECONDS": "0.5",
        "cenergyd.web.api.live.POLL_SECONDS": "0.3",
        "cenergyd.web.access.auth.MAX_WRONG_TOKENS": "1000",
    }
    running = RunningDaemon(tmp_path_factory.mktemp("daemon"), settings)
    running.start()
    # A moment after it is ready, and only as long as no operator has a token.
    wait_for(lambda: "One-time sign-in token" in running.log(), what="the first token")
    yield running
    running.stop()
    # No page or stream may have caused an error in the daemon.
    assert "Traceback" not in running.log()


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """The browser that tests share."""
    browser = open_chrome(tmp_path_factory.mktemp("chrome"))
    yield browser
    browser.quit()


@pytest.fixture
def browser(chrome: webdriver.Chrome, daemon: RunningDaemon) -> Iterator[webdriver.Chrome]:
    """The shared browser, signed out, one empty tab, desktop size, light; afterwards its console must be clean."""
    first = chrome.current_window_handle
    set_size(chrome, DESKTOP)
    set_theme(chrome, "light")
    complaints(chrome)
    yield chrome
    for extra in chrome.window_handles:
        if extra != first:
            chrome.switch_to.window(extra)
            chrome.close()
    chrome.switch_to.window(first)
    chrome.get("about:blank")
    chrome.execute_cdp_cmd("Network.clearBrowserCookies", {})


@pytest.fixture(scope="session")
def operator_token(daemon: RunningDaemon) -> str:
    """A permanent operator token, made with the command line."""
    done = daemon.run("token", "add", "--operator", "the operator")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def site(daemon: RunningDaemon, operator_token: str) -> Site:
    """A site whose serial number no other test uses; nothing is registered yet."""
    return Site(daemon, operator_token, f"001EC6BB{next(_serials):04X}")
