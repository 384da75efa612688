"""Faults of simulated sites, and how often they occur."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs


@attrs.frozen(slots=True, kw_only=True)
class Faults:
    """Shares are 0 to 1. Which site or upload is hit follows from the seed."""

    lost_replies: float = 0.0
    """Of uploads: the logger hangs up before the answer, so it keeps the file though the server may have taken it."""
    resends: float = 0.0
    """Of acknowledged uploads: the same file is sent once more."""
    outages: float = 0.0
    """Of upload sessions: they do not happen, and a backlog grows."""
    error_rows: float = 0.0
    """Of rows: the meter did not answer."""
    max_clock_skew: int = 0
    """Seconds by which a logger's clock may be wrong, either way."""
    encodings: tuple[Literal["gz", "plain", "xml"], ...] = ("gz",)
    """A site's logger has one of them."""
    http10_sites: float = 0.0
    """Of sites: their logger speaks HTTP/1.0."""


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
"""What ``--faults`` takes: words, and what each adds."""


def faults_of(words: str) -> Faults:
    """``none``, ``all``, or some kinds separated by commas. Raises ValueError with what there is."""
    chosen = [word.strip() for word in words.split(",") if word.strip()]
    if "all" in chosen:
        chosen = list(KINDS)
    changes: dict[str, Any] = {}
    for word in chosen:
        if word != "none" and word not in KINDS:
            raise ValueError(f"{word!r} is not a fault; the faults are none, all, {', '.join(KINDS)}")
        changes.update(KINDS.get(word, {}))
    return Faults(**changes)
