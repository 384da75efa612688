"""Information about a plugin that is installed or required."""

from __future__ import annotations

from typing import Literal

import attrs

PluginState = Literal["loaded", "disabled", "failed", "shadowed", "missing"]
"""shadowed: another plugin has its name. missing: required, and not installed."""


@attrs.frozen(slots=True, kw_only=True)
class PluginInfo:
    """One plugin as ``cenergyd plugins``, the API and the operators' page list it."""

    name: str
    """As in the entry point; what the section ``[plugins]`` names."""
    version: str = ""
    """Of its distribution."""
    distribution: str = ""
    hooks: tuple[str, ...] = ()
    """The hooks it implements; empty if it is not loaded."""
    state: PluginState = "loaded"
    problem: str = ""
    """Why it is not loaded although it is enabled, or what is wrong with it although it is loaded."""
