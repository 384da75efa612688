"""A tariff's JSON as classes; its meaning is described in :mod:`cenergyd.jobs.tariff.model`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from cenergyd.runtime.structs import Resource, whole

MAX_ENTRIES = 500
"""Maximum entries in any list of a tariff."""
MAX_NAME = 40
ALL = "all"
"""The name of the only season, or period, if none are given."""

_MONTH_DAY = r"(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
PRICE_NEEDED = "a price is needed: a number from 0 to 1000000, such as 0.25"
_PRICE = Meta(
    description="A number from 0 to 1000000, or the same as text: a decimal, taken as it is written.",
    extra={"needed": PRICE_NEEDED},
)

Name = Annotated[
    str,
    Meta(
        pattern=whole(rf"[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]{{0,{MAX_NAME - 2}}}[^\s\x00-\x1f\x7f])?"),
        extra={"needed": f"a name of 1 to {MAX_NAME} characters is needed"},
    ),
]
Price = Annotated[str | int | float, _PRICE]
MonthDay = Annotated[
    str,
    Meta(
        pattern=whole(_MONTH_DAY),
        extra={"needed": "a day of the year is needed as MM-DD, such as 06-01"},
    ),
]
Date = Annotated[
    str,
    Meta(pattern=whole(rf"[0-9]{{4}}-{_MONTH_DAY}"), extra={"needed": "a date is needed as YYYY-MM-DD"}),
]
ClockTime = Annotated[
    str,
    Meta(
        pattern=whole("([01][0-9]|2[0-4]):[0-5][0-9]"),
        description="Wall-clock time on a full quarter of an hour, from 00:00 to 24:00.",
        extra={"needed": "a time of day is needed as HH:MM, from 00:00 to 24:00"},
    ),
]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Day = Weekday | Literal["holiday"]
DayOfMonth = Annotated[int, Meta(ge=1, le=31)]
_ENTRIES = Meta(max_length=MAX_ENTRIES)


class TariffSeason(Resource, frozen=True, kw_only=True):
    """A part of the year, both days included; it may run over New Year."""

    name: Name
    first: MonthDay = field(name="from")
    last: MonthDay = field(name="to")


class TariffSchedule(Resource, frozen=True, kw_only=True):
    """When a period applies in a season."""

    season: str
    period: Name
    days: Annotated[list[Day], _ENTRIES]
    start: ClockTime = field(name="from", default="00:00")
    end: ClockTime = field(name="to", default="24:00")


class TariffHoliday(Resource, frozen=True, kw_only=True):
    """A yearly holiday: a day of a month, or the nth weekday of a month (counted from its end if negative)."""

    month: Annotated[int, Meta(ge=1, le=12)]
    day: DayOfMonth | UnsetType = UNSET
    observed: bool | UnsetType = UNSET
    """Moves the holiday from a Saturday to Friday, and from a Sunday to Monday."""
    weekday: Weekday | UnsetType = UNSET
    nth: Annotated[int, Meta(ge=-5, le=5)] | UnsetType = UNSET


class TariffEnergyPrice(Resource, frozen=True, kw_only=True):
    """The price of an imported kWh, and the credit for an exported one."""

    season: str
    period: str
    import_per_kwh: Price
    export_per_kwh: Price = "0"


class TariffDemandPrice(Resource, frozen=True, kw_only=True):
    """The price of a kW of a season's highest demand."""

    season: str
    per_kw: Price


class TariffPeakDemandPrice(Resource, frozen=True, kw_only=True):
    """The price of a kW of the highest demand in a period."""

    season: str
    period: str
    per_kw: Price


class TariffBilling(Resource, frozen=True, kw_only=True):
    """When billing periods start: on a day of each month, or on dates in ascending order; only one of the two."""

    day_of_month: DayOfMonth | UnsetType = UNSET
    dates: Annotated[list[Date], _ENTRIES] | UnsetType = UNSET


class TariffJson(Resource, frozen=True, kw_only=True):
    """Which price applies when, and when billing periods start; every key may be left out."""

    currency: Annotated[
        str,
        Meta(
            pattern=whole("[A-Z]{3}"),
            extra={"needed": "a currency code of three capital letters is needed, such as USD"},
        ),
    ] = "USD"
    seasons: Annotated[list[TariffSeason], _ENTRIES] | None = None
    schedules: Annotated[list[TariffSchedule], _ENTRIES] | None = None
    holidays: Annotated[list[Date | TariffHoliday], _ENTRIES] | None = None
    energy: Annotated[list[TariffEnergyPrice], _ENTRIES] | None = None
    demand: Annotated[list[TariffDemandPrice], _ENTRIES] | None = None
    peak_demand: Annotated[list[TariffPeakDemandPrice], _ENTRIES] | None = None
    fixed: Price = "0"
    billing: TariffBilling | None = None
    energy_from: Annotated[
        Literal["power", "registers"],
        Meta(
            description="registers: a period's energy is what the grid meter's kWh registers counted, its hours by power; "
            "where they counted nothing it is by power.",
        ),
    ] = "power"
