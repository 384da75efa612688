"""How the API and the pages add and change customers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import Customer
from cenergyd.customers.ownership import FOREVER, released_loggers
from cenergyd.derivation import reconfigure
from cenergyd.web.access.auth import Principal
from cenergyd.web.server.problems import FieldError, RequestProblem
from cenergyd.web.views.context import Context

MAX_SETTINGS_BYTES = 512 << 10
"""Tariff, alerts, history of meters and layouts of one customer, as JSON: every derivation reads them."""
SERIAL = "logger_serial_number"
FOREIGN_LOGGER = "the operator has not released this logger to you: ask them to, or to enter it for you"
FOREIGN_LOGGER_CODE = "logger_not_released"
FOREIGN_LOGGER_ANSWER = (
    "Operators name any logger. Others name only one that was theirs before or that an operator has released to them; for every other one, "
    f"whether it exists or not, the answer is 403 with the code `{FOREIGN_LOGGER_CODE}`, and nothing is changed."
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

    operator = caller is not None and caller.is_operator

    async def check(old: Customer, new: Customer) -> None:
        check_size(old, new)
        if not operator:
            refuse_foreign_logger(old, new)

    change = await reconfigure.change_customer(
        context.customers, context.readings, customer_id, changes, _now(context),
        etag=etag, check=check, by_operator=operator,
    )  # fmt: skip
    await context.on_change(*change)
    return change.new


def refuse_foreign_logger(old: Customer, new: Customer) -> None:
    """Raise a 403 problem where a customer names a logger that was never theirs and that nobody has released to them.

    The answer is the same for every such serial number: it tells nothing about loggers that exist.
    """
    serial = new.logger_serial_number
    if not serial or serial == old.logger_serial_number or serial in released_loggers(old):
        return
    if serial in {period.serial for period in setup_periods(old, 0, FOREVER)}:
        return
    raise RequestProblem(403, FOREIGN_LOGGER_CODE, FOREIGN_LOGGER, [FieldError(SERIAL, FOREIGN_LOGGER)])


def check_size(old: Customer, new: Customer) -> None:
    """Raise a 422 problem where a change makes more of a customer's settings and history than :data:`MAX_SETTINGS_BYTES`."""
    size = _size(new)
    if size > MAX_SETTINGS_BYTES and size > _size(old):
        detail = f"a customer's settings and history may have {MAX_SETTINGS_BYTES} bytes in all"
        raise RequestProblem(422, "too_many_settings", detail, [FieldError("extensions", detail)])


def _size(customer: Customer) -> int:
    return len(json.dumps(dict(customer.extensions), default=str))


def _now(context: Context) -> int:
    return int(context.clock.seconds())
