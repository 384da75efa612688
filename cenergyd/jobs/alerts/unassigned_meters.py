"""Alerts of meters without a role whose logs are held unread: their columns must be chosen, or somebody must say that they measure no power.

The document of such a meter is due when its alert is to be raised or ended. Meters with a role are evaluated with the site's state.
"""

from __future__ import annotations

from contextlib import suppress

from cenergyd.documents.kinds import ALERT, HELD_METER
from cenergyd.documents.store import Document
from cenergyd.errors import Conflict
from cenergyd.hookspecs import JobContext, WindowVerdict
from cenergyd.ingest.held_meters import is_not_understood
from cenergyd.jobs.alerts.job import AlertKey, Evaluation, apply_verdicts, settings_or_none
from cenergyd.jobs.alerts.rules import NOT_UNDERSTOOD, AlertSettings

MAX_METERS = 200
"""Maximum meters checked in one pass."""


async def check_unassigned_meters(context: JobContext) -> None:
    """Raise and end alerts that are due; called regularly."""
    for document in await context.documents.find(HELD_METER, due_before=context.now + 1, limit=MAX_METERS):
        await _check(document, context)
        with suppress(Conflict):  # changed meanwhile: it is still due
            await context.documents.put(
                HELD_METER, document.key, document.body, owner=document.owner, expected_version=document.version
            )


async def _check(document: Document, context: JobContext) -> None:
    customer = await context.customers.by_serial(document.owner or "")
    if customer is None or customer.role_of(document.key) is not None:
        return
    key = AlertKey(customer.id, NOT_UNDERSTOOD, document.key)
    known = await context.documents.get(ALERT, key.text())
    needed = is_not_understood(document.body)
    if needed or known is not None:
        evaluation = Evaluation(customer, settings_or_none(customer) or AlertSettings(), context)
        verdict = WindowVerdict(context.now, "breach" if needed else "clear")
        await apply_verdicts(evaluation, key, [verdict], known, began=document.body["since"] if needed else None)
