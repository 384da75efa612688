"""Every page in every state, as an operator and as an owner reads it: no raw values and no internal names.

The texts are those of the server, of the pages' scripts, of tooltips, labels and placeholders; code, file contents and what people have typed are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html.parser import HTMLParser
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from selenium import webdriver

from cenergyd.jobs.site_state.model import KINDS
from tests.browser.actions import Site, open_session, press, put_fields, sign_in, text, until
from tests.browser.known_sites import States
from tests.daemon_process import RunningDaemon

NOT_SAID: dict[str, re.Pattern[str]] = {
    "a raw time": re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d"),
    "a number with an exponent": re.compile(r"\b\d(?:\.\d+)?e[+-]?\d+\b"),
    "a value of a programming language": re.compile(
        r"\b(?:undefined|NaN|None|null|nan|inf|Infinity|True|False|\[object \w+\]|Invalid Date)\b"
    ),
    "a template": re.compile(r"\{\{|\}\}|\{%|%\}|\$\{"),
    "an internal name": re.compile(
        r"\b(?:[0-9A-F]{12}_\w+|missing_meter|[a-z]+_sum|net_load|silent_logger|stopped_meter|not_computed|solar_zero|meter_(?:stopped|error)|"
        r"logger_serial_number|time_zone|since_kind|utility_meter|last_upload|settings_incomplete|never_uploaded|"
        r"(?:energy|demand|schedules|seasons|holidays|billing|columns)\.\w+)\b"
    ),
    "a word of the program": re.compile(r"\b(?:traceback|exception|stack trace|boolean|payload|enum|kwargs|deserial\w+)\b", re.I),
    "what nobody would say": re.compile(
        r"Over below by|Over nearer by|The field:|There are no more tokens|over again|computed anew|is of before|it is no power meter|"
        r"Nobody is told|Drop (?:mine|it|yours)|Go on with it|can be told|Nothing to say|as people call it",
        re.I,
    ),
    "a plural in brackets": re.compile(r"\(s\)"),
    "a sentence without its end": re.compile(r"\.\.(?!\.)|,\.|: \.| \.(?= |$)"),
}  # fmt: skip

SHOWN = """
const page = document.cloneNode(true);
for (const each of page.querySelectorAll("script, style, code, pre, kbd, .code, .secret, .secret *, input[type=hidden], datalist")) each.remove();
const found = [page.title];
const walk = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) found.push(walk.currentNode.textContent);
for (const name of ["title", "placeholder", "aria-label", "alt", "data-label", "data-unit"])
  for (const each of page.querySelectorAll(`[${name}]`)) found.push(each.getAttribute(name));
return found;
"""


class Texts(HTMLParser):
    """The same texts of a page whose scripts did not run."""

    ATTRIBUTES = ("title", "placeholder", "aria-label", "alt", "data-label", "data-unit")
    LEFT_OUT = frozenset({"script", "style", "code", "pre", "kbd", "datalist"})
    LEFT_OUT_CLASSES = frozenset({"code", "secret"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = ("", 0)
        """The element that is left out, and how many of its name are open."""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name, depth = self._inside
        if depth:
            self._inside = name, depth + (tag == name)
            return
        given = dict(attrs)
        if tag in self.LEFT_OUT or self.LEFT_OUT_CLASSES & set((given.get("class") or "").split()):
            self._inside = (tag, 1) if tag != "input" else ("", 0)
        elif (tag, given.get("type")) != ("input", "hidden"):
            self.found += [given[each] or "" for each in self.ATTRIBUTES if each in given]

    def handle_endtag(self, tag: str) -> None:
        name, depth = self._inside
        if depth and tag == name:
            self._inside = name, depth - 1

    def handle_data(self, data: str) -> None:
        if not self._inside[1]:
            self.found.append(data)


def raw_values(texts: Iterable[str], where: str) -> Iterator[str]:
    """Raw values and internal names in a page's texts."""
    for each in filter(None, (" ".join(each.split()) for each in texts)):
        for what, pattern in NOT_SAID.items():
            if match := pattern.search(each):
                yield f"{where}: {what}: {match[0]!r} in {each[:160]!r}"


def said(browser: webdriver.Chrome, where: str) -> Iterator[str]:
    """Those of the page that is shown."""
    yield from raw_values(browser.execute_script(SHOWN), where)


def read_all(daemon: RunningDaemon, token: str | None, paths: list[str], *, may_fail: bool = False) -> list[str]:
    """The faults of pages as the server sends them; ``token``: whose session it is."""
    headers = {"Accept": "text/html"}
    if token is not None:
        headers["Cookie"] = open_session(daemon, token).OutputString([])
    faults: list[str] = []
    for path in paths:
        try:
            with urlopen(Request(daemon.url + path, headers=headers), timeout=60) as reply:
                html = reply.read().decode()
        except HTTPError as refused:
            assert may_fail, (path, refused)
            html = refused.read().decode()
        faults += raw_values(Texts(html).found, path)
    return faults


def report(faults: Sequence[str]) -> None:
    """Fail with every fault, each once."""
    once = {fault.partition(": ")[2]: fault for fault in faults}
    assert not once, "\n".join(once.values())


def of_customer(customer: str) -> list[str]:
    """The pages of a customer, for both roles."""
    one = f"/customers/{customer}"
    return [
        *(f"{one}/power{query}" for query in ("", "?range=hour&table=1", "?range=week&quantity=Q", "?from=&to=x")),
        *(f"{one}/energy{query}" for query in ("", "?view=week&compare=last_year", "?view=month", "?view=year", "?date=x")),
        f"{one}/settings", f"{one}/meters", f"{one}/alerts", f"{one}/tariff", f"{one}/charges",
        f"{one}/charges?basis=calendar", f"{one}/corrections", f"{one}/doctor", "/sessions",
        *(f"{one}/alerts?done={done}" for done in ("added", "confirmed", "removed", "test")),
    ]  # fmt: skip


def of_operator(customer: str, serial: str) -> list[str]:
    """The pages that operators have besides."""
    one = f"/customers/{customer}"
    return [
        "/overview", "/overview?search=nobody+has+this", "/overview?state=logger_silent&sort=last_upload", "/rejected",
        "/customers/new", f"/customers/new?serial={serial}", "/access", f"{one}/access", f"{one}/operator", f"{one}/remove",
        "/plugins", "/stores", f"/loggers/{serial}",
    ]  # fmt: skip


NOT_THERE = ["/nothing/here", "/customers/0/power", "/loggers/NOSUCH", "/static/nothing.css"]


def test_an_operator_reads_every_page(daemon: RunningDaemon, operator_token: str, rich: tuple[Site, str]) -> None:
    site, customer = rich
    faults = read_all(daemon, None, ["/sign-in"])
    config = f"/loggers/{site.serial}/config?name=loggerconfig.ini"
    paths = [*of_customer(customer), *of_operator(customer, site.serial), config, f"{config}&old=1&new=2"]
    mistaken = [path for path in paths if path.endswith(("to=x", "date=x"))]
    faults += read_all(daemon, operator_token, [path for path in paths if path not in mistaken])
    faults += read_all(daemon, operator_token, [*mistaken, *NOT_THERE], may_fail=True)
    report(faults)


def test_an_owner_reads_every_page(daemon: RunningDaemon, rich: tuple[Site, str]) -> None:
    site, customer = rich
    paths = [*of_customer(customer), *of_operator(customer, site.serial), *NOT_THERE]
    report(read_all(daemon, site.token(customer), paths, may_fail=True))


@pytest.mark.parametrize("quantity", ["P", "Q", "L1_V", "L1_PF"])
def test_what_the_curves_say(
    quantity: str,
    browser: webdriver.Chrome,
    daemon: RunningDaemon,
    operator_token: str,
    rich: tuple[Site, str],
) -> None:
    _, customer = rich
    sign_in(browser, daemon, operator_token)
    faults: list[str] = []
    for span in ("hour", "day"):
        browser.get(f"{daemon.url}/customers/{customer}/power?range={span}&quantity={quantity}")
        until(browser, lambda: text(browser, "#chart-summary"))
        faults += said(browser, f"{span} {quantity}")
    report(faults)


@pytest.mark.parametrize("role", ["operator", "owner"])
def test_every_state_of_a_site(role: str, browser: webdriver.Chrome, known_sites: States) -> None:
    daemon, token, sites = known_sites
    faults: list[str] = []
    reader = token
    for customer, _, _ in sites.values():
        if role == "owner":
            reader = Site(daemon, token, "").token(customer)
        sign_in(browser, daemon, reader)
        names = ("energy", "settings", "meters", "alerts", "charges", "doctor")
        faults += read_all(daemon, reader, [f"/customers/{customer}/{name}" for name in names])
        browser.get(f"{daemon.url}/customers/{customer}/power")
        until(browser, lambda: text(browser, "#chart-summary"))
        faults += said(browser, f"{role} {customer} power")
    if role == "operator":
        faults += read_all(daemon, token, ["/overview", *(f"/overview?state={kind}" for kind in KINDS)])
    report(faults)


def test_forms_with_mistakes(
    browser: webdriver.Chrome,
    daemon: RunningDaemon,
    operator_token: str,
    rich: tuple[Site, str],
) -> None:
    _, customer = rich
    sign_in(browser, daemon, operator_token)
    one = f"{daemon.url}/customers/{customer}"
    faults: list[str] = []
    forms = {
        f"{one}/settings": ({"load": "0x1", "logger_serial_number": "no serial!", "name": "", "latitude": "north"}, "Save"),
        f"{one}/alerts": ({"net_load.threshold_kw": "1e9", "voltage.percent": "much", "alert_frequency_in_minutes": "0"}, "Save"),
        f"{one}/tariff": ({"currency": "EURO", "fixed": "-1e9", "billing.day_of_month": "32"}, "Save"),
        f"{one}/corrections": ({"factor": "0", "seconds": "x", "reason": "", "from": ""}, "Correct"),
        f"{one}/meters": ({"facility": "999", "solar": "2+2", "since": ""}, "Change"),
        f"{one}/access": ({"name": "", "last_day": ""}, "Create the token"),
        f"{daemon.url}/customers/new": ({"name": "", "logger_serial_number": "!", "facility": "0"}, "Add the customer"),
    }  # fmt: skip
    for url, (fields, button) in forms.items():
        browser.get(url)
        put_fields(browser, fields)
        press(browser, button)
        until(browser, lambda: browser.find_elements("css selector", ".error, #errors"), url)
        faults += said(browser, f"mistakes on {url.rpartition('/')[2]}")
    report(faults)


def test_the_list_finds_what_it_is_for() -> None:
    html = (
        "<main title='undefined'>at 2026-11-28T10:05:00Z <p>0 to 1e+06</p> <b>None</b> Over below by <i>1_missing_meter</i>"
        " <span aria-label='NaN kW'></span> {{ x }} 3 meter(s) <code>None</code></main>"
    )
    whats = {fault.split(": ")[1] for fault in raw_values(Texts(html).found, "made up")}
    assert whats >= {
        "a raw time", "a number with an exponent", "a value of a programming language", "a template",
        "what nobody would say", "a plural in brackets",
    }  # fmt: skip
    good = (
        "<main>Solar 1.2 kW since Tue 14:05. <code>null</code> 12 % <p class='secret'>None <b>NaN</b></p>"
        "<input type=hidden title=undefined></main>"
    )
    assert list(raw_values(Texts(good).found, "good")) == []
