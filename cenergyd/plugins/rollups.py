"""Aggregates the readings of every meter to minutes, hours and days."""

from __future__ import annotations

from cenergyd.customers.model import Customer
from cenergyd.hookspecs import JobContext, hookimpl
from cenergyd.jobs.rollups.job import roll_up


@hookimpl
async def cenergyd_job(customer: Customer, start: int, end: int, context: JobContext) -> None:
    """Recompute the rollups that the range touches."""
    await roll_up(customer, start, end, context)
