"""What pages say and take, without a server: drafts of settings, conflicts, ranges, texts, paths."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.customers.model import Customer
from cenergyd.jobs.site_state.model import KINDS
from cenergyd.web.pages import texts
from cenergyd.web.pages.forms import local_path
from cenergyd.web.pages.icons import icon
from cenergyd.web.pages.navigation import ISSUE_TABS
from cenergyd.web.pages.power import TodayFigure, chosen_span, today_figures
from cenergyd.web.pages.settings_draft import (
    changes_of,
    computed_meter,
    draft_from,
    draft_of,
    stored_values,
    with_conflict,
    with_meter,
)

STORED = Customer(id="a", name="Old", facility="1", solar="2", logger_serial_number="001EC6001433")


def sent(base: Customer, **typed: str) -> dict[str, str]:
    """A form as a browser sends it back."""
    values = stored_values(base)
    return {**values, **{f"was.{field}": value for field, value in values.items()}, "etag": base.etag, **typed}


@pytest.mark.parametrize(
    ("meters", "level", "part"),
    [
        (("", "1", "2"), "ok", "Utility will be computed: load \u2212 solar."),
        (("1", "", "2"), "ok", "Load will be computed: utility + solar."),
        (("1", "2", ""), "ok", "Solar will be computed: load \u2212 utility."),
        (("1", "2", "3"), "ok", "All three"),
        (("1", "", ""), "warn", "two of the three"),
        (("1", "001", ""), "warn", "meter 1 is named more than once"),
        (("1", "0x2", ""), "warn", "0x2 is not a Modbus address"),
        (("1", "0", ""), "warn", "0 is not a Modbus address"),
        (("1", "256", ""), "warn", "256 is not a Modbus address"),
    ],
)
def test_which_meter_is_computed(meters: tuple[str, str, str], level: str, part: str) -> None:
    found = computed_meter(dict(zip(("facility", "load", "solar"), meters, strict=True)))
    assert found.level == level
    assert part in found.text


def test_an_empty_password_is_not_a_change() -> None:
    assert "logger_password" not in changes_of(sent(STORED, logger_password=""))
    assert changes_of(sent(STORED, logger_password="new"))["logger_password"] == "new"
    assert changes_of(sent(STORED, logger_password="new", remove_password="1"))["logger_password"] == ""


def test_use_as_moves_a_meter() -> None:
    draft = with_meter(draft_of(STORED), "load:2")
    assert (draft.values["load"], draft.values["solar"], draft.values["facility"]) == ("2", "", "1")
    for nonsense in ("", "name:2", "load:", "load:x", "load:1234", "load"):
        assert with_meter(draft_of(STORED), nonsense) == draft_of(STORED)


words = st.sampled_from(["", "1", "2", "3"])


@settings(max_examples=200)
@given(*[st.tuples(words, words, words)] * 3)
def test_conflicts_merge_by_field(before: Any, theirs: Any, mine: Any) -> None:
    def customer(values: Any) -> Customer:
        return attrs.evolve(STORED, **dict(zip(("name", "facility", "load"), values, strict=True)))

    base, stored = customer(before), customer(theirs)
    draft = with_conflict(draft_from(sent(base, **stored_values(customer(mine)))), stored)
    assert draft.etag == stored.etag
    different = {each.field for each in draft.differences}
    for field, was, now, typed in zip(("name", "facility", "load"), before, theirs, mine, strict=True):
        assert draft.values[field] == (typed if typed != was else now)
        assert (field in different) == (was != now)


@pytest.mark.parametrize(
    "path", ["//evil", "https://evil", "/\\evil", "evil", "", "/a\nb", "/" + "a" * 600, "\\\\evil", "/\u00e4", None]
)
def test_paths_that_lead_elsewhere(path: str | None) -> None:
    assert local_path(path) is None


def test_paths_of_ours() -> None:
    assert local_path("/customers/1/power?range=day") == "/customers/1/power?range=day"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "\u2013"),
        (0.0, "0.00"),
        (-0.001, "0.00"),
        (-1.5, "\u22121.50"),
        (123.456, "123.5"),
        (12345.6, "12\u202f346"),
    ],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert texts.number_text(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-9, "just now"), (4, "just now"), (59, "59 s ago"), (60, "1 min ago"), (7199, "1 h ago"), (200000, "2 days ago")],
)
def test_ages(seconds: int, shown: str) -> None:
    assert texts.age(1_000_000, 1_000_000 + seconds) == shown


class Query:
    """As much of a call as a range needs."""

    now = 1_800_000_000

    def __init__(self, **given: str) -> None:
        self._given = {name.rstrip("_"): value for name, value in given.items()}

    def query(self, name: str) -> str | None:
        return self._given.get(name)

    def query_integer(self, name: str, low: int, high: int) -> int | None:
        return int(self._given[name]) if name in self._given else None


def test_ranges() -> None:
    new_york = ZoneInfo("America/New_York")

    def span(**given: str) -> Any:
        return chosen_span(Query(**given), new_york)  # type: ignore[arg-type]

    assert span()[:3] == ("day", Query.now + 1 - 86400, Query.now + 1)
    assert span(range="nonsense") == span()
    assert span(range="hour")[:3] == ("hour", Query.now + 1 - 3600, Query.now + 1)
    assert span(start="100", end="200")[:3] == ("", 100, 200)
    assert span(start="200", end="100") == span()
    typed = span(from_="2026-11-24T00:00", to="2026-11-25T00:00")
    assert (typed.start, typed.end, typed.errors) == (1795496400, 1795496400 + 86400, {})
    assert set(span(from_="", to="x").errors) == {"from", "to"}
    assert set(span(from_="2026-11-25T00:00", to="2026-11-24T00:00").errors) == {"to"}


def test_a_share_is_never_rounded_up_to_all() -> None:
    shown = [texts.percent(share) for share in (0.0, 0.624, 0.9958, 0.99999, 1.0, None)]
    assert shown == ["0 %", "62 %", "99 %", "99 %", "100 %", texts.NOTHING]


def test_what_a_logger_reports_is_reported_in_words() -> None:
    fields = {
        "uptime_seconds": 77777,
        "percent_blocks_in_use": 12.5,
        "loop_name": "",
        "boot_count": 3,
        "kernel_version": "2.6",
    }
    assert texts.device_report(fields) == [
        ("Restarts", "3"),
        ("Kernel version", "2.6"),
        ("Disk space used", "12.5 %"),
        ("Running for", "21 h"),
    ]
    assert texts.device_report({"battery_good": None}) == []


def test_times_without_a_site() -> None:
    assert texts.utc_minute(1_795_860_300) == "28 Nov 2026, 10:05 UTC"


def test_an_icon_is_markup_that_is_not_escaped_again() -> None:
    assert icon("warn").__html__().startswith('<svg class="icon"')
    with pytest.raises(KeyError):
        icon("none")


def test_every_issue_has_a_page_that_helps() -> None:
    assert ISSUE_TABS.keys() == set(KINDS) - {"good"}


def test_figures_of_today() -> None:
    def energy(bought: float, sold: float, seconds: int = 3600) -> dict[str, object]:
        return {"series": "s", "import_kwh": bought, "export_kwh": sold, "covered_seconds": seconds}

    known = {"utility": energy(1.25, 0.5), "solar": energy(2.0, 0.0), "load": energy(2.75, 0.0)}
    assert today_figures(known) == [
        TodayFigure("From the grid", "1.2", "kWh"),
        TodayFigure("To the grid", "0.5", "kWh"),
        TodayFigure("Solar", "2.0", "kWh"),
        TodayFigure("Load", "2.8", "kWh"),
        TodayFigure("Solar used here", "75 %", ""),
        TodayFigure("Load from solar", "55 %", ""),
    ]
    unknown = today_figures({"utility": None, "solar": energy(0.0, 0.0, 0)})
    assert {each.value for each in unknown} == {texts.NOTHING} == {each.value for each in today_figures({})}
