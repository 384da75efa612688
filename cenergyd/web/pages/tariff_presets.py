"""Forms of common tariffs, filled in except the prices. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import attrs

from cenergyd.jobs.tariff.model import DAYS
from cenergyd.web.pages.tariff_form import SECTIONS, FormRow, TariffDraft, empty_row

_WEEK, _WEEKEND = DAYS[:5], ("sat", "sun")


class Preset(NamedTuple):
    """A common tariff."""

    title: str
    text: str
    seasons: Sequence[tuple[str, str, str]] = ()
    """Name, first and last day."""
    times: Sequence[tuple[str, Sequence[str], str, str]] = ()
    """Period, days, from, to: in every season."""


_PEAK = (
    ("peak", _WEEK, "16:00", "21:00"),
    ("off-peak", _WEEK, "00:00", "16:00"),
    ("off-peak", _WEEK, "21:00", "24:00"),
    ("off-peak", _WEEKEND, "00:00", "24:00"),
)
PRESETS: Mapping[str, Preset] = {
    "flat": Preset("One price", "The same price at all times."),
    "night": Preset(
        "Day and night", "Every day alike: a day from 07:00 to 23:00.",
        times=(
            ("day", DAYS[:7], "07:00", "23:00"), ("night", DAYS[:7], "00:00", "07:00"), ("night", DAYS[:7], "23:00", "24:00"),
        ),
    ),
    "peak": Preset("Weekday peak", "A peak on weekdays from 16:00 to 21:00.", times=_PEAK),
    "seasons": Preset(
        "Two seasons", "Summer and winter, each with a weekday peak.",
        seasons=(("summer", "1 Jun", "30 Sep"), ("winter", "1 Oct", "31 May")), times=_PEAK,
    ),
}  # fmt: skip


def with_preset(draft: TariffDraft, name: str) -> TariffDraft:
    """The form with a preset's seasons, times and rows for its prices; bill, demand and holidays do not change."""
    preset = PRESETS.get(name)
    if preset is None:
        return draft
    seasons: list[FormRow] = [{"name": name, "from": first, "to": last} for name, first, last in preset.seasons]
    named = [season for season, _, _ in preset.seasons] or [""]
    schedules: list[FormRow] = [
        {**empty_row(SECTIONS["schedules"]), "season": season, "period": period, **dict.fromkeys(days, "1"),
         "from": start, "to": end}
        for season in named
        for period, days, start, end in preset.times
    ]  # fmt: skip
    return attrs.evolve(draft, rows={**draft.rows, "seasons": seasons, "schedules": schedules, "energy": ()})
