"""Rewrites agreed fields in older formats. Can be repeated, and is safe beside a running front end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from cenergyd.customers.validation import faults_of
from cenergyd.errors import ChangedElsewhere, Conflict, SerialTaken
from cenergyd.storage.mongodb.customer_documents import CustomerDocuments
from cenergyd.storage.mongodb.ids import id_text
from cenergyd.storage.mongodb.own_document import UNWRITTEN, customer_of, own_of_shared
from cenergyd.storage.mongodb.shared_document import (
    AGREED_FIELDS,
    METER_FIELDS,
    PASSWORD,
    SERIAL,
    meter_of,
    settings_of,
)

_PAGE = 500

ReportMigrated = Callable[[int, int], None]
"""Called with the number of documents done, and the total."""


@attrs.frozen(kw_only=True)
class MigrationPlan:
    """The new values of agreed fields in older formats."""

    changes: Mapping[str, str]
    """Field -> value in the present format."""
    lines: tuple[str, ...]
    """The same for display, without secrets."""


@attrs.frozen(kw_only=True)
class DocumentReport:
    """The report on one document."""

    customer_id: str
    changes: tuple[str, ...] = ()
    """What was changed, or would be in a dry run."""
    warnings: tuple[str, ...] = ()
    """Faults that remain and must be corrected by a person."""


@attrs.frozen(kw_only=True)
class MigrationReport:
    """The report of a run, or of a dry run."""

    dry_run: bool
    documents: int
    changed: int
    """Number of documents rewritten, or that would be."""
    reports: tuple[DocumentReport, ...]
    """One for each document with a change or fault."""
    duplicates: Mapping[str, tuple[str, ...]]
    """Serial number -> ids of the customers that have it, if there are several."""

    def lines(self) -> list[str]:
        """The report as text."""
        would = "would change" if self.dry_run else "changed"
        lines = [f"{report.customer_id}: {line}" for report in self.reports for line in report.changes]
        lines += [f"{report.customer_id}: warning: {line}" for report in self.reports for line in report.warnings]
        for serial, ids in self.duplicates.items():
            lines.append(
                f"logger {serial} is set for {len(ids)} customers ({', '.join(ids)}): its uploads go to only one of them. "
                "Clear logger_serial_number in all but the right one, then run this again."
            )
        return [*lines, f"{self.documents} documents, {would} {self.changed}, {len(self.duplicates)} duplicate serials"]


def plan(document: Mapping[str, object]) -> MigrationPlan | None:
    """The new values of a document's agreed fields; None if all are in the present format. Absent fields stay absent."""
    settings = settings_of(document)
    changes: dict[str, str] = {}
    lines: list[str] = []
    for field in AGREED_FIELDS:
        old, new = document.get(field), settings[field]
        if old is None or old == new:
            continue
        changes[field] = new
        if field == PASSWORD:
            lines.append(f"{field}: a {type(old).__name__} -> text")
            continue
        lines.append(f"{field}: {_described(old)} -> {new!r}")
        if field in METER_FIELDS and isinstance(old, list | Mapping) and old:
            lines[-1] += " (the old value, with any api_key, is kept in cenergyd_customer)"
    return MigrationPlan(changes=changes, lines=tuple(lines)) if changes else None


def warnings_of(document: Mapping[str, object]) -> tuple[str, ...]:
    """Faults that a migration does not correct."""
    found = [f"{fault.field}: {fault}" for fault in faults_of(customer_of(own_of_shared(document)))]
    for field in METER_FIELDS:
        meters = _all_meters(document.get(field))
        if len(meters) > 1:
            found.append(f"{field}: {len(meters)} meters ({', '.join(meters)}); only the first, {meters[0]}, is used")
    return tuple(found)


async def migrate(
    documents: CustomerDocuments, *, dry_run: bool, progress: ReportMigrated | None = None
) -> MigrationReport:
    """Rewrite every document whose agreed fields are in an older format.

    A document that another program changes at the same moment is not rewritten but reported; run this again.
    """
    total = int(await documents.run_shared(lambda shared: shared.count_documents({})))
    reports: list[DocumentReport] = []
    owners: dict[str, list[str]] = {}
    seen = changed = 0
    async for batch in documents.shared_batches():
        for document in batch:
            report, rewritten = await _one(documents, document, dry_run)
            changed += rewritten
            if report.changes or report.warnings:
                reports.append(report)
            if serial := settings_of(document)[SERIAL]:
                owners.setdefault(serial, []).append(report.customer_id)
        seen += len(batch)
        if progress:
            progress(seen, max(total, seen))
    return MigrationReport(
        dry_run=dry_run,
        documents=seen,
        changed=changed,
        reports=tuple(reports),
        duplicates={serial: tuple(sorted(ids)) for serial, ids in owners.items() if len(ids) > 1},
    )


async def _one(
    documents: CustomerDocuments, document: Mapping[str, object], dry_run: bool
) -> tuple[DocumentReport, bool]:
    customer_id = id_text(document["_id"])
    planned, warnings = plan(document), warnings_of(document)
    if planned is None:
        return DocumentReport(customer_id=customer_id, warnings=warnings), False
    note = "" if dry_run else await _rewrite(documents, document, planned)
    if note:
        return DocumentReport(customer_id=customer_id, warnings=(*warnings, f"not changed: {note}")), False
    return DocumentReport(customer_id=customer_id, changes=planned.lines, warnings=warnings), True


async def _rewrite(documents: CustomerDocuments, document: Mapping[str, object], planned: MigrationPlan) -> str:
    """Write what is planned; returns the reason if that was not possible."""
    meanwhile = "somebody else changed it meanwhile; run this again"
    own = (await documents.own_of([document])).get(id_text(document["_id"]))
    if own is None or UNWRITTEN in own:
        return meanwhile
    try:
        if not await documents.update_own(own, {}, unwritten=planned.changes):
            return meanwhile
        await documents.write_unwritten({**own, UNWRITTEN: dict(planned.changes)})
    except (SerialTaken, ChangedElsewhere, Conflict) as error:
        return str(error)
    return ""


def _all_meters(value: object) -> list[str]:
    if not isinstance(value, list | tuple):
        return []
    return [meter for meter in map(meter_of, value) if meter]


def _described(value: object) -> str:
    """An old value without what may be secret in it."""
    if value is None:
        return "nothing"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
