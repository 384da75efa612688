"""Types of JSON values whose members are not described by a class, such as a document's body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonObject = dict[str, Any]
"""A JSON object with values as :mod:`json` decodes them."""
ReadOnlyJson = Mapping[str, Any]
"""A JSON object that is only read."""
