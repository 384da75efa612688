"""Alerts customers to abnormal net load, power factor or voltage, and to faults of meters and loggers."""

from __future__ import annotations

from cenergyd.customers.model import Customer
from cenergyd.hookspecs import JobContext, hookimpl
from cenergyd.jobs.alerts.job import evaluate_readings, maintain_alerts
from cenergyd.jobs.alerts.unassigned_meters import check_unassigned_meters


@hookimpl
async def cenergyd_job(customer: Customer, start: int, end: int, context: JobContext) -> None:
    """Evaluate new readings by the customer's rules."""
    await evaluate_readings(customer, start, end, context)


@hookimpl
async def cenergyd_periodic(context: JobContext) -> None:
    """Evaluate meters whose columns are unknown, and send unsent messages."""
    await check_unassigned_meters(context)
    await maintain_alerts(context)
