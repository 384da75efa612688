"""What customers have written, as it may stand in a message: a name, never a text of its own. Pure.

Messages go out in the operator's name. A site's name is anything a customer types, so it must not be able to make an advertisement, a link or a
telephone number of a message to somebody else: it stands shortened and between fixed words.
"""

from __future__ import annotations

import re
import unicodedata

from cenergyd.customers.model import Customer

MAX_NAME = 40
"""Characters of a name in a message."""
_TOO_LONG = 400
"""No more of a name is looked at."""
_LINK = re.compile(r"[/\\@#<>\[\]{}|^~`\"=%&*:;!?]")
_DOT = re.compile(r"\.(?=[^\s.])")
_DIGITS = re.compile(r"\d(?:[\s().+-]{0,2}\d){6,40}")


def plain_name(text: str) -> str:
    """A name without control and direction characters, links, addresses and telephone numbers, in :data:`MAX_NAME` characters."""
    kept = "".join(
        character if unicodedata.category(character)[0] in "LMNPSZ" else " " for character in text[:_TOO_LONG]
    )
    kept = _DIGITS.sub(" ", _DOT.sub(" ", _LINK.sub(" ", kept)))
    kept = " ".join(kept.split())
    return kept if len(kept) <= MAX_NAME else kept[: MAX_NAME - 1].rstrip() + "…"


def site_name(customer: Customer) -> str:
    """What a message calls a customer's site: its name, or its logger, or its id."""
    return plain_name(customer.name) or customer.logger_serial_number or f"customer {customer.id}"
