"""Meters over time: their roles, changes from a time on, backfill, and explanations of missing points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, cast
from zoneinfo import ZoneInfo

from cenergyd.acquisuite.layouts import MAX_COLUMN
from cenergyd.acquisuite.points import FIRST_POINT
from cenergyd.customers.fields import clean_meter, clean_serial
from cenergyd.customers.meter_history import change_times, dated_change, setup_periods, without_change
from cenergyd.customers.meter_sum import is_sum, meter_ids
from cenergyd.customers.model import FIELD_OF_ROLE, MISSING_METER, ROLES, SUM, Customer, PendingMark
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.derivation.explain import explanations
from cenergyd.derivation.provenance import Explanation, SourceTime
from cenergyd.errors import Conflict, InvalidField
from cenergyd.hookspecs import Formula
from cenergyd.web.pages import texts
from cenergyd.web.pages.forms import Typed
from cenergyd.web.pages.routing import Page, PageCall, PageRoute, Redirect, customer_path
from cenergyd.web.server.problems import RequestProblem
from cenergyd.web.views.context import Context
from cenergyd.web.views.customer_service import SERIAL, change_customer
from cenergyd.web.views.held_meters import chosen_columns, dismiss, held_views, with_columns

HOUR = 3600
CHANNELS: Mapping[str, str] = {"P": "P (kW)", "Q": "Q (kvar)", "L1_PF": "L1 power factor", "L1_V": "L1 voltage",
                               "E_net": "Net energy (kWh)", "E_import": "Import (kWh)", "E_export": "Export (kWh)"}  # fmt: skip
_MAX_TIME = 1 << 33
_TIME_NEEDED = "Choose a date and time."
_DONE = {
    "without_change": "The change was undone. What it affects is being computed again.",
    "changed": "The meters were changed. What this affects is being computed again.",
    "chosen": "The columns were saved. The held logs are being read now.",
    "dismissed": "You will not be asked about this meter again. Its logs are still held for some time.",
    "queued": "The range is queued and will be computed again.",
}
_WHY: Mapping[str, tuple[str, str]] = {
    "computed": ("ok", "Computed"),
    "estimated": ("ok", "Estimated"),
    "pending": ("idle", "Pending"),
    "no_power": ("bad", "No power"),
    "not_aligned": ("warn", "Not aligned"),
    "waiting": ("idle", "Waiting"),
    "missing": ("bad", "Missing"),
    "no_readings": ("warn", "No readings"),
}


class ExplainedRun(NamedTuple):
    """Minutes with the same explanation."""

    first: int
    """UTC seconds."""
    last: int
    times: int
    why: tuple[str, str]
    text: str
    sources: str


class MeterPages:
    """A customer's ``meters``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, call: PageCall, customer_id: str) -> Page:
        """History, forms, and the explanation of an hour (``hour``, local time)."""
        return await self._page(call, await self._context.customer(customer_id))

    async def change(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Change meters, CT directions, columns or the logger from a time on."""
        old = await self._context.customer(customer_id)
        given = {SERIAL: old.logger_serial_number, **call.form}  # a form of an earlier version lacks that field
        typed = Typed({name: given.get(name, "").strip() for name in _change_fields()})
        if call.form.get("etag") != old.etag:
            return await self._page(call, old, typed, conflict=True, status=409)
        try:
            since = _since(typed.values, zone_or_utc(old.time_zone), call.now)
            update = dated_change(old, since, _changes(old, typed.values), call.now)
            await change_customer(self._context, call.principal, customer_id, update, old.etag)
        except InvalidField as error:
            field = "since" if error.field == "effective_from" else error.field
            return await self._page(call, old, Typed(typed.values, {field: texts.sentence(str(error))}), status=422)
        except RequestProblem as problem:
            errors = {fault.field: texts.sentence(fault.detail) for fault in problem.details.errors}
            if SERIAL not in errors:
                raise
            return await self._page(call, old, Typed(typed.values, errors), status=problem.details.status)
        except Conflict:
            fresh = await self._context.customer(customer_id)
            return await self._page(call, fresh, typed, conflict=True, status=409)
        return Redirect(customer_path(customer_id, "meters") + "?done=changed")

    async def take_back(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Undo a change: the setup before it applies again."""
        old = await self._context.customer(customer_id)
        if call.form.get("etag") != old.etag:
            return await self._page(call, old, conflict=True, status=409)
        try:
            at = call.form.get("at", "")
            update = without_change(old, int(at) if at.isascii() and at.isdigit() and len(at) < 12 else -1)
            await change_customer(self._context, call.principal, customer_id, update, old.etag)
        except InvalidField as error:
            wrong = Typed(_stored(old), {"since": texts.sentence(str(error))})
            return await self._page(call, old, wrong, status=422)
        except Conflict:
            return await self._page(call, await self._context.customer(customer_id), conflict=True, status=409)
        return Redirect(customer_path(customer_id, "meters") + "?done=without_change")

    async def choose_held(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Choose the columns of a meter whose logs are held unread, or mark it as not a power meter."""
        old = await self._context.customer(customer_id)
        try:
            meter = call.form.get("meter", "")
            if not (meter.isascii() and meter.isdigit() and len(meter) <= 3):
                raise InvalidField("held", "name the meter")
            if call.form.get("dismiss"):
                await dismiss(self._context, old, meter)
                return Redirect(customer_path(customer_id, "meters") + "?done=dismissed")
            update = with_columns(old, meter, chosen_columns(call.form))
            await change_customer(self._context, call.principal, customer_id, update, old.etag)
        except InvalidField as error:
            wrong = Typed(_stored(old), {"held": texts.sentence(str(error))})
            return await self._page(call, old, wrong, status=422)
        except Conflict:
            return await self._page(call, await self._context.customer(customer_id), conflict=True, status=409)
        return Redirect(customer_path(customer_id, "meters") + "?done=chosen")

    async def backfill(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Derive a range again."""
        customer = await self._context.customer(customer_id)
        zone = zone_or_utc(customer.time_zone)
        values = {name: call.form.get(name, "").strip() for name in ("start", "end")}
        times: dict[str, int] = {}
        errors: dict[str, str] = {}
        for name, text in values.items():
            try:
                times[name] = call.now if name == "end" and not text else local_time(text, zone)
            except ValueError:
                errors[name] = _TIME_NEEDED
        if not errors and not 0 <= times["start"] < times["end"] <= _MAX_TIME:
            errors["end"] = "The end must be later than the beginning."
        if errors:
            return await self._page(call, customer, backfill=Typed(values, errors), status=422)
        mark = PendingMark(customer.id, times["start"], times["end"])
        await self._context.customers.derivation_queue.mark([mark])
        return Redirect(customer_path(customer_id, "meters") + "?done=queued")

    async def _page(
        self,
        call: PageCall,
        customer: Customer,
        typed: Typed | None = None,
        *,
        backfill: Typed | None = None,
        conflict: bool = False,
        status: int = 200,
    ) -> Page:
        zone = zone_or_utc(customer.time_zone)
        hour, error = _hour(call, zone)
        explained = [] if error else await self._explain(customer, hour)
        values = {
            "typed": typed or Typed(_stored(customer)),
            "backfill": backfill or Typed({"start": "", "end": ""}),
            "conflict": conflict,
            "etag": customer.etag,
            "done": _DONE.get(call.query("done") or "", ""),
            "history": list(reversed(setup_periods(customer, 0, call.now + 1))),
            "change_times": change_times(customer),
            "roles": [(role, FIELD_OF_ROLE[role]) for role in ROLES],
            "channels": CHANNELS,
            "zone": zone,
            "hour": hour,
            "hour_text": texts.local_datetime(hour, zone).strftime("%Y-%m-%dT%H:%M"),
            "hour_error": {"hour": error} if error else {},
            "explained": explained_runs(explained),
            "columns": (FIRST_POINT, MAX_COLUMN),
            "held": await held_views(self._context, customer),
        }
        return Page("meters.html", values, 422 if error else status, customer, "meters")

    async def _explain(self, customer: Customer, hour: int) -> list[Explanation]:
        settings = self._context.derivation
        return await explanations(
            self._context.readings, customer, hour, hour + HOUR,
            tolerance=settings.tolerance_seconds, formula=cast(Formula, settings.formula),
        )  # fmt: skip

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        base = "/customers/<customer_id>/meters"
        return (
            PageRoute("GET", base, self.show, "signed_in"),
            PageRoute("POST", base, self.change, "signed_in"),
            PageRoute("POST", f"{base}/held", self.choose_held, "signed_in"),
            PageRoute("POST", f"{base}/take-back", self.take_back, "signed_in"),
            PageRoute("POST", f"{base}/backfill", self.backfill, "operator"),
        )


def local_time(text: str, zone: ZoneInfo) -> int:
    """UTC seconds of a local time's field. Raises ValueError."""
    try:
        found = int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp())
    except OverflowError:
        raise ValueError(text) from None
    if not 0 <= found <= _MAX_TIME:
        raise ValueError(text)
    return found


def explained_runs(explained: Sequence[Explanation]) -> list[ExplainedRun]:
    """Explanations, with neighbours of the same kind joined; of points only the number is given."""
    found: list[ExplainedRun] = []
    for each in explained:
        sources = ", ".join(_source_text(source) for source in each.sources)
        text = (
            f"{each.text} (formula {each.formula.replace('/', ', version ')})"
            if each.why in ("computed", "estimated")
            else each.text
        )
        why = _WHY[each.why]
        if found and (found[-1].why, found[-1].text, found[-1].sources) == (why, text, sources):
            found[-1] = found[-1]._replace(last=each.time, times=found[-1].times + 1)
        else:
            found.append(ExplainedRun(each.time, each.time, 1, why, text, sources))
    return found


def _source_text(source: SourceTime) -> str:
    name = source.series.partition("_")[2]
    which = "computed" if name == MISSING_METER else "the sum" if name.endswith(f"_{SUM}") else f"meter {name}"
    return f"{source.role}: {which}" + ("" if source.factor is None else f" \u00d7 {source.factor:g}")


def _change_fields() -> tuple[str, ...]:
    columns = (f"columns.{role}.{channel}" for role in ROLES for channel in CHANNELS)
    return ("since_kind", "since", SERIAL, *FIELD_OF_ROLE.values(), *(f"reversed.{role}" for role in ROLES), *columns)


def _stored(customer: Customer) -> dict[str, str]:
    setup = customer.current
    values = {"since_kind": "time", "since": "", SERIAL: customer.logger_serial_number}
    for role in ROLES:
        values[FIELD_OF_ROLE[role]] = setup.meter_of(role)
        values[f"reversed.{role}"] = "yes" if role in setup.reversed_roles else ""
        columns = setup.layouts.get(setup.meter_of(role), {})
        for channel in CHANNELS:
            values[f"columns.{role}.{channel}"] = str(columns.get(channel, ""))
    return values


def _since(values: Mapping[str, str], zone: ZoneInfo, now: int) -> int:
    if values["since_kind"] == "now":
        return now
    if values["since_kind"] == "always":
        return 0
    try:
        return local_time(values["since"], zone)
    except ValueError:
        raise InvalidField("since", _TIME_NEEDED) from None


def _changes(customer: Customer, values: Mapping[str, str]) -> dict[str, object]:
    """What differs from the present setup. Raises InvalidField."""
    stored = customer.current
    changes: dict[str, object] = {}
    serial = clean_serial(values[SERIAL])
    if serial != customer.logger_serial_number:
        changes[SERIAL] = serial
    layouts: dict[str, Mapping[str, int]] = {meter: dict(columns) for meter, columns in stored.layouts.items()}
    for role, field in FIELD_OF_ROLE.items():
        meter = clean_meter(field, values[field])
        if meter != stored.meter_of(role):
            changes[field] = meter
        columns = _columns(role, values)
        if columns and not meter:
            raise InvalidField(next(name for name in _column_names(role) if values[name]), "name the meter, too")
        if is_sum(meter):
            _check_kept(role, columns, values, [layouts.get(each, {}) for each in meter_ids(meter)])
        elif meter:
            layouts[meter] = columns
    _check_one_role(values)
    turned = [role for role in ROLES if values[f"reversed.{role}"]]
    if set(turned) != stored.reversed_roles:
        changes["reversed"] = turned
    kept = {meter: columns for meter, columns in layouts.items() if columns}
    if kept != {meter: dict(columns) for meter, columns in stored.layouts.items()}:
        changes["layouts"] = kept
    if not changes:
        raise InvalidField("since", "nothing is different from what is valid now")
    return changes


def _check_one_role(values: Mapping[str, str]) -> None:
    taken: set[str] = set()
    for field in FIELD_OF_ROLE.values():
        meters = meter_ids(clean_meter(field, values[field]))
        if not taken.isdisjoint(meters):
            raise InvalidField(field, "a meter can have only one role")
        taken.update(meters)


def _check_kept(
    role: str, columns: Mapping[str, int], values: Mapping[str, str], layouts: Sequence[Mapping[str, int]]
) -> None:
    """Columns belong to one meter: a meter that became part of a sum keeps its columns, others cannot be chosen here."""
    if columns and columns not in layouts:
        name = next(name for name in _column_names(role) if values[name])
        raise InvalidField(name, "columns are one meter's: choose them while the role is that meter alone")


def _column_names(role: str) -> list[str]:
    return [f"columns.{role}.{channel}" for channel in CHANNELS]


def _columns(role: str, values: Mapping[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, channel in zip(_column_names(role), CHANNELS, strict=True):
        text = values[name]
        if not text:
            continue
        if not (text.isascii() and text.isdigit() and len(text) < 5 and FIRST_POINT <= int(text) <= MAX_COLUMN):
            raise InvalidField(name, f"a column from {FIRST_POINT} to {MAX_COLUMN} is needed, or nothing")
        found[channel] = int(text)
    return found


def _hour(call: PageCall, zone: ZoneInfo) -> tuple[int, str]:
    text = call.query("hour")
    latest = call.now - call.now % HOUR - HOUR
    if text is None:
        return latest, ""
    try:
        return local_time(text, zone), ""
    except ValueError:
        return latest, _TIME_NEEDED
