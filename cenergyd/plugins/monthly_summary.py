"""Sends customers who want it a summary of each month's energy by e-mail."""

from __future__ import annotations

from cenergyd.hookspecs import JobContext, hookimpl
from cenergyd.jobs.energy.monthly_summary import send_summaries


@hookimpl
async def cenergyd_periodic(context: JobContext) -> None:
    """Send the summaries that are due."""
    await send_summaries(context)
