"""The result of a customer's derivation, kept with the customer (:attr:`Customer.derivation`).

Earlier versions kept it in a document of kind ``derivation``, which is read until the customer is derived again.

- ``derived_until``: time of the latest computed reading, UTC seconds, or None;
- ``waiting_for``, ``waiting_since``: the role whose meter has not uploaded yet, and the first time that is waiting for it, or None;
- ``missing``: ``{role, start, end, readings}`` of the latest gap in which one meter had no readings, or None;
- ``failure``: ``{plugin, message, since}`` while derivation fails, or None;
- ``no_plugin``: True if no enabled plugin computes the missing role;
- ``range``: ``{start, end, done}``: the most recent range of times, and the time (exclusive) up to which it is done.

Documents of earlier versions have ``since`` and ``until`` instead of ``start`` and ``end``; there ``until`` and ``done`` are inclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from cenergyd.customers.model import Customer
from cenergyd.derivation.derive import Derivation
from cenergyd.documents.body import body_of
from cenergyd.documents.json_types import ReadOnlyJson
from cenergyd.documents.kinds import DERIVATION
from cenergyd.documents.store import DocumentStore
from cenergyd.runtime.isolation import PluginFailed


@attrs.frozen(slots=True, kw_only=True)
class Outcome:
    """The result of a customer's range, or of its finished part."""

    start: int
    """UTC seconds."""
    end: int
    done: int
    """Everything before this is derived."""
    derivations: Sequence[Derivation] = ()
    """The derivations of its segments, ascending in time."""
    failure: PluginFailed | None = None
    """Why the rest is not derived; None if nothing failed."""


async def results_of(customers: Sequence[Customer], documents: DocumentStore) -> dict[str, ReadOnlyJson]:
    """The results of those customers that have been derived, by customer id."""
    found: dict[str, ReadOnlyJson] = {each.id: body_of(each.derivation) for each in customers if each.derivation}
    others = [each.id for each in customers if not each.derivation]
    if others:
        earlier = await documents.get_many(DERIVATION, others)
        found.update((key, document.body) for key, document in earlier.items())
    return found


def reached_before(body: Mapping[str, object] | None) -> int | None:
    """The time up to which both meters are known to have readings."""
    value = (body or {}).get("derived_until")
    return value if isinstance(value, int) else None


def next_body(previous: Mapping[str, object] | None, outcome: Outcome, now: int) -> dict[str, object]:
    """The result after an outcome."""
    old = dict(previous or {})
    if outcome.failure is not None:
        return _shape(old) | {"failure": _failure(old.get("failure"), outcome.failure, now)}
    times = [each.derived_until for each in outcome.derivations if each.derived_until is not None]
    derived_until = max([*times, *filter(None, [reached_before(old)])], default=None)
    waiting_for, waiting_since = _waiting(old, outcome, derived_until)
    return {
        "derived_until": derived_until,
        "waiting_for": waiting_for,
        "waiting_since": waiting_since,
        "missing": _missing(missing_of(old), outcome),
        "failure": None,
        "no_plugin": any(each.no_plugin for each in outcome.derivations),
        "range": _range_of(stored_range(old), outcome),
    }


def _shape(old: Mapping[str, object]) -> dict[str, object]:
    empty = dict.fromkeys(("derived_until", "waiting_for", "waiting_since", "missing", "failure", "range"))
    return {**empty, "no_plugin": False, **old}


def _failure(old: object, failure: PluginFailed, now: int) -> dict[str, object]:
    since = old["since"] if isinstance(old, Mapping) and isinstance(old.get("since"), int) else now
    return {"plugin": failure.plugin, "message": failure.reason, "since": since}


def _waiting(old: ReadOnlyJson, outcome: Outcome, derived_until: int | None) -> tuple[object, object]:
    """``waiting_for`` and ``waiting_since``, from this range or an earlier one. Nothing before a computed reading is waiting."""
    found = [
        (each.gaps.waiting_since, each.gaps.waiting_for)
        for each in outcome.derivations
        if each.gaps.waiting_since is not None
    ]
    before = old.get("waiting_since")
    if isinstance(before, int) and before < outcome.start and before > (derived_until or 0):
        found.append((before, old.get("waiting_for")))
    since, role = min(found, key=lambda each: each[0] or 0, default=(None, None))
    return role, since


def missing_of(body: Mapping[str, object]) -> dict[str, object] | None:
    """``missing`` of a result, of any version."""
    found = _half_open(body.get("missing"))
    return dict(found) if found is not None else None


def stored_range(body: Mapping[str, object]) -> Mapping[str, object] | None:
    """``range`` of a result; earlier versions stored it as ``window``."""
    return _half_open(body.get("range") or body.get("window"))


def _half_open(stored: object) -> Mapping[str, object] | None:
    if not isinstance(stored, Mapping):
        return None
    if "until" not in stored:
        return stored
    rest = {name: value for name, value in stored.items() if name not in ("since", "until", "done")}
    done = {"done": _int(stored["done"]) + 1} if "done" in stored else {}
    return {**rest, "start": _int(stored.get("since")), "end": _int(stored["until"]) + 1, **done}


def _missing(old: Mapping[str, object] | None, outcome: Outcome) -> dict[str, object] | None:
    found = [gap for each in outcome.derivations for gap in each.gaps.missing]
    if found:
        latest = max(found, key=lambda gap: gap.end)
        if old is None or latest.end >= _int(old.get("end")):
            return {"role": latest.role, "start": latest.start, "end": latest.end, "readings": latest.readings}
    if old is None:
        return None
    healed = outcome.start <= _int(old.get("start")) and _int(old.get("end")) <= outcome.done
    return None if healed else dict(old)


def _range_of(old: Mapping[str, object] | None, outcome: Outcome) -> dict[str, int]:
    """The range. If it continues where an unfinished one stopped, both count as one range."""
    start = outcome.start
    if old is not None and _int(old.get("done")) < _int(old.get("end")):
        before = _int(old.get("start"))
        if before <= start <= _int(old.get("done")):
            start = before
    return {"start": start, "end": outcome.end, "done": outcome.done}


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
