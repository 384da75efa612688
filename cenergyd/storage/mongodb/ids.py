"""Converts customers' ``_id`` values, which may have any type, to texts, and iterates in their order. Pure functions."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from types import UnionType
from uuid import UUID

import bson
from bson import CodecOptions, Decimal128, ObjectId
from bson.binary import UuidRepresentation
from bson.errors import BSONError, InvalidId

_CODEC: CodecOptions[dict[str, object]] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)
# BSON's order of types, as $type numbers; a comparison only matches values of its own type.
# Numbers, text, documents, bytes, ObjectIds, booleans, times.
_TYPE_ORDER = ((1, 16, 18, 19), (2,), (3,), (5,), (7,), (8,), (9,))
_RANKS: tuple[tuple[type | UnionType, int], ...] = (
    (bool, 5), (int | float | Decimal128, 0), (str, 1), (Mapping, 2), (bytes | UUID, 3), (ObjectId, 4),
)  # fmt: skip


def id_text(value: object) -> str:
    """A document's ``_id`` as the text that identifies the customer; :func:`id_value` is the inverse."""
    if isinstance(value, ObjectId):
        return str(value)
    if isinstance(value, str):
        return f"~s{value}" if ObjectId.is_valid(value) or value.startswith("~") or not value else value
    return "~b" + urlsafe_b64encode(bson.encode({"": value}, codec_options=_CODEC)).decode().rstrip("=")


def id_value(text: str) -> object:
    """The inverse of :func:`id_text`; a text that it never returns is itself the ``_id``."""
    if text.startswith("~s"):
        return text[2:]
    if text.startswith("~b"):
        try:
            return bson.decode(urlsafe_b64decode(text[2:] + "=" * (-len(text[2:]) % 4)), _CODEC)[""]
        except (BSONError, ValueError, KeyError):
            return text
    try:
        return ObjectId(text) if len(text) == 24 else text
    except InvalidId:
        return text


def ids_after(after: str | None) -> list[dict[str, object]]:
    """Filters whose combined results, in order, are the documents after an id, whatever types the ids have."""
    if after is None:
        return [{}]
    value = id_value(after)
    later = [number for numbers in _TYPE_ORDER[_type_rank(value) + 1 :] for number in numbers]
    same: dict[str, object] = {"_id": {"$gt": value}}
    return [same, {"_id": {"$type": later}}] if later else [same]


def _type_rank(value: object) -> int:
    return next((rank for kind, rank in _RANKS if isinstance(value, kind)), len(_TYPE_ORDER) - 1)
