"""The setup checks as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.jobs.doctor.report import doctor
from cenergyd.web.pages import texts
from cenergyd.web.pages.routing import Page, PageCall, PageRoute
from cenergyd.web.views.context import Context

LEVELS: Mapping[str, tuple[str, str]] = {
    "error": ("bad", "Error"),
    "warning": ("warn", "Warning"),
    "info": ("idle", "Note"),
    "ok": ("ok", "Good"),
}


class DoctorPages:
    """A customer's ``doctor``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, call: PageCall, customer_id: str) -> Page:
        """Run the checks and show their findings, worst first."""
        context = self._context
        customer = await context.customer(customer_id)
        report = await doctor(customer, context.readings, context.documents, call.now)
        findings = [(finding, evidence_lines(finding.evidence)) for finding in report.findings]
        values = {
            "report": report,
            "findings": findings,
            "levels": LEVELS,
            "zone": zone_or_utc(customer.time_zone),
        }
        return Page("doctor.html", values, customer=customer, tab="doctor")

    def routes(self) -> Sequence[PageRoute]:
        """The one page."""
        return (PageRoute("GET", "/customers/<customer_id>/doctor", self.show, "signed_in", is_long=True),)


def evidence_lines(evidence: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Evidence as names and values; nested values by their path."""
    lines: list[tuple[str, str]] = []
    for name, value in evidence.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            lines += evidence_lines(value, f"{label} ")
        elif isinstance(value, bool):
            lines.append((label, "yes" if value else "no"))
        elif isinstance(value, int | float):
            lines.append((label, texts.number_text(value, 3) if isinstance(value, float) else str(value)))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            lines.append((label, ", ".join(str(item) for item in value) or texts.NOTHING))
        else:
            lines.append((label, texts.NOTHING if value is None else str(value)))
    return lines
