"""Settings of a customer that only operators may change: the loggers it may name, and the plugin that computes the missing meter."""

from __future__ import annotations

from collections.abc import Iterable

from cenergyd.customers.fields import clean_serial
from cenergyd.customers.model import Customer
from cenergyd.customers.ownership import released_change
from cenergyd.errors import InvalidField
from cenergyd.web.access.auth import Principal
from cenergyd.web.views.context import Context
from cenergyd.web.views.customer_service import change_customer

PLUGIN = "derivation_plugin"
RELEASED_LOGGERS = "released_loggers"


def derivation_plugins(context: Context) -> list[str]:
    """Plugins that compute a missing meter, in the order of the list of plugins."""
    return [info.name for info in context.plugins if info.state == "loaded" and "cenergyd_derive" in info.hooks]


async def change_operator_settings(
    context: Context,
    caller: Principal,
    customer: Customer,
    *,
    plugin: str | None = None,
    released: Iterable[str] | None = None,
    etag: str | None,
) -> Customer:
    """Change what is given. Raises InvalidField, Conflict.

    :param plugin: the name of the only plugin that may compute the customer's missing meter; '': the first that answers.
    :param released: serial numbers of all loggers that the customer may name although they never had them.
    """
    extensions: dict[str, object] = {}
    if plugin is not None and plugin != customer.derivation_plugin:
        known = derivation_plugins(context)
        if plugin and plugin not in known:
            raise InvalidField(PLUGIN, f"no such plugin; there are {', '.join(known)}")
        extensions["derivation"] = {"plugin": plugin} if plugin else None
    if released is not None:
        extensions |= released_change(_serials(released))
    if not extensions:
        return customer
    return await change_customer(context, caller, customer.id, {"extensions": extensions}, etag)


def _serials(given: Iterable[str]) -> list[str]:
    try:
        return [serial for each in given if (serial := clean_serial(each))]
    except InvalidField as error:
        raise InvalidField(RELEASED_LOGGERS, str(error)) from None
