"""E-mails a summary of each month's energy to customers who have switched it on."""

from __future__ import annotations

from cenergyd.hookspecs import JobContext, hookimpl
from cenergyd.jobs.energy.monthly_summary import send_summaries


@hookimpl
async def cenergyd_periodic(context: JobContext) -> None:
    """Send summaries that are due."""
    await send_summaries(context)
