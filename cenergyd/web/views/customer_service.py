"""How the API and the pages add and change customers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cenergyd.customers.meter_history import FOREVER, setup_periods
from cenergyd.customers.model import Customer
from cenergyd.derivation import reconfigure
from cenergyd.web.access.auth import Principal
from cenergyd.web.server.problems import FieldError, RequestProblem
from cenergyd.web.views.context import Context

SERIAL = "logger_serial_number"
FOREIGN_LOGGER = "this logger has stored readings already: ask the operator to assign it"
FOREIGN_LOGGER_CODE = "logger_has_readings"
FOREIGN_LOGGER_ANSWER = (
    "A logger that has stored readings already is assigned by operators: to anybody else who names one that was never theirs the "
    f"answer is 403 with the code `{FOREIGN_LOGGER_CODE}`, and nothing is changed."
)
"""For the OpenAPI document."""


async def add_customer(context: Context, customer: Customer) -> Customer:
    """Add a customer; for operators. See :func:`cenergyd.derivation.reconfigure.add_customer`."""
    added = await reconfigure.add_customer(context.customers, context.readings, customer, _now(context))
    await context.on_change(None, added)
    return added


async def change_customer(
    context: Context, caller: Principal | None, customer_id: str, changes: Mapping[str, Any], etag: str | None
) -> Customer:
    """Change a customer and notify the listeners. See :func:`cenergyd.derivation.reconfigure.change_customer`.

    :param caller: whose permissions apply; None: nobody's, so that what only operators may do is refused.
    :raises RequestProblem: 403 for a logger that the caller may not name.
    """

    async def check(old: Customer, new: Customer) -> None:
        if caller is None or not caller.is_operator:
            await refuse_foreign_logger(context, old, new)

    change = await reconfigure.change_customer(
        context.customers, context.readings, customer_id, changes, _now(context), etag=etag, check=check
    )
    await context.on_change(*change)
    return change.new


async def refuse_foreign_logger(context: Context, old: Customer, new: Customer) -> None:
    """Raise a 403 problem where a customer would come to see what a logger has stored for somebody else.

    Series are named by the logger, so whoever names a logger reads all that it has ever stored. The customer's own loggers, the
    present one and those of the history, are free to them, and so is one that has stored nothing.
    """
    serial = new.logger_serial_number
    if not serial or serial == old.logger_serial_number:
        return
    if serial in {span.serial for span in setup_periods(old, 0, FOREVER)}:
        return
    if await context.readings.series_of(serial):
        raise RequestProblem(403, FOREIGN_LOGGER_CODE, FOREIGN_LOGGER, [FieldError(SERIAL, FOREIGN_LOGGER)])


def _now(context: Context) -> int:
    return int(context.clock.seconds())
