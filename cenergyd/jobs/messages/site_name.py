"""The name of a site in messages. Pure.

Messages are sent in the operator's name. Customers choose the name of a site freely, so it must not turn a message to somebody else into an
advertisement, or put a link or phone number into it: the name is shortened and only used within fixed texts.
"""

from __future__ import annotations

import re
import unicodedata

from cenergyd.customers.model import Customer

MAX_NAME = 40
"""Maximum characters of a name in a message."""
_TOO_LONG = 400
"""Maximum characters of a name that are processed."""
_LINK = re.compile(r"[/\\@#<>\[\]{}|^~`\"=%&*:;!?]")
_DOT = re.compile(r"\.(?=[^\s.])")
_DIGITS = re.compile(r"\d(?:[\s().+-]{0,2}\d){6,40}")


def plain_name(text: str) -> str:
    """A name of at most :data:`MAX_NAME` characters, without control and direction characters, links, addresses and phone numbers."""
    kept = "".join(
        character if unicodedata.category(character)[0] in "LMNPSZ" else " " for character in text[:_TOO_LONG]
    )
    kept = _DIGITS.sub(" ", _DOT.sub(" ", _LINK.sub(" ", kept)))
    kept = " ".join(kept.split())
    return kept if len(kept) <= MAX_NAME else kept[: MAX_NAME - 1].rstrip() + "…"


def site_name(customer: Customer) -> str:
    """The name of a customer's site in messages: its name, otherwise its logger, otherwise its id."""
    return plain_name(customer.name) or customer.logger_serial_number or f"customer {customer.id}"
