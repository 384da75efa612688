"""Receivers of alerts that have to be confirmed, for the API and the pages."""

from __future__ import annotations

from twisted.logger import Logger

from cenergyd.customers.model import Customer
from cenergyd.documents.json_types import ReadOnlyJson
from cenergyd.errors import CenergydError, Conflict
from cenergyd.jobs.alerts.receivers import By, confirm, unconfirmed_channels
from cenergyd.jobs.alerts.rules import channel_id
from cenergyd.jobs.front_end_settings import alerts_json
from cenergyd.jobs.messages.outbox import Outbox
from cenergyd.jobs.messages.receiver_codes import send_code
from cenergyd.web.views.context import Context
from cenergyd.web.views.customer_service import change_customer

_TRIES = 4
log = Logger()


async def confirm_receiver(context: Context, customer_id: str, channel: ReadOnlyJson, by: By) -> Customer:
    """Record that a stored receiver is confirmed. Raises InvalidField if it is none of the stored channels."""
    for _ in range(_TRIES):
        customer = await context.customer(customer_id)
        value = confirm(alerts_json(customer), channel, by, int(context.clock.seconds()))
        try:
            changed = await change_customer(
                context, None, customer_id, {"extensions": {"alerts": value}}, customer.etag
            )
        except Conflict:
            continue
        log.info("{by} confirmed a receiver of customer {customer}", by=by, customer=customer_id)
        return changed
    raise Conflict("somebody else keeps changing this customer; try again")


async def send_codes(outbox: Outbox | None, before: Customer, after: Customer, now: int) -> None:
    """Send codes to the receivers that a change has added. A failure is logged; the code can be sent again."""
    known = {channel_id(channel) for channel in unconfirmed_channels(before)}
    for channel in unconfirmed_channels(after):
        if outbox is None or channel_id(channel) in known:
            continue
        try:
            await send_code(outbox, after, channel, now)
        except CenergydError as error:
            log.warn("no code was sent for customer {customer}: {reason}", customer=after.id, reason=str(error))
