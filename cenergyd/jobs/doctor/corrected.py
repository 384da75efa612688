"""Reports corrected readings, which matter when looking for a fault. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from cenergyd.derivation.corrector import Listed
from cenergyd.jobs.alerts.text import local_time_text
from cenergyd.jobs.doctor.checks import Finding
from cenergyd.readings.corrections import LATEST, effect

MOST = 20
"""Maximum corrections that are listed individually."""


def correction_findings(corrections: Sequence[Listed], zone: ZoneInfo) -> list[Finding]:
    """A finding for each active correction, the latest first; beyond :data:`MOST` only their number."""
    latest = sorted(corrections, key=lambda each: (each.correction.at, each.id), reverse=True)
    found = [_finding(each, zone) for each in latest[:MOST]]
    if len(latest) > MOST:
        more = len(latest) - MOST
        message = f"{more} more corrections change readings of this period."
        found.append(Finding(severity="info", code="corrected", message=message, evidence={"more": more}))
    return found


def _finding(listed: Listed, zone: ZoneInfo) -> Finding:
    each = listed.correction
    meter = listed.series.partition("_")[2]
    until = "on" if each.end >= LATEST else f"to {local_time_text(each.end, zone)}"
    message = (
        f"Readings of meter {meter} from {local_time_text(each.start, zone)} {until} are corrected: {effect(each)}."
        f" Made by {each.by} on {local_time_text(each.at, zone)}: {each.reason}"
    )
    return Finding(
        severity="info", code="corrected", message=message if message.endswith(".") else f"{message}.",
        advice="Nothing to do if that is right; otherwise undo it on the Corrections page.",
        evidence={"correction": listed.id},
    )  # fmt: skip
