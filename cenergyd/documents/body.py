"""Encodes bodies of documents as JSON text, the same in every store. Any keys and numbers are possible."""

from __future__ import annotations

import json
from collections.abc import Mapping

from cenergyd.documents.json_text import decoded
from cenergyd.errors import StoreRejected

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def body_text(body: Mapping[str, object]) -> str:
    """A body as JSON. Raises StoreRejected if it cannot be encoded."""
    try:
        return _ENCODER.encode(dict(body))
    except (TypeError, ValueError) as error:
        raise StoreRejected(f"a document's body is not JSON: {error}") from None


def body_of(text: str) -> dict[str, object]:
    """The body of a stored text."""
    body: dict[str, object] = decoded(text)
    return body
