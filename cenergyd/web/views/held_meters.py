"""Meters whose logs are held unread: their columns' values, and the choice of what the columns are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from cenergyd.acquisuite.layouts import is_column
from cenergyd.acquisuite.log_head import first_rows
from cenergyd.acquisuite.points import FIRST_POINT
from cenergyd.customers.meter_sum import meter_ids
from cenergyd.customers.model import ROLES, Customer
from cenergyd.customers.ownership import owns
from cenergyd.errors import InvalidField, UploadError
from cenergyd.ingest.held_logs import HeldLog, HeldLogs
from cenergyd.ingest.held_meters import HeldMeter, HeldMeters
from cenergyd.readings.model import VALUES
from cenergyd.web.views.context import Context

_ROWS: Final = 3
_MAX_SHOWN: Final = 256
_MAX_INFLATED: Final = 1 << 24


class HeldColumn(NamedTuple):
    """A column of held rows. Texts are the device's: hostile."""

    number: int
    name: str
    values: tuple[str, ...]


class HeldView(NamedTuple):
    """A meter whose columns are to be chosen."""

    meter: HeldMeter
    columns: tuple[HeldColumn, ...]


async def held_views(context: Context, customer: Customer) -> list[HeldView]:
    """The meters of the customer's logger whose columns should be chosen, and those that a role names."""
    if not customer.logger_serial_number:
        return []
    meters, logs = _held(context)
    named = {meter for role in ROLES for meter in meter_ids(customer.current.meter_of(role))}
    found = await meters.of_logger(customer.logger_serial_number)
    wanted = [meter for meter in found if meter.is_not_understood or (meter.logs and meter.meter in named)]
    # Logs from the time of another customer are read once their columns are known, but shown to nobody.
    own = [meter for meter in wanted if owns(customer, customer.logger_serial_number, meter.until)]
    return [HeldView(meter, await _columns(customer, logs, meter)) for meter in own[:20]]


async def dismiss(context: Context, customer: Customer, meter: str) -> None:
    """Record that it was marked as not a power meter."""
    meters, _ = _held(context)
    await meters.dismiss(f"{customer.logger_serial_number}_{meter}", True)


def chosen_columns(form: Mapping[str, str]) -> dict[str, int]:
    """Value -> column of a form's fields ``column.<number>``. Raises InvalidField."""
    chosen: dict[str, int] = {}
    for name, value in form.items():
        number = name.removeprefix("column.")
        if number == name or not value:
            continue
        if value not in VALUES or not is_column(number):
            raise InvalidField("held", "there is no such column or value")
        if value in chosen:
            raise InvalidField("held", "two columns were chosen for the same value")
        chosen[value] = int(number)
    return checked_columns(chosen, "held")


def checked_columns(chosen: Mapping[str, int], field: str) -> dict[str, int]:
    """Value -> column as chosen; raises InvalidField for ``field`` where they cannot be a meter's."""
    if "P" not in chosen:
        raise InvalidField(field, "choose the column of real power; without it nothing can be computed")
    if len(set(chosen.values())) < len(chosen):
        raise InvalidField(field, "one column was chosen for two values")
    return dict(chosen)


def with_columns(customer: Customer, meter: str, columns: Mapping[str, int]) -> dict[str, object]:
    """The change that sets a meter's columns for the times of the present logger for which none are chosen; roles do not change.

    Where columns are chosen for every time, it sets the present ones.
    """
    meters = dict(customer.extensions.get("meters") or {})
    history = list(customer.extensions.get("history") or ())
    entries = [_with_columns(customer, entry, meter, columns) for entry in history]
    if not _has_columns(meters, meter) or entries == history:
        meters["layouts"] = {**(meters.get("layouts") or {}), meter: dict(columns)}
    update: dict[str, object] = {"meters": meters}
    if history:
        update["history"] = entries
    return {"extensions": update}


def _with_columns(customer: Customer, entry: object, meter: str, columns: Mapping[str, int]) -> object:
    """The entry of the history with a meter's columns, where it is of the present logger and has none."""
    if not isinstance(entry, Mapping) or _has_columns(entry, meter):
        return entry
    serial = entry.get("logger_serial_number") or customer.logger_serial_number
    if serial != customer.logger_serial_number:
        return entry
    return {**entry, "layouts": {**(entry.get("layouts") or {}), meter: dict(columns)}}


def _has_columns(entry: Mapping[str, object], meter: str) -> bool:
    """Whether a meter's rows can be read by the columns that an entry gives."""
    layouts = entry.get("layouts")
    chosen = layouts.get(meter) if isinstance(layouts, Mapping) else None
    return isinstance(chosen, Mapping) and "P" in chosen


def _held(context: Context) -> tuple[HeldMeters, HeldLogs]:
    meters = HeldMeters(context.documents, context.clock, logger_bytes=0, all_bytes=0)
    return meters, HeldLogs(context.documents, meters, context.clock, 1)


async def _first_own(customer: Customer, logs: HeldLogs, meter: HeldMeter) -> list[HeldLog]:
    """The first held log that came while the logger was the customer's, or none."""
    after: str | None = None
    while page := await logs.page(meter.series, after):
        after = page[-1].key
        own = [log for log in page if owns(customer, log.serial, log.received)]
        if own:
            return own[:1]
    return []


async def _columns(customer: Customer, logs: HeldLogs, meter: HeldMeter) -> tuple[HeldColumn, ...]:
    """The columns of the first held rows; of an XML message only the names are shown."""
    names = {point.number: f"{point.name} ({point.units})" if point.units else point.name for point in meter.names}
    rows: list[list[str]] = []
    for log in await _first_own(customer, logs, meter):
        if log.format == "log":
            try:
                rows = first_rows(await logs.content(log), _MAX_INFLATED, _ROWS)
            except UploadError:
                rows = []
    width = max([*(len(row) - FIRST_POINT for row in rows), *(number + 1 for number in names)], default=0)
    return tuple(
        HeldColumn(
            FIRST_POINT + number,
            names.get(number, ""),
            tuple(row[FIRST_POINT + number] if FIRST_POINT + number < len(row) else "" for row in rows),
        )
        for number in range(min(width, _MAX_SHOWN))
    )
