"""How the API and the pages add and change customers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import Customer
from cenergyd.customers.ownership import FOREVER, owns_or_owned, released_loggers
from cenergyd.derivation import reconfigure
from cenergyd.runtime.attempts import TooManyAttempts
from cenergyd.web.access.auth import Principal
from cenergyd.web.server.problems import FieldError, RequestProblem
from cenergyd.web.views.context import Context

MAX_SETTINGS_BYTES = 512 << 10
"""Tariff, alerts, history of meters and layouts of one customer, as JSON: every derivation reads them."""
SERIAL = "logger_serial_number"
FOREIGN_LOGGER = (
    "the operator has not released this logger to you: ask them to, or let it upload and enter its password here"
)
FOREIGN_LOGGER_CODE = "logger_not_released"
FOREIGN_LOGGER_ANSWER = (
    "Operators name any logger. Others name only one that was theirs before, one that an operator has released to them, or one that belongs to "
    "nobody and has tried to upload with the password that is given with it, within two days; for every other one, "
    f"whether it exists or not, the answer is 403 with the code `{FOREIGN_LOGGER_CODE}`, and nothing is changed."
)
"""For the OpenAPI document."""


async def add_customer(context: Context, customer: Customer) -> Customer:
    """Add a customer; for operators. See :func:`cenergyd.derivation.reconfigure.add_customer`."""
    added = await reconfigure.add_customer(context.customers, context.readings, customer, _now(context))
    await context.on_change(None, added)
    return added


async def change_customer(
    context: Context,
    caller: Principal | None,
    customer_id: str,
    changes: Mapping[str, Any],
    etag: str | None,
    *,
    password: str = "",
) -> Customer:
    """Change a customer and notify listeners. See :func:`cenergyd.derivation.reconfigure.change_customer`.

    :param caller: whose permissions apply; None: nobody's, so changes that only operators may make are refused.
    :param password: the logger's password in clear text, where one is set: it may prove that the logger is the customer's.
    :raises RequestProblem: 403 for a logger that the caller may not name.
    """

    operator = caller is not None and caller.is_operator

    async def check(old: Customer, new: Customer) -> None:
        check_size(old, new)
        if operator or may_name_logger(old, new):
            return
        if not await _proves(context, old.id, new.logger_serial_number, password):
            # The same for every such serial number, so that it does not disclose which loggers exist.
            raise RequestProblem(403, FOREIGN_LOGGER_CODE, FOREIGN_LOGGER, [FieldError(SERIAL, FOREIGN_LOGGER)])

    change = await reconfigure.change_customer(
        context.customers, context.readings, customer_id, changes, _now(context),
        etag=etag, check=check, by_operator=operator,
    )  # fmt: skip
    await context.on_change(*change)
    return change.new


async def _proves(context: Context, customer_id: str, serial: str, password: str) -> bool:
    try:
        return await context.proves_logger(customer_id, serial, password)
    except TooManyAttempts as error:
        raise RequestProblem(
            429, "too_many_guesses", "too many wrong serial numbers or passwords",
            headers={"Retry-After": str(error.retry_seconds)},
        ) from None  # fmt: skip


def may_name_logger(old: Customer, new: Customer) -> bool:
    """Whether the logger of a change was the customer's before, or an operator has released it to them."""
    serial = new.logger_serial_number
    if not serial or owns_or_owned(old, serial) or serial in released_loggers(old):
        return True
    return serial in {period.serial for period in setup_periods(old, 0, FOREVER)}


def check_size(old: Customer, new: Customer) -> None:
    """Raise a 422 problem if a change makes more of a customer's settings and history than :data:`MAX_SETTINGS_BYTES`."""
    size = _size(new)
    if size > MAX_SETTINGS_BYTES and size > _size(old):
        detail = f"a customer's settings and history may have {MAX_SETTINGS_BYTES} bytes in all"
        raise RequestProblem(422, "too_many_settings", detail, [FieldError("extensions", detail)])


def _size(customer: Customer) -> int:
    return len(json.dumps(dict(customer.extensions), default=str))


def _now(context: Context) -> int:
    return int(context.clock.seconds())
