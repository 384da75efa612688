"""Slow pages, to find tests that act on a page that is about to go, or read what is still to come: ``CENERGYD_TEST_BROWSER=slow``."""

from __future__ import annotations

import os

from selenium import webdriver

SLOW = os.environ.get("CENERGYD_TEST_BROWSER") == "slow"
_LATENCY_MILLISECONDS = 400
_LATE = """
if (!window.isLate) {
  window.isLate = true;
  let again = false;
  const later = (event, act) => {
    if (again || !event.isTrusted || event.defaultPrevented) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    setTimeout(() => {
      again = true;
      act();
      again = false;
    }, 300);
  };
  addEventListener("submit", (event) => later(event, () => event.target.requestSubmit(event.submitter)), true);
  addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (link) later(event, () => link.click());
  }, true);
}
"""
"""A link or form that is pressed leads on only a moment later, as it sometimes does on a busy machine."""


def slow_down(browser: webdriver.Chrome) -> None:
    """Of the current tab: answers come late, and what is pressed leads on a moment later."""
    line = {"offline": False, "latency": _LATENCY_MILLISECONDS, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", line)
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _LATE})
