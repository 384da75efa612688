"""Settings of a customer that only operators may change: loggers that it may name, and the derivation plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cenergyd.customers.model import Customer
from cenergyd.customers.ownership import released_loggers
from cenergyd.errors import Conflict, InvalidField
from cenergyd.web.pages.routing import Page, PageCall, PageRoute, Redirect, customer_path
from cenergyd.web.views.context import Context
from cenergyd.web.views.operator_settings import (
    PLUGIN,
    RELEASED_LOGGERS,
    change_operator_settings,
    derivation_plugins,
)

_PATH = "operator"


class OperatorSettingsPages:
    """A customer's ``operator`` page."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, call: PageCall, customer_id: str) -> Page:
        """The form with what is stored."""
        return self._page(call, await self._context.customer(customer_id))

    async def change(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Save, or show the errors."""
        customer = await self._context.customer(customer_id)
        etag, plugin, released = (call.form.get(field, "") for field in ("etag", PLUGIN, RELEASED_LOGGERS))
        try:
            if etag != customer.etag:
                raise Conflict("the customer was changed meanwhile")
            await change_operator_settings(
                self._context,
                call.principal,
                customer,
                plugin=plugin,
                released=released.replace(",", " ").split(),
                etag=etag,
            )
        except Conflict:
            customer = await self._context.customer(customer_id)
            return self._page(
                call, customer, call.form, {"": "Somebody else changed this customer meanwhile. Save again."}, 409
            )
        except InvalidField as error:
            return self._page(call, customer, call.form, {error.field: str(error)}, 422)
        return Redirect(customer_path(customer_id, _PATH) + "?done=saved")

    def _page(
        self,
        call: PageCall,
        customer: Customer,
        typed: Mapping[str, str] | None = None,
        errors: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Page:
        stored = {PLUGIN: customer.derivation_plugin, RELEASED_LOGGERS: " ".join(sorted(released_loggers(customer)))}
        values: dict[str, object] = {
            "etag": customer.etag,
            "values": {**stored, **(typed or {})},
            "chosen": customer.derivation_plugin,
            "plugins": derivation_plugins(self._context),
            "errors": errors or {},
            "done": call.query("done"),
        }
        return Page("operator_settings.html", values, status, customer, "settings")

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        path = f"/customers/<customer_id>/{_PATH}"
        return (PageRoute("GET", path, self.show, "operator"), PageRoute("POST", path, self.change, "operator"))
