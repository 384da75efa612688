"""Stores the mean power drawn from the grid per 15 minutes."""

from __future__ import annotations

from cenergyd.customers.model import Customer
from cenergyd.hookspecs import JobContext, hookimpl
from cenergyd.jobs.energy.netload import update_net_load


@hookimpl
async def cenergyd_job(customer: Customer, start: int, end: int, context: JobContext) -> None:
    """Recompute the quarter hours that the range touches."""
    await update_net_load(customer, start, end, context)
