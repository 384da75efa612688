"""Codes with which the owner of an e-mail address or phone number confirms that alerts may be sent there.

A code has eight random digits, is valid for a day and for five attempts, and can be used once; only its hash is stored. The number of codes
is limited per customer, and per address over all customers, so that nobody is flooded with them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping

from cenergyd.customers.model import Customer
from cenergyd.documents.kinds import RECEIVER_CODE
from cenergyd.documents.store import DocumentStore
from cenergyd.errors import Conflict, InvalidField, Overloaded
from cenergyd.hookspecs import Notification
from cenergyd.jobs.alerts.receivers import unconfirmed_channels
from cenergyd.jobs.alerts.rules import channel_id
from cenergyd.jobs.messages import daily_limits
from cenergyd.jobs.messages.outbox import CONFIRMATION, Outbox
from cenergyd.jobs.messages.site_name import site_name

CODE_SECONDS = 86400
"""Seconds for which a code is valid."""
MAX_TRIES = 5
"""Maximum wrong codes for one receiver; then a new code is needed."""
MAX_CODES_PER_DAY = 10
"""Maximum codes sent for one customer in a UTC day."""
MAX_CODES_PER_ADDRESS = 3
"""Maximum codes sent to one address or number in a UTC day, for all customers together."""
_DIGITS = 8


async def send_code(outbox: Outbox, customer: Customer, channel: Mapping[str, object], now: int) -> str:
    """Send a new code to a stored receiver that is not confirmed; returns the message's key. Earlier codes become invalid.

    Raises InvalidField if it is no such receiver, Overloaded if a limit is reached.
    """
    named = channel_id(channel)
    stored = next((each for each in unconfirmed_channels(customer) if channel_id(each) == named), None)
    if stored is None:
        raise InvalidField("channel", "is already confirmed, or is not one of the stored channels")
    documents = outbox.documents
    await documents.purge(RECEIVER_CODE, now)
    await daily_limits.purge(documents, now)
    address = hashlib.sha256(str(stored["to"]).lower().encode()).hexdigest()[:32]
    if not await daily_limits.count_message(documents, customer.id, "code", MAX_CODES_PER_DAY, now):
        raise Overloaded(f"{MAX_CODES_PER_DAY} codes were sent today; try again tomorrow")
    if not await daily_limits.count_message(documents, f"to {address}", "code", MAX_CODES_PER_ADDRESS, now):
        raise Overloaded(f"{MAX_CODES_PER_ADDRESS} codes were sent there today; try again tomorrow")
    code = "".join(secrets.choice("0123456789") for _ in range(_DIGITS))
    body = {"hash": _hash(customer.id, named, code), "tries": 0}
    await documents.put(RECEIVER_CODE, _key(customer.id, named), body, owner=customer.id, due=now + CODE_SECONDS)
    return await outbox.enqueue(_message(customer, named, code, now), stored, now)


async def use_code(
    documents: DocumentStore, customer_id: str, channel: Mapping[str, object], code: str, now: int
) -> None:
    """Use up a receiver's code. Raises InvalidField if it is wrong, expired or already used, or after too many attempts."""
    named = channel_id(channel)
    wrong = InvalidField("code", "is wrong, older than a day, already used or tried too often: request a new one")
    document = await documents.get(RECEIVER_CODE, _key(customer_id, named))
    if document is None or (document.due or 0) <= now or document.body["tries"] >= MAX_TRIES:
        raise wrong
    digits = "".join(code.split())
    right = hmac.compare_digest(_hash(customer_id, named, digits), document.body["hash"])
    try:
        if right:
            await documents.delete(RECEIVER_CODE, document.key, expected_version=document.version)
            return
        # The attempt is counted first, by compare-and-set, so that simultaneous attempts are all counted.
        await documents.put(
            RECEIVER_CODE, document.key, {**document.body, "tries": document.body["tries"] + 1},
            owner=document.owner, due=document.due, expected_version=document.version,
        )  # fmt: skip
    except Conflict:
        raise wrong from None
    raise wrong


def _message(customer: Customer, named: str, code: str, now: int) -> Notification:
    site = site_name(customer)
    text = (
        f"The code is {code[:4]} {code[4:]}.\n\n"
        f"Somebody wants energy alerts of the site {site} to be sent here. If you agree, enter the code on the site's Alerts page, or pass it on "
        "to them. It is valid for a day. Without it nothing more is sent, so if you did not ask for this you need do nothing.\n"
    )
    return Notification(
        f"{CONFIRMATION}-{customer.id}-{named}-{secrets.token_hex(8)}",
        customer.id,
        CONFIRMATION,
        "Confirm that energy alerts may be sent here",
        text,
        {"customer": customer.id, "kind": CONFIRMATION, "at": now},
    )


def _key(customer_id: str, named: str) -> str:
    return f"{customer_id}/{named}"


def _hash(customer_id: str, named: str, code: str) -> str:
    return hashlib.sha256(f"{customer_id}\0{named}\0{code}".encode("utf-8", "replace")).hexdigest()
