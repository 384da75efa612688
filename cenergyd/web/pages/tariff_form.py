"""The form of a tariff between two requests: rows of text and the tariff's JSON, both ways. Pure.

A row's fields are called ``schedules.2.from``. Empty rows are ignored, so an error in the JSON's third entry may belong to the form's fifth
row; :class:`Entries` keeps track.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import attrs

from cenergyd.documents.json_types import JsonObject, ReadOnlyJson
from cenergyd.errors import InvalidField
from cenergyd.jobs.tariff.model import DAYS
from cenergyd.jobs.tariff.parsing import tariff_from_json, tariff_to_json
from cenergyd.web.pages import written_dates
from cenergyd.web.pages.texts import sentence

MAX_ROWS = 500
DAY_NAMES: Mapping[str, str] = {
    "mon": "Mon", "tue": "Tue", "wed": "Wed", "thu": "Thu", "fri": "Fri", "sat": "Sat", "sun": "Sun", "holiday": "Holiday",
}  # fmt: skip
HOLIDAY_KINDS: Mapping[str, str] = {
    "date": "On one date",
    "yearly": "Every year",
    "observed": "Every year, or the nearest weekday",
    "nth": "Nth weekday of a month",
}
NTHS: Mapping[str, str] = {
    "1": "1st", "2": "2nd", "3": "3rd", "4": "4th", "5": "5th", "-1": "last", "-2": "last but one",
    "-3": "3rd from the end", "-4": "4th from the end", "-5": "5th from the end",
}  # fmt: skip
FormRow = Mapping[str, str]


class Section(NamedTuple):
    """A list in a tariff and the fields of its rows."""

    name: str
    title: str
    fields: tuple[str, ...]
    blank: tuple[str, ...]
    """A row in which these fields are empty is ignored."""
    one: str
    """Name of one entry."""


SECTIONS: Mapping[str, Section] = {
    section.name: section
    for section in (
        Section("seasons", "Seasons", ("name", "from", "to"), ("name", "from", "to"), "season"),
        Section(
            "schedules", "Weekly schedule", ("season", "period", *DAYS, "from", "to"), ("period", *DAYS), "time"
        ),
        Section("holidays", "Holidays", ("kind", "when", "nth", "weekday", "month"), ("when", "nth"), "holiday"),
        Section(
            "energy", "Energy", ("season", "period", "import_per_kwh", "export_per_kwh"),
            ("import_per_kwh", "export_per_kwh"), "price",
        ),
        Section("demand", "Demand", ("season", "per_kw"), ("per_kw",), "price"),
        Section("peak_demand", "Peak demand", ("season", "period", "per_kw"), ("per_kw",), "price"),
    )
}  # fmt: skip
ENERGY_FROM: Mapping[str, str] = {"power": "power over time", "registers": "the meter's kWh registers"}
PLAIN = ("currency", "fixed", "energy_from", "billing.kind", "billing.day_of_month", "billing.dates")


@attrs.frozen
class TariffDraft:
    """The form as it is shown."""

    plain: Mapping[str, str]
    rows: Mapping[str, Sequence[FormRow]]
    was: str = ""
    """Fingerprint of the stored tariff that it was filled with."""
    errors: Mapping[str, str] = attrs.field(factory=dict)
    """By the name of a field (``schedules.2.from``), a row (``schedules.2``) or a section."""

    def known_periods(self) -> list[tuple[str, str]]:
        """Seasons and periods that its schedules name, in their order."""
        named = [(_season(row["season"]), row["period"].strip()) for row in self.rows["schedules"]]
        found = dict.fromkeys(pair for pair in named if all(pair))
        if found:
            return list(found)
        return [(season, "all") for season in self.season_names()]

    def season_names(self) -> list[str]:
        """The seasons' names; ``all`` where there are none."""
        names = [row["name"].strip() for row in self.rows["seasons"]]
        return list(dict.fromkeys(name for name in names if name)) or ["all"]


class Entries(NamedTuple):
    """A tariff's JSON as typed, and the form's row of each of its entries."""

    body: JsonObject
    rows: Mapping[str, Sequence[int]]


def draft_of(stored: object, was: str) -> TariffDraft:
    """A form of a stored tariff (None: none). Raises InvalidField if it is not valid."""
    body = tariff_to_json(tariff_from_json(stored if stored is not None else {}))
    given = stored if isinstance(stored, Mapping) else {}
    rows: dict[str, Sequence[FormRow]] = {
        # What the tariff leaves out is left out here too, not filled with the one season "all".
        "seasons": [_season_row(entry) for entry in body["seasons"]] if _has_seasons(given) else (),
        "schedules": [_schedule_row(entry) for entry in body["schedules"]] if given.get("schedules") else (),
        "holidays": [_holiday_row(entry) for entry in body["holidays"]],
        "energy": [_named_row(entry) for entry in body["energy"]],
        "demand": [_named_row(entry) for entry in body["demand"]],
        "peak_demand": [_named_row(entry) for entry in body["peak_demand"]],
    }
    billing = body["billing"]
    plain = {
        "currency": body["currency"],
        "fixed": body["fixed"],
        "energy_from": body["energy_from"],
        "billing.kind": "dates" if "dates" in billing else "day",
        "billing.day_of_month": str(billing.get("day_of_month", 1)),
        "billing.dates": "\n".join(map(written_dates.shown_date, billing.get("dates", ()))),
    }
    return TariffDraft(plain, rows, was)


def draft_from(form: Mapping[str, str]) -> TariffDraft:
    """A form as it was sent."""
    plain = {name: form.get(name, "") for name in PLAIN}
    return TariffDraft(plain, {name: _sent_rows(form, SECTIONS[name]) for name in SECTIONS}, form.get("was", ""))


def with_row(draft: TariffDraft, section: str) -> TariffDraft:
    """Add an empty row."""
    if section not in SECTIONS or len(draft.rows[section]) >= MAX_ROWS:
        return draft
    return attrs.evolve(draft, rows={**draft.rows, section: [*draft.rows[section], empty_row(SECTIONS[section])]})


def without_row(draft: TariffDraft, which: str) -> TariffDraft:
    """Remove a row, such as ``schedules.2``."""
    section, _, number = which.partition(".")
    if section not in SECTIONS or not re.fullmatch("[0-9]{1,3}", number):
        return draft
    rows = [row for index, row in enumerate(draft.rows[section]) if index != int(number)]
    return attrs.evolve(draft, rows={**draft.rows, section: rows})


def with_prices(draft: TariffDraft) -> TariffDraft:
    """The form with a row for every missing price."""
    rows = dict(draft.rows)
    known = draft.known_periods()
    kept = [row for row in rows["energy"] if not _is_leftover(row, known)]
    priced = {(_season(row["season"]), row["period"].strip() or "all") for row in kept}
    lacking = [
        {**empty_row(SECTIONS["energy"]), "season": _unnamed(season), "period": _unnamed(period)}
        for season, period in known
        if (season, period) not in priced
    ]
    rows["energy"] = [*kept, *lacking][:MAX_ROWS]
    return attrs.evolve(draft, rows=rows)


def empty_row(section: Section) -> FormRow:
    """An empty row."""
    return {name: "date" if name == "kind" else "" for name in section.fields}


def entries_of(draft: TariffDraft) -> Entries:
    """The JSON of what was typed, without the empty rows; not yet checked."""
    body: JsonObject = {
        "currency": draft.plain["currency"].strip().upper(),
        "fixed": _price(draft.plain["fixed"] or "0"),
        "energy_from": draft.plain["energy_from"] or "power",
    }
    numbers: dict[str, list[int]] = {}
    for name, section in SECTIONS.items():
        used = [(index, row) for index, row in enumerate(draft.rows[name]) if not _is_blank(section, row)]
        numbers[name] = [index for index, _ in used]
        body[name] = [_ENTRY[name](row) for _, row in used]
    if draft.plain["billing.kind"] == "dates":
        # One a line or with semicolons; commas and spaces only where no month is named.
        typed = draft.plain["billing.dates"].strip()
        dates = re.split(r"[\n;]+" if re.search("[A-Za-z]", typed) else r"[\s,;]+", typed)
        body["billing"] = {"dates": [written_dates.full_date(each) for each in dates if each.strip()]}
    else:
        body["billing"] = {"day_of_month": _number(draft.plain["billing.day_of_month"])}
    return Entries(body, numbers)


def checked(draft: TariffDraft) -> tuple[TariffDraft, JsonObject | None]:
    """The form with errors beside their entries; and the JSON to store, None if there are errors."""
    entries = entries_of(draft)
    try:
        body = tariff_to_json(tariff_from_json(entries.body))
    except InvalidField as error:
        name = _form_name(error.field, entries, draft)
        return attrs.evolve(draft, errors={name: _day_fault(name, draft) or sentence(str(error))}), None
    for name in ("seasons", "schedules"):
        if not entries.body[name]:
            del body[name]
    return draft, body


def _form_name(path: str, entries: Entries, draft: TariffDraft) -> str:
    """Where the form shows an error: ``tariff.schedules[2].from`` -> ``schedules.4.from``."""
    name = path.removeprefix("tariff.")
    match = re.fullmatch(r"(\w+)\[(\d+)\](?:\.(\w+))?(?:\[\d+\])?", name)
    if match is None:
        return "billing.dates" if name.startswith("billing.dates") else "billing.kind" if name == "billing" else name
    section, index, field = match[1], int(match[2]), match[3]
    numbers = entries.rows[section]
    row = f"{section}.{numbers[index]}"
    if section == "holidays" and draft.rows[section][numbers[index]]["kind"] != "nth":
        return f"{row}.when"
    return f"{row}.{field}" if field in SECTIONS[section].fields else row


def _day_fault(name: str, draft: TariffDraft) -> str:
    """The message for a day that cannot be read; empty if the error is another."""
    if re.fullmatch(r"seasons\.[0-9]+\.(from|to)", name):
        return written_dates.YEAR_DAY
    if match := re.fullmatch(r"holidays\.([0-9]+)\.when", name):
        yearly = draft.rows["holidays"][int(match[1])]["kind"] in ("yearly", "observed")
        return written_dates.YEAR_DAY if yearly else written_dates.DATE
    return ""


def _sent_rows(form: Mapping[str, str], section: Section) -> list[FormRow]:
    rows: list[FormRow] = []
    # A text field shows that a row was sent; checkboxes that are off are not sent.
    anchor = next(name for name in section.fields if name not in DAYS)
    while len(rows) < MAX_ROWS and f"{section.name}.{len(rows)}.{anchor}" in form:
        rows.append({name: form.get(f"{section.name}.{len(rows)}.{name}", "") for name in section.fields})
    return rows


def _is_blank(section: Section, row: FormRow) -> bool:
    return not any(row[name].strip() for name in section.blank)


def _is_leftover(row: FormRow, known: Sequence[tuple[str, str]]) -> bool:
    """Whether a row was offered for a period that has another name now."""
    named = (_season(row["season"]), row["period"].strip() or "all")
    return named not in known and _is_blank(SECTIONS["energy"], row)


def _season(text: str) -> str:
    """If there are no seasons, none need be named."""
    return text.strip() or "all"


def _price(text: str) -> str:
    return text.strip().replace(",", ".")


def _number(text: str) -> int | str:
    stripped = text.strip()
    return int(stripped) if stripped.isascii() and stripped.isdigit() and len(stripped) < 6 else stripped


def _unnamed(text: str) -> str:
    """A season or period that covers everything is not named in the form."""
    return "" if text == "all" else text


def _has_seasons(given: ReadOnlyJson) -> bool:
    """Whether there are seasons to show: not the one of a whole year, which the API gives a tariff without seasons."""
    seasons: Sequence[ReadOnlyJson] = given.get("seasons") or ()
    return bool(seasons) and not (len(seasons) == 1 and seasons[0].get("name") == "all")


def _season_row(entry: ReadOnlyJson) -> FormRow:
    first, last = written_dates.shown_month_day(entry["from"]), written_dates.shown_month_day(entry["to"])
    return {"name": entry["name"], "from": first, "to": last}


def _named_row(entry: ReadOnlyJson) -> FormRow:
    return {name: _unnamed(value) if name in ("season", "period") else value for name, value in entry.items()}


def _schedule_row(entry: ReadOnlyJson) -> FormRow:
    days = {day: "1" if day in entry["days"] else "" for day in DAYS}
    return {
        "season": _unnamed(entry["season"]),
        "period": entry["period"],
        **days,
        "from": entry["from"],
        "to": entry["to"],
    }


def _schedule_entry(row: FormRow) -> JsonObject:
    return {
        "season": _season(row["season"]),
        "period": row["period"].strip(),
        "days": [day for day in DAYS if row[day]],
        "from": written_dates.time_of_day(row["from"]) or "00:00",
        "to": written_dates.time_of_day(row["to"]) or "24:00",
    }


def _holiday_row(entry: str | ReadOnlyJson) -> FormRow:
    row = dict(empty_row(SECTIONS["holidays"]))
    if isinstance(entry, str):
        row["when"] = written_dates.shown_date(entry)
    elif "nth" in entry:
        row |= {"kind": "nth", "nth": str(entry["nth"]), "weekday": entry["weekday"], "month": str(entry["month"])}
    else:
        row |= {
            "kind": "observed" if entry["observed"] else "yearly",
            "when": written_dates.shown_month_day(f"{entry['month']:02d}-{entry['day']:02d}"),
        }
    return row


def _holiday_entry(row: FormRow) -> str | JsonObject:
    when = row["when"].strip()
    if row["kind"] == "nth":
        nth = int(row["nth"]) if row["nth"] in NTHS else row["nth"]
        return {"month": _number(row["month"]), "weekday": row["weekday"], "nth": nth}
    if row["kind"] in ("yearly", "observed"):
        match = re.fullmatch(r"([0-9]{2})-([0-9]{2})", written_dates.month_day(when))
        if match is None:
            return {"month": 1, "day": when}  # refused by the check
        return {"month": int(match[1]), "day": int(match[2]), "observed": row["kind"] == "observed"}
    return written_dates.full_date(when)


def _energy_entry(row: FormRow) -> JsonObject:
    return {
        "season": _season(row["season"]),
        "period": row["period"].strip() or "all",
        "import_per_kwh": _price(row["import_per_kwh"]),
        "export_per_kwh": _price(row["export_per_kwh"]) or "0",
    }


def _demand_entry(row: FormRow) -> JsonObject:
    return {"season": _season(row["season"]), "per_kw": _price(row["per_kw"])}


def _peak_entry(row: FormRow) -> JsonObject:
    return {**_demand_entry(row), "period": row["period"].strip() or "all"}


_ENTRY: Mapping[str, Callable[[FormRow], str | JsonObject]] = {
    "seasons": lambda row: {
        "name": row["name"].strip(),
        "from": written_dates.month_day(row["from"]),
        "to": written_dates.month_day(row["to"]),
    },
    "schedules": _schedule_entry,
    "holidays": _holiday_entry,
    "energy": _energy_entry,
    "demand": _demand_entry,
    "peak_demand": _peak_entry,
}
