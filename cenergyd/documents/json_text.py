"""Decodes JSON text that a store holds."""

from __future__ import annotations

import json
from typing import Any

import msgspec

_decode = msgspec.json.Decoder().decode


def decoded(text: str) -> Any:
    """The value of a JSON text, as :func:`json.loads` returns it, in a tenth to a third of the time.

    :raises ValueError: it is no JSON.
    """
    try:
        return _decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return json.loads(text)  # half of a surrogate pair, NaN, or a number that is too large for a float
