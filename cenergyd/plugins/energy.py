"""Stores the energy of every meter per hour, labelled by the customer's tariff."""

from __future__ import annotations

from cenergyd.customers.model import Customer
from cenergyd.hookspecs import JobContext, hookimpl
from cenergyd.jobs.energy.job import update_energy


@hookimpl
async def cenergyd_job(customer: Customer, start: int, end: int, context: JobContext) -> None:
    """Recompute the hours that the range touches."""
    await update_energy(customer, start, end, context)
