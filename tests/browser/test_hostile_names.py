"""Names that a device or a person sends are text wherever they are shown, and nothing else."""

from __future__ import annotations

from selenium import webdriver
from selenium.webdriver.common.by import By

from cenergyd.acquisuite import encode
from tests.browser.actions import Site, minutes, sign_in, text, until
from tests.browser.chrome import complaints
from tests.daemon_process import RunningDaemon, raw_post

PROBES = (
    "<script>window.pwned = 1</script>",
    '"><img src=x onerror="window.pwned = 2">',
    "' onmouseover='window.pwned = 3' x='",
    "<svg/onload=window.pwned=4>",
    "{{ 7*7 }}${7*7}<b>",
    "javascript:window.pwned=5",
    "</textarea></option></datalist><iframe srcdoc='<script>parent.pwned=6</script>'>",
)


def probe(index: int) -> str:
    return f"{PROBES[index % len(PROBES)]}{index}"


def test_probes_do_nothing(browser: webdriver.Chrome, daemon: RunningDaemon, operator_token: str, site: Site) -> None:
    customer = site.register(load="1", solar="2")
    for meter in range(1, len(PROBES) + 1):
        fields = {"LOOPNAME": probe(meter + 1), "MODBUSDEVICENAME": probe(meter), "MODBUSDEVICETYPE": probe(meter + 2)}
        site.upload(str(meter), minutes(1.5, 5), **fields)
    status = (
        "UPTIME",
        "ACQUISUITEVERSION",
        "USRVERSION",
        "ROOTVERSION",
        "KERNELVERSION",
        "FIRMWAREVERSION",
        "LOOPNAME",
    )
    site.report_status(**{name: probe(index) for index, name in enumerate(status)})
    refused = {"MODE": "STATUS", "SERIALNUMBER": PROBES[1], "PASSWORD": "x", "LOOPNAME": PROBES[0]}
    raw_post(daemon.port, "/consume", *encode.multipart_form(refused))
    sign_in(browser, daemon, operator_token)
    settings = f"{daemon.url}/customers/{customer}/settings"
    # Activity is written a moment later.
    until(browser, lambda: browser.get(settings) or (shows_meters(browser) and probe(5) in text(browser, "#device")))
    for name in PROBES:
        site.api("PATCH", f"customers/{customer}", {"name": name})
        for path in ("settings", "power?table=1", "remove"):
            check(browser, f"{daemon.url}/customers/{customer}/{path}", name)
    check(browser, f"{daemon.url}/overview", PROBES[-1])
    check(browser, f"{daemon.url}/rejected")
    check(
        browser,
        f"{daemon.url}/overview?search=%3Cscript%3Ewindow.pwned=7%3C/script%3E",
        "<script>window.pwned=7</script>",
    )
    check(browser, f"{daemon.url}/customers/new?serial=%22%3E%3Cimg%20src=x%20onerror=window.pwned=8%3E")
    check(browser, settings)


def shows_meters(browser: webdriver.Chrome) -> bool:
    """Whether the names and types of all meters are on the page."""
    shown = text(browser, "#meters")
    return all(probe(meter) in shown and probe(meter + 2) in shown for meter in range(1, len(PROBES) + 1))


def check(browser: webdriver.Chrome, address: str, shown: str = "") -> None:
    """A page shows a text as text: no probe ran, created an element, or was blocked only by the policy."""
    browser.get(address)
    assert shown in text(browser, "body") or shown in browser.page_source.replace("&lt;", "<").replace("&gt;", ">")
    browser.execute_script(
        "for (const node of document.querySelectorAll('main *')) node.dispatchEvent(new Event('mouseover'))"
    )
    assert browser.execute_script("return window.pwned") is None
    assert browser.find_elements(By.CSS_SELECTOR, "img, iframe, main script, [onerror], [onload], [onmouseover]") == []
    assert browser.find_elements(By.CSS_SELECTOR, "a[href^='javascript']") == []
    assert complaints(browser) == []
