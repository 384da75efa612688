"""Codes by which the owner of an e-mail address or a number confirms that alerts may come there.

A code is eight random digits, good for a day, once, and for five tries; of it only a hash is stored. Codes sent are rationed per customer, and per
address over all customers, so nobody is flooded with them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from cenergyd.customers.model import Customer
from cenergyd.documents.kinds import RECEIVER_CODE
from cenergyd.documents.store import DocumentStore
from cenergyd.errors import Conflict, InvalidField, Overloaded
from cenergyd.hookspecs import Notification
from cenergyd.jobs.alerts.receivers import unconfirmed_channels
from cenergyd.jobs.alerts.rules import channel_id
from cenergyd.jobs.messages import rations
from cenergyd.jobs.messages.outbox import CONFIRMATION, Outbox
from cenergyd.jobs.messages.wording import site_name

CODE_SECONDS = 86400
"""How long a code is good."""
MAX_TRIES = 5
"""Wrong codes for one receiver; then a new one is needed."""
MAX_CODES_PER_DAY = 10
"""Codes sent for one customer."""
MAX_CODES_PER_ADDRESS = 3
"""Codes sent to one address or number in a day, for whichever customers."""
_DIGITS = 8


async def send_code(outbox: Outbox, customer: Customer, channel: Mapping[str, Any], now: int) -> str:
    """Send a new code to a stored receiver that is not confirmed; the message's key. A code sent before is void then.

    Raises InvalidField where it is no such receiver, Overloaded past the rations.
    """
    named = channel_id(channel)
    stored = next((each for each in unconfirmed_channels(customer) if channel_id(each) == named), None)
    if stored is None:
        raise InvalidField("channel", "is confirmed already, or none of the stored channels")
    documents = outbox.documents
    await documents.purge(RECEIVER_CODE, now)
    await rations.purge(documents, now)
    address = hashlib.sha256(str(stored["to"]).lower().encode()).hexdigest()[:32]
    if not await rations.take(documents, customer.id, "code", MAX_CODES_PER_DAY, now):
        raise Overloaded(f"{MAX_CODES_PER_DAY} codes were sent today; try again tomorrow")
    if not await rations.take(documents, f"to {address}", "code", MAX_CODES_PER_ADDRESS, now):
        raise Overloaded(f"{MAX_CODES_PER_ADDRESS} codes were sent there today; try again tomorrow")
    code = "".join(secrets.choice("0123456789") for _ in range(_DIGITS))
    body = {"hash": _hash(customer.id, named, code), "tries": 0}
    await documents.put(RECEIVER_CODE, _key(customer.id, named), body, owner=customer.id, due=now + CODE_SECONDS)
    return await outbox.enqueue(_message(customer, named, code, now), stored, now)


async def use_code(documents: DocumentStore, customer_id: str, channel: Mapping[str, Any], code: str, now: int) -> None:
    """Take a receiver's code out of use. Raises InvalidField for one that is wrong, too old, used, or tried too often."""
    named = channel_id(channel)
    wrong = InvalidField("code", "is wrong, older than a day, used already or tried too often: have a new one sent")
    document = await documents.get(RECEIVER_CODE, _key(customer_id, named))
    if document is None or (document.due or 0) <= now or document.body["tries"] >= MAX_TRIES:
        raise wrong
    digits = "".join(code.split())
    right = hmac.compare_digest(_hash(customer_id, named, digits), document.body["hash"])
    try:
        if right:
            await documents.delete(RECEIVER_CODE, document.key, expected_version=document.version)
            return
        # Counted before it is answered, one after the other: tries side by side are no more than others.
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
        f"Somebody wants energy alerts of the site {site} to come here. Whoever agrees enters the code on the site's page Alerts, or tells it to "
        "them. It is good for a day. Without it nothing more comes, so whoever did not ask for this need do nothing.\n"
    )
    return Notification(
        f"{CONFIRMATION}-{customer.id}-{named}-{secrets.token_hex(8)}",
        customer.id,
        CONFIRMATION,
        "Confirm that energy alerts may come here",
        text,
        {"customer": customer.id, "kind": CONFIRMATION, "at": now},
    )


def _key(customer_id: str, named: str) -> str:
    return f"{customer_id}/{named}"


def _hash(customer_id: str, named: str, code: str) -> str:
    return hashlib.sha256(f"{customer_id}\0{named}\0{code}".encode("utf-8", "replace")).hexdigest()
