"""Which settings a reload changes at once, and which need a restart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from cenergyd.settings.sections import Settings

LIVE: Final = frozenset(
    {
        "layout", "logging",
        "upload.max_future_seconds", "upload.remote_configuration", "upload.unknown_meters",
        "upload.held_days", "upload.held_mb",
        "server.max_connections", "server.request_timeout_seconds", "server.shutdown_grace_seconds",
    }
)  # fmt: skip
"""Sections and settings that a reload changes at once; ``[logging]`` is applied by ``cenergyd run``."""


def need_restart(running: Settings, wanted: Settings) -> list[str]:
    """Changed settings that a reload does not apply, as ``[section] key``."""
    found: list[str] = []
    for section in attrs.fields(Settings):
        name, old, new = section.name, getattr(running, section.name), getattr(wanted, section.name)
        if name in LIVE or old == new:
            continue
        if isinstance(old, Mapping):
            found += [f"[{name}:{member}]" for member in sorted({*old, *new}) if old.get(member) != new.get(member)]
            continue
        keys = [field.name for field in attrs.fields(type(old)) if getattr(old, field.name) != getattr(new, field.name)]
        found += [f"[{name}] {key}" for key in keys if f"{name}.{key}" not in LIVE]
    return found
