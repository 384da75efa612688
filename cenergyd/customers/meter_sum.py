"""Sums of meters as a role: ``1+4``, ``2*10``, ``1+4*0.5``, ``1-4``. Pure functions.

A role's field holds one meter id (``1``), or a sum of meters of the customer's logger, each with a factor for a CT ratio that the meter
does not apply, a unit, or a sign. A sum has its own series (:func:`cenergyd.readings.model.sum_series`), computed by
:mod:`cenergyd.derivation.sums`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

MAX_TERMS = 16
"""Maximum meters in one sum."""
MAX_SUM_TEXT = 400
"""Maximum characters of a sum as typed."""
_ADDRESS = r"0{0,8}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9][0-9]?)"
_FACTOR = r"(?![0.]+ *([+-]|$))[0-9]{1,7}(\.[0-9]{1,6})?"
_TERM = rf" *{_ADDRESS} *(\* *{_FACTOR} *)?"
SUM_PATTERN = rf"[+-]?{_TERM}([+-]{_TERM}){{0,{MAX_TERMS - 1}}}"
"""This regular expression has the same meaning in Python and JavaScript."""
_ONE = re.compile(r"([+-]?)([0-9]+)(?:\*([0-9.]+))?")
"""A term without spaces."""
_WHOLE = re.compile(SUM_PATTERN + r"\Z")
_SIGNS = frozenset("+-*")

SUM_NEEDED = (
    "a Modbus address from 1 to 255 is needed (1), or a sum of meters such as 1+4, 1-4, 2*10 or 1+4*0.5; "
    "nothing where no such meter is fitted"
)


class Term(NamedTuple):
    """One meter of a sum."""

    meter: str
    """The meter id, without leading zeros."""
    factor: float
    """Factor of its power and energy, never 0; negative if it is subtracted."""


class InvalidSum(ValueError):
    """The text is not a sum of meters; the message says what to write."""


def is_sum(text: str) -> bool:
    """Whether a role's field is meant as a sum (which may be invalid) and not as a meter id."""
    return not _SIGNS.isdisjoint(text)


@lru_cache(maxsize=4096)
def terms_of(text: str) -> tuple[Term, ...]:
    """The meters of a sum, or of a single meter's id, in the order of the text. Raises InvalidSum."""
    if len(text) > MAX_SUM_TEXT:
        raise InvalidSum(f"at most {MAX_SUM_TEXT} characters")
    if not _WHOLE.match(text):
        if sum(text.count(sign) for sign in "+-") >= MAX_TERMS:
            raise InvalidSum(f"a sum may have at most {MAX_TERMS} meters")
        raise InvalidSum(SUM_NEEDED)
    found = [
        Term(meter.lstrip("0"), float(factor or "1") * (-1 if sign == "-" else 1))
        for sign, meter, factor in _ONE.findall(text.replace(" ", ""))
    ]
    meters = [term.meter for term in found]
    doubled = next((meter for meter in meters if meters.count(meter) > 1), None)
    if doubled is not None:
        raise InvalidSum(f"meter {doubled} is named twice: write it once, with a factor such as {doubled}*2")
    return tuple(found)


def normal_sum(text: str) -> str:
    """A meter's id or a sum as it is stored: no blanks, no leading zeros, no factor 1. Raises InvalidSum."""
    return sum_text(terms_of(text.strip()))


def sum_text(terms: Iterable[Term]) -> str:
    """The inverse of :func:`terms_of`: ``1+4*0.5``."""
    text = ""
    for meter, factor in terms:
        sign = "-" if factor < 0 else ("+" if text else "")
        size = abs(factor)
        # Decimal, because repr() may write an exponent.
        text += f"{sign}{meter}" if size == 1 else f"{sign}{meter}*{_plain(size)}"
    return text


def meter_ids(text: str) -> tuple[str, ...]:
    """The meter ids in a role's field; none if it is empty or an invalid sum."""
    if not text:
        return ()
    if not is_sum(text):
        return (text,)
    try:
        return tuple(term.meter for term in terms_of(text))
    except InvalidSum:
        return ()


def fault_of(text: str) -> str:
    """The fault in a role's stored field; '' if there is none."""
    if not text:
        return ""
    try:
        normal = normal_sum(text)
    except InvalidSum as error:
        return str(error)
    return "" if normal == text else f"write {normal}"


def _plain(number: float) -> str:
    text = f"{Decimal(repr(number)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
