"""Information about a store, for operators."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen(kw_only=True)
class StoreInfo:
    """One store."""

    name: str
    """``customers`` or ``readings``."""
    engine: str
    """``SQLite``, ``MongoDB`` or ``InfluxDB``."""
    bytes: int | None = None
    """Size of its files; None for a server, which has metrics of its own."""
    reusable_bytes: int | None = None
    """The part of it that is free for new rows; None if unknown."""
    keep_days: Mapping[str, int] = attrs.field(factory=dict)
    """Retention of the kinds that are not kept for ever."""
    freed_rows: Mapping[str, int] = attrs.field(factory=dict)
    """Rows freed since the start, by kind."""
    waiting: str = ""
    """Why nothing can be freed now, for people; otherwise ''."""
