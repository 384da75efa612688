"""Rewriting documents of older shapes: what would change (pure), and doing it. Repeatable; safe beside a running front end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from cenergyd.customers.validation import faults_of
from cenergyd.errors import SerialTaken
from cenergyd.storage.mongodb.customers import SERIAL, MongoCustomerStore
from cenergyd.storage.mongodb.shapes import (
    METER_FIELDS,
    MIGRATED,
    customer_of,
    id_text,
    meter_of,
    password_of,
    text_of,
)

_PAGE = 500

Progress = Callable[[int, int], None]
"""Called with documents seen and documents there are."""


@attrs.frozen(kw_only=True)
class Plan:
    """What a document of an older shape becomes."""

    update: Mapping[str, Any]
    """MongoDB's update."""
    lines: tuple[str, ...]
    """The same for a person, without secrets."""


@attrs.frozen(kw_only=True)
class DocumentReport:
    """What there is to say about one document."""

    customer_id: str
    changes: tuple[str, ...] = ()
    """What changes, or would in a dry run."""
    warnings: tuple[str, ...] = ()
    """What stays wrong, and is for a person to put right."""


@attrs.frozen(kw_only=True)
class MigrationReport:
    """What a run did, or a dry run would do."""

    dry_run: bool
    documents: int
    changed: int
    """Documents rewritten (to be rewritten)."""
    reports: tuple[DocumentReport, ...]
    """One for each document with anything to say."""
    duplicates: Mapping[str, tuple[str, ...]]
    """Serial number -> ids of the customers that name it, where these are several."""
    unique_serials: bool
    """Whether the unique index of serial numbers stands (always False after a dry run that found duplicates)."""

    def lines(self) -> list[str]:
        """The report for a person."""
        would = "would change" if self.dry_run else "changed"
        lines = [f"{report.customer_id}: {line}" for report in self.reports for line in report.changes]
        lines += [f"{report.customer_id}: warning: {line}" for report in self.reports for line in report.warnings]
        for serial, ids in self.duplicates.items():
            lines.append(
                f"logger {serial} is named by {len(ids)} customers ({', '.join(ids)}): uploads go to one of them only. "
                "Clear logger_serial_number in all but the right one, then run this again."
            )
        return [*lines, f"{self.documents} documents, {would} {self.changed}, {len(self.duplicates)} duplicate serials"]


def plan(document: Mapping[str, Any]) -> Plan | None:
    """What a document's fields of ours become; None where they are as they should be."""
    sets: dict[str, Any] = {}
    unsets: dict[str, Any] = {}
    lines: list[str] = []
    for field in METER_FIELDS:
        old, new = document.get(field), meter_of(document.get(field))
        if old == new and isinstance(old, str):
            continue
        sets[field] = new
        lines.append(f"{field}: {_described(old)} -> {new!r}")
        if isinstance(old, list | Mapping) and old:
            sets[f"{MIGRATED}.{field}"] = old
            lines[-1] += f" (the old value, with any api_key, stays in {MIGRATED}.{field})"
    serial = text_of(document.get(SERIAL)).upper()
    if document.get(SERIAL) != serial:
        sets[SERIAL] = serial
        lines.append(f"{SERIAL}: {_described(document.get(SERIAL))} -> {serial!r}")
    password = password_of(document.get("logger_password"))
    if document.get("logger_password") != password:
        sets["logger_password"] = password
        lines.append("logger_password: nothing -> ''" if not password else "logger_password: a number -> text")
    for field in ("pending_since", "pending_until"):
        if field in document and document[field] is None:
            unsets[field] = ""
            lines.append(f"{field}: null -> removed")
    update = {operator: fields for operator, fields in (("$set", sets), ("$unset", unsets)) if fields}
    return Plan(update=update, lines=tuple(lines)) if update else None


def warnings_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """What a migration leaves for a person to put right."""
    found = [f"{fault.field}: {fault}" for fault in faults_of(customer_of(document))]
    for field in METER_FIELDS:
        meters = _all_meters(document.get(field))
        if len(meters) > 1:
            found.append(f"{field}: {len(meters)} meters ({', '.join(meters)}); only the first, {meters[0]}, counts")
    return tuple(found)


async def migrate(store: MongoCustomerStore, *, dry_run: bool, progress: Progress | None = None) -> MigrationReport:
    """Rewrite every document whose fields of ours have an older shape. ``store`` is open.

    A document that somebody else changes at the same moment is left alone and reported: run it again.
    """
    total = await store.count()
    reports: list[DocumentReport] = []
    owners: dict[str, list[str]] = {}
    seen = changed = 0
    last: str | None = None
    while page := await store.raw_page(last, _PAGE):
        for document in page:
            last = id_text(document["_id"])
            report, rewritten = await _one(store, document, dry_run)
            changed += rewritten
            if report.changes or report.warnings:
                reports.append(report)
            serial = customer_of(document).logger_serial_number
            if serial:
                owners.setdefault(serial, []).append(last)
        seen += len(page)
        if progress:
            progress(seen, max(total, seen))
    duplicates = {serial: tuple(ids) for serial, ids in owners.items() if len(ids) > 1}
    unique = not duplicates if dry_run else await store.ensure_unique_index()
    return MigrationReport(
        dry_run=dry_run,
        documents=seen,
        changed=changed,
        reports=tuple(reports),
        duplicates=duplicates,
        unique_serials=unique,
    )


async def _one(store: MongoCustomerStore, document: Mapping[str, Any], dry_run: bool) -> tuple[DocumentReport, bool]:
    customer_id = id_text(document["_id"])
    planned, warnings = plan(document), warnings_of(document)
    if planned is None:
        return DocumentReport(customer_id=customer_id, warnings=warnings), False
    if dry_run:
        return DocumentReport(customer_id=customer_id, changes=planned.lines, warnings=warnings), True
    try:
        rewritten = await store.update_raw(document, planned.update)
    except SerialTaken as error:
        return DocumentReport(customer_id=customer_id, warnings=(*warnings, f"not changed: {error}")), False
    if not rewritten:
        note = "not changed: somebody else changed it meanwhile; run this again"
        return DocumentReport(customer_id=customer_id, warnings=(*warnings, note)), False
    return DocumentReport(customer_id=customer_id, changes=planned.lines, warnings=warnings), True


def _all_meters(value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        return []
    return [meter for meter in map(meter_of, value) if meter]


def _described(value: Any) -> str:
    """An old value without what may be secret in it."""
    if value is None:
        return "nothing"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
