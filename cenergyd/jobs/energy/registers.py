"""Energy by a meter's kWh registers from reading to reading, for bills. Pure.

Between two readings, the register is interpolated by power: its advance up to a time is the share of the integral of P up to that time. So the
register has one value at each time, and the counts of neighbouring ranges add up to the difference of the readings.

If a register was reset, jumps, or is missing in more than MAX_MISSING consecutive readings, nothing is counted: energy is only known by power.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import pairwise, repeat
from math import fsum
from operator import itemgetter, mul, sub
from typing import Final, NamedTuple

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.energy.energy import energy
from cenergyd.jobs.energy.gap_bridging import PLAUSIBLE_FACTOR, Line, has_registers, net_advance, register_advance
from cenergyd.readings.model import Reading

MAX_MISSING = 2
"""Maximum consecutive readings without registers that are skipped."""
LEAST_PLAUSIBLE = 1.0
"""kWh by which a register may always advance, because many meters count in whole kWh."""
PLAUSIBLE_SECONDS = 3600
"""Minimum seconds for which the plausible advance is computed, because a register that counts whole kWh advances by one at once."""

Pair = tuple[Reading, Reading]
_TIME, _STEP_END = itemgetter(0), itemgetter(1)

LEAST_AREA = 1e-9
"""kWh. If the integral of power in a direction is less, it cannot be used to interpolate the register, which is then spread evenly."""


class Step(NamedTuple):
    """The advance of the registers between two readings, kWh; None for registers that the meter does not have."""

    start: int
    """UTC seconds."""
    end: int
    import_kwh: float | None
    export_kwh: float | None
    net_kwh: float | None
    """Import less export, if the meter has only a net register."""


_new_step: Final = partial(tuple.__new__, Step)


class Counted(NamedTuple):
    """Energy by the registers over a range of times, and by power for the rest of it."""

    seconds: int
    """Seconds for which the registers count."""
    import_kwh: float | None
    """None if the meter has no such register."""
    export_kwh: float | None
    net_kwh: float | None
    uncounted_import_kwh: float
    """Energy by power for the times at which registers do not count."""
    uncounted_export_kwh: float


def steps_between(
    readings: Sequence[Reading], longest: int, window: TimeRange, scaled: Sequence[tuple[int, int]] = ()
) -> tuple[list[Step], list[Pair]]:
    """The steps of a series' registers that reach into a window, ascending, and the pairs of readings to pass to :func:`step_by_highest_power`.

    The parameters are those of :func:`register_pairs`.
    """
    if not scaled and (small := _small_steps(_near(readings, window))) is not None:
        return small, []
    found: list[Step] = []
    doubtful: list[Pair] = []
    for pair in register_pairs(readings, longest, window, scaled):
        step = step_by_own_power(pair)
        if step is None:
            doubtful.append(pair)
        else:
            found.append(step)
    return found, doubtful


def _small_steps(readings: Sequence[Reading]) -> list[Step] | None:
    """The steps between readings if all of these have both registers, which advance by so little that any power makes it plausible; else None.

    So it is in most hours.
    """
    imported, exported = [reading[7] for reading in readings], [reading[8] for reading in readings]
    if len(readings) < 2 or None in imported or None in exported:
        return None
    more_imported, more_exported = list(map(sub, imported[1:], imported)), list(map(sub, exported[1:], exported))
    if min(*more_imported, *more_exported) < 0 or max(*more_imported, *more_exported) > LEAST_PLAUSIBLE:
        return None
    times = [reading[0] for reading in readings]
    return list(map(_new_step, zip(times, times[1:], more_imported, more_exported, repeat(None))))


def register_pairs(
    readings: Sequence[Reading], longest: int, window: TimeRange, scaled: Sequence[tuple[int, int]] = ()
) -> list[Pair]:
    """The pairs of readings between which registers can be compared, as far as they reach into a window, ascending.

    :param readings: readings of one meter, ascending, sign-corrected.
    :param longest: maximum seconds over which readings without registers are skipped.
    :param scaled: ranges (start, end) in which readings are scaled by a correction; no step crosses one.
    """
    near = _near(readings, window)
    if not scaled and None not in [reading[7] for reading in near]:  # the usual case
        return list(pairwise(near))
    found: list[Pair] = []
    for (first, before), (last, after) in pairwise(_with_registers(readings, window)):
        missing = last - first - 1
        if missing and (missing > MAX_MISSING or after.time - before.time > 2 * longest):
            continue
        if not scaled or not crosses(before.time, after.time, scaled):
            found.append((before, after))
    return found


def crosses(start: int, end: int, scaled: Sequence[tuple[int, int]]) -> bool:
    """Whether a range of times overlaps one in which readings are scaled by a correction, because their registers count wrong energy."""
    return any(since < end and start < until for since, until in scaled)


def step_by_own_power(pair: Pair) -> Step | None:
    """The step between two readings if it is plausible by their own power; otherwise the meter's highest power has to be looked up."""
    before, after = pair
    return _step(before, after, max(abs(before.P or 0.0), abs(after.P or 0.0)))


def added_steps(pair: Pair, factors: Sequence[float], steps: Sequence[Step]) -> Step | None:
    """The step of a sum of meters; None if the meters have different registers that cannot be added.

    :param pair: the sum's readings at its ends.
    :param factors: the meters' factors.
    :param steps: the meters' steps, each with the direction in which the meter counts for the sum.
    """
    start, end = pair[0].time, pair[1].time
    sizes = [abs(factor) for factor in factors]
    if all(factor > 0 for factor in factors) or all(factor < 0 for factor in factors):
        imported = _weighted(sizes, [step.import_kwh for step in steps])
        if imported is not None:
            return Step(start, end, imported, _weighted(sizes, [step.export_kwh for step in steps]), None)
    net = _weighted(sizes, [_net_of(step) for step in steps])
    return None if net is None else Step(start, end, None, None, net)


def _near(readings: Sequence[Reading], window: TimeRange) -> Sequence[Reading]:
    """The readings from the last one at or before the window's start to the first one at or after its end."""
    first = max(0, bisect_right(readings, window.start, key=_TIME) - 1)
    return readings[first : bisect_left(readings, window.end, key=_TIME) + 1]


def _with_registers(readings: Sequence[Reading], window: TimeRange) -> list[tuple[int, Reading]]:
    """The readings with registers, with their indexes, from the last one at or before the window's start to the first one at or after its end."""
    position, last = bisect_right(readings, window.start, key=_TIME), bisect_left(readings, window.end, key=_TIME)
    found = [(index, readings[index]) for index in range(position, last) if has_registers(readings[index])]
    before = next((index for index in range(position - 1, -1, -1) if has_registers(readings[index])), None)
    after = next((index for index in range(last, len(readings)) if has_registers(readings[index])), None)
    edges = [[] if index is None else [(index, readings[index])] for index in (before, after)]
    return [*edges[0], *found, *edges[1]]


def step_by_highest_power(pair: Pair, highest: float) -> Step | None:
    """The step between two readings of a meter with this highest power (kW); None if the advance of its registers is implausible."""
    return _step(*pair, highest)


def known_steps(steps: Sequence[Step], lines: Sequence[Line]) -> list[Step]:
    """The steps over times for which power is known throughout; both ascending."""
    if not (steps and lines):
        return []
    starts, ends = [line[0] for line in lines], [line[1] for line in lines]
    if starts[1:] == ends[:-1] and starts[0] <= steps[0][0] and steps[-1][1] <= ends[-1]:
        return list(steps)  # the usual case: no gap
    runs: list[list[int]] = []
    run_end: int | None = None
    for start, end in zip(starts, ends, strict=True):
        if start == run_end:
            runs[-1][1] = run_end = end
        else:
            runs.append([start, run_end := end])
    found, index = [], 0
    for step in steps:
        while index < len(runs) and runs[index][1] < step[1]:
            index += 1
        if index < len(runs) and runs[index][0] <= step[0]:
            found.append(step)
    return found


def counted(steps: Sequence[Step], lines: Sequence[Line], within: TimeRange) -> Counted | None:
    """Energy by the registers over a range of times; None if they count nothing in it.

    If some readings have more registers than others, only the steps with the most registers are used.
    """
    mine = steps[bisect_right(steps, within.start, key=_STEP_END) : bisect_left(steps, within.end, key=_TIME)]
    if not mine:
        return None
    if None in [step[3] for step in mine]:  # some lack an export register
        most = max(map(_number_of_registers, mine))
        mine = [step for step in mine if _number_of_registers(step) == most]
    parts = list(mine)
    for outer in (0, -1):  # the others are within the range
        parts[outer] = _cut(parts[outer], lines, within)
    rest = [energy(lines, *gap) for gap in _between(parts, within)]
    return Counted(
        sum(map(_STEP_END, parts)) - sum(map(_TIME, parts)),
        _sum([part.import_kwh for part in parts]),
        _sum([part.export_kwh for part in parts]),
        _sum([part.net_kwh for part in parts]),
        fsum(each.import_kwh for each in rest),
        fsum(each.export_kwh for each in rest),
    )


def _step(before: Reading, after: Reading, highest: float) -> Step | None:
    seconds = max(after.time - before.time, PLAUSIBLE_SECONDS)
    cap = max(PLAUSIBLE_FACTOR * highest * seconds / 3600, LEAST_PLAUSIBLE)
    if before.E_import is None or after.E_import is None:
        net = net_advance(before.E_net, after.E_net, cap)
        return None if net is None else Step(before.time, after.time, None, None, net)
    imported = register_advance(before.E_import, after.E_import, cap)
    if imported is None:
        return None
    if before.E_export is not None and after.E_export is not None:
        exported = register_advance(before.E_export, after.E_export, cap)
        return None if exported is None else Step(before.time, after.time, imported, exported, None)
    net = net_advance(before.E_net, after.E_net, cap)
    return Step(before.time, after.time, imported, None if net is None else max(0.0, imported - net), None)


def _net_of(step: Step) -> float | None:
    if step.net_kwh is not None:
        return step.net_kwh
    if step.import_kwh is None or step.export_kwh is None:
        return None
    return step.import_kwh - step.export_kwh


def _weighted(sizes: Sequence[float], values: Sequence[float | None]) -> float | None:
    """The sum of values times sizes; None if one is unknown."""
    known = [value for value in values if value is not None]
    return fsum(map(mul, sizes, known)) if len(known) == len(sizes) else None


def _number_of_registers(step: Step) -> int:
    """2: import and export, 1: import, 0: net."""
    return 0 if step.import_kwh is None else 1 if step.export_kwh is None else 2


def _cut(step: Step, lines: Sequence[Line], within: TimeRange) -> Step:
    """The part of a step within a range of times."""
    if within.start <= step.start and step.end <= within.end:
        return step
    start, end = max(step.start, within.start), min(step.end, within.end)
    whole, inside = energy(lines, step.start, step.end), energy(lines, start, end)
    share = (end - start) / (step.end - step.start)
    net = None
    if step.net_kwh is not None:  # a share of a net near 0 is arbitrary, so the difference to power is spread evenly
        missed = step.net_kwh - (whole.import_kwh - whole.export_kwh)
        net = inside.import_kwh - inside.export_kwh + missed * share
    return Step(
        start,
        end,
        _share(step.import_kwh, inside.import_kwh, whole.import_kwh, share),
        _share(step.export_kwh, inside.export_kwh, whole.export_kwh, share),
        net,
    )


def _share(count: float | None, inside: float, whole: float, share: float) -> float | None:
    if count is None:
        return None
    return count * (inside / whole if whole > LEAST_AREA else share)


def _between(parts: Sequence[Step], within: TimeRange) -> list[TimeRange]:
    """The parts of a window that no step covers."""
    ends, starts = [within.start, *map(_STEP_END, parts)], [*map(_TIME, parts), within.end]
    return [TimeRange(end, start) for end, start in zip(ends, starts, strict=True) if end < start]


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) if known else None
