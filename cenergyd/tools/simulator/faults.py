"""Faults of simulated sites, and how often they occur."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs


@attrs.frozen(slots=True, kw_only=True)
class Faults:
    """Frequencies of faults, as shares from 0 to 1. The affected sites and uploads depend on the seed."""

    lost_replies: float = 0.0
    """Share of uploads at which the logger hangs up before the response, so it keeps the file although the server may have accepted it."""
    resends: float = 0.0
    """Share of acknowledged uploads whose file is sent again."""
    outages: float = 0.0
    """Share of upload sessions that do not happen, so that a backlog grows."""
    error_rows: float = 0.0
    """Share of rows at which the meter did not answer."""
    max_clock_skew: int = 0
    """Maximum error of a logger's clock in either direction, s."""
    encodings: tuple[Literal["gz", "plain", "xml"], ...] = ("gz",)
    """The encodings of logs; each site's logger uses one of them."""
    http10_sites: float = 0.0
    """Share of sites whose logger uses HTTP/1.0."""


NO_FAULTS: Final = Faults()
KINDS: Final[Mapping[str, Mapping[str, object]]] = {
    "lost": {"lost_replies": 0.05},
    "resend": {"resends": 0.05},
    "outage": {"outages": 0.25},
    "gap": {"error_rows": 0.01},
    "skew": {"max_clock_skew": 12},
    "encoding": {"encodings": ("gz", "gz", "plain", "xml")},
    "http10": {"http10_sites": 0.5},
}
"""The values of ``--faults``, and the faults that each adds."""


def parse_faults(words: str) -> Faults:
    """The faults of ``none``, ``all``, or some kinds separated by commas. Raises ValueError with the possible values."""
    chosen = [word.strip() for word in words.split(",") if word.strip()]
    if "all" in chosen:
        chosen = list(KINDS)
    changes: dict[str, Any] = {}
    for word in chosen:
        if word != "none" and word not in KINDS:
            raise ValueError(f"{word!r} is not a fault; the faults are none, all, {', '.join(KINDS)}")
        changes.update(KINDS.get(word, {}))
    return Faults(**changes)
