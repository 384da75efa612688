"""The readings of the stores that earlier versions wrote: two meters of one site, and the third as it was computed."""

from __future__ import annotations

from cenergyd.readings.model import Reading

START = 1_780_012_800
"""2026-05-29T00:00Z."""
INTERVAL = 300


def meter_log(meter: int, first: int, last: int, *, registers: bool) -> list[Reading]:
    """Rows ``first`` to ``last`` (exclusive) of meter 1 or 2, of 0 their difference; nothing was logged for a while."""
    found = []
    for k in range(first, last):
        if 20 <= k < 26:
            continue
        time = START + INTERVAL * k
        grid, load = (k * 37 % 101) / 10 - 3.0, (k * 53 % 97) / 10
        P = (load - grid, grid, load)[meter]
        more = {"E_import": 100.0 + 0.5 * k, "E_export": 10.0} if meter and registers else {}
        found.append(Reading(time, P=P, L1_PF=None, L1_V=120.0 + k % 7 / 10, Q=(k * 17 % 31) / 10, **more))
    return found


UNTIL, ALL = 44, 75
"""Number of rows that the earlier version got (to 3:40), and of all rows."""
