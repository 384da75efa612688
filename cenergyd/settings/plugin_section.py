"""The sections ``[plugin:NAME]``: text until the plugin, once loaded, has declared its options."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class PluginSection:
    """Options of a plugin, as [plugin:NAME]; 'cenergyd plugins --options' prints what each plugin declares."""

    values: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """Key -> text, with ``@file:`` and its like resolved."""
    origins: Mapping[str, str] = attrs.field(factory=dict, eq=False)
    """Key -> its origin, for messages."""
    hidden: frozenset[str] = frozenset()
    """Keys whose text came from elsewhere (``@file:``), and is not shown."""
