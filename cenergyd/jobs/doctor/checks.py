"""Checks whether a site is wired as its settings say, from the meters' readings. Pure functions.

``Power`` is, for each measured role, time (UTC s, multiples of one step) -> real power in kW, with signs according to the settings. Every
site obeys load = solar + utility, where load is never negative, solar is never negative and zero at night, and nothing is exported at night.
So all permutations of the meters and all CT directions are tried; the wiring that fits best is probably the real one. Sites that export from
a battery at night break the last rule; nothing is reported unless another wiring fits far better.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import attrs

from cenergyd.customers.model import FIELD_OF_ROLE, ROLES, Role
from cenergyd.jobs.alerts.checks import DAYLIGHT_HOURS, local_hour

RolePowers = Mapping[Role, Mapping[int, float]]
Severity = Literal["error", "warning", "info", "ok"]
NIGHT_HOURS = (22, 23, 0, 1, 2, 3)
MIN_POINTS = 20
"""Minimum number of readings by night, and by day."""
SAMPLE = 400
"""Maximum readings with which wirings are compared: enough for days of minutes, with a limited amount of work."""
FITS = 0.03
"""Share of the power that may contradict the rules (noise, meters read seconds apart) before a wiring is reported."""
MAX_LAG_STEPS = 15
MAX_CHANGES = 1500
"""Number of a meter's newest changes by which clocks are compared: a day of minutes."""


@attrs.frozen(slots=True, kw_only=True)
class Finding:
    """One finding of the setup report."""

    severity: Severity
    code: str
    field: str = ""
    """The setting concerned (``facility``, ``logger_serial_number``, ...), or ''."""
    message: str
    advice: str = ""
    evidence: Mapping[str, object] = attrs.field(factory=dict)
    """The numbers that it is based on, JSON values."""


class Wiring(NamedTuple):
    """A possible wiring: which meter really measures a role, and which roles have a reversed CT."""

    measured_by: Mapping[Role, Role]
    """Role -> the role to which its meter is assigned now."""
    reversed_roles: frozenset[Role]

    @property
    def exchanged(self) -> list[Role]:
        """Roles that another meter measures."""
        return [role for role, named in self.measured_by.items() if role != named]

    @property
    def changes(self) -> int:
        """The number of differences from the settings."""
        return len(self.exchanged) + len(self.reversed_roles)


class Sample(NamedTuple):
    """Readings of all measured roles at the same times."""

    values: Mapping[Role, Sequence[float]]
    night: Sequence[bool]


def check_wiring(power: RolePowers, zone: ZoneInfo) -> list[Finding]:
    """Finds exchanged meters and reversed CTs."""
    sample = take_sample(power, zone)
    if sample is None:
        return [
            Finding(
                severity="info",
                code="too_little_data",
                message="There are too few readings by day and by night to evaluate the wiring.",
                advice="Check again after the meters have been read for a whole day.",
            )
        ]
    here = Wiring({role: role for role in sample.values}, frozenset())
    now = contradiction(sample, here)
    evidence = {"contradiction_percent": round(now * 100, 1), "readings": len(sample.night)}
    if now <= FITS:
        return [
            Finding(severity="ok", code="wiring", message="Meters and CT directions fit the site.", evidence=evidence)
        ]
    best = min(wirings(sample), key=lambda wiring: (round(contradiction(sample, wiring), 2), wiring.changes))
    then = contradiction(sample, best)
    evidence["contradiction_percent_if_changed"] = round(then * 100, 1)
    if then > max(FITS, now / 4):
        return [_implausible(evidence)]
    return [*_exchanged(best, evidence), *_turned(best, evidence)]


def take_sample(power: RolePowers, zone: ZoneInfo) -> Sample | None:
    """Common readings of night and day, thinned out; None if there are too few, or fewer than two meters."""
    if len(power) < 2:
        return None
    common = sorted(set.intersection(*(set(series) for series in power.values())))
    dark = [time for time in common if local_hour(time, zone) in NIGHT_HOURS]
    light = [time for time in common if local_hour(time, zone) in DAYLIGHT_HOURS]
    if min(len(dark), len(light)) < MIN_POINTS:
        return None
    times = [*_thinned(dark, SAMPLE // 2), *_thinned(light, SAMPLE // 2)]
    night = set(dark)
    return Sample(
        {role: [series[time] for time in times] for role, series in power.items()}, [time in night for time in times]
    )


def wirings(sample: Sample) -> Iterator[Wiring]:
    """All permutations and CT directions of the measured roles."""
    roles = list(sample.values)
    for order in itertools.permutations(roles):
        for signs in itertools.product((False, True), repeat=len(roles)):
            reversed_roles = frozenset(role for role, is_reversed in zip(roles, signs, strict=True) if is_reversed)
            yield Wiring(dict(zip(roles, order, strict=True)), reversed_roles)


def contradiction(sample: Sample, wiring: Wiring) -> float:
    """The share of the power that breaks the rules of every site; 0 fits perfectly."""
    values: dict[Role, Sequence[float]] = {}
    for role, named in wiring.measured_by.items():
        found = sample.values[named]
        values[role] = [-value for value in found] if role in wiring.reversed_roles else found
    load, solar, utility = _complete(values)
    bad = sum(max(0.0, -value) for value in load) + sum(max(0.0, -value) for value in solar)
    bad += sum(abs(sun) + max(0.0, -grid) for sun, grid, dark in zip(solar, utility, sample.night, strict=True) if dark)
    bad += sum(abs(used - sun - grid) for used, sun, grid in zip(load, solar, utility, strict=True))
    total = sum(abs(value) for series in (load, solar, utility) for value in series)
    return bad / total if total else 0.0


def check_agreement(power: RolePowers) -> list[Finding]:
    """Compares the computed with the measured load, if all three meters exist."""
    if set(power) != set(ROLES):
        return []
    common = sorted(set.intersection(*(set(series) for series in power.values())))
    if len(common) < MIN_POINTS:
        return []
    errors = [power["solar"][t] + power["utility"][t] - power["load"][t] for t in common]
    mean_load = sum(abs(power["load"][t]) for t in common) / len(common)
    tolerance = max(0.1, 0.05 * mean_load)
    within = sum(abs(error) <= tolerance for error in errors) / len(errors)
    bias = sum(errors) / len(errors)
    rms = math.sqrt(sum(error * error for error in errors) / len(errors))
    good = within >= 0.9
    return [
        Finding(
            severity="ok" if good else "warning",
            code="agreement",
            message=f"The load computed from solar and utility differs from the measured one by {bias:+.2f} kW on average "
            f"({rms:.2f} kW RMS); {within:.0%} of the readings agree within {tolerance:.2f} kW.",
            advice="" if good else "Check CT ratios, CT directions and which meter is named for which role.",
            evidence={
                "bias_kw": round(bias, 4),
                "rms_kw": round(rms, 4),
                "within_percent": round(within * 100, 1),
                "tolerance_kw": round(tolerance, 3),
                "readings": len(common),
            },
        )
    ]


class Lag(NamedTuple):
    """The shift at which two series of changes correlate best."""

    steps: int
    """Number of steps by which the second is later."""
    best: float
    """Correlation at this shift."""
    unshifted: float
    """Correlation without a shift."""
    pairs: int
    """Number of pairs of changes that were compared."""

    @property
    def sure(self) -> bool:
        """Whether the shift is statistically significant for this number of pairs (the standard deviation is 1 / sqrt(pairs))."""
        chance = 1 / math.sqrt(self.pairs)
        gain = abs(self.best) - abs(self.unshifted)
        return bool(self.steps) and abs(self.best) >= max(0.2, 8 * chance) and gain >= max(0.02, 3 * chance)


def check_clocks(power: RolePowers) -> list[Finding]:
    """Finds meters whose clocks differ: a change at one is seen at another consistently earlier or later."""
    step = step_of(power)
    found = []
    pairs: tuple[tuple[Role, Role], ...] = (("utility", "solar"), ("utility", "load"))
    for first, second in pairs:
        if first not in power or second not in power or not step:
            continue
        lag = best_lag(power[first], power[second], step)
        if lag is None or not lag.sure:
            continue
        seconds = lag.steps * step
        found.append(
            Finding(
                severity="warning",
                code="misaligned_clocks",
                field=FIELD_OF_ROLE[second],
                message=f"The {second} meter's readings come {abs(seconds)} s ({abs(lag.steps)} intervals) "
                f"{'later' if seconds > 0 else 'earlier'} than those of the {first} meter for the same changes.",
                advice="Check the clocks and log intervals of the meters; what is computed from them is wrong by this.",
                evidence={
                    "lag_seconds": seconds,
                    "lag_intervals": lag.steps,
                    "correlation": round(lag.best, 3),
                    "correlation_unshifted": round(lag.unshifted, 3),
                    "pairs": lag.pairs,
                },
            )
        )
    return found


def best_lag(first: Mapping[int, float], second: Mapping[int, float], step: int) -> Lag | None:
    """The shift at which changes of the second correlate best with changes of the first; None if too few are known.

    Changes are used instead of values, because all values of a day correlate through the sun. A correlation may have either sign.
    """
    one, two = power_changes(first, step), power_changes(second, step)
    results = {}
    for steps in range(-MAX_LAG_STEPS, MAX_LAG_STEPS + 1):
        shift = steps * step
        pairs = [(change, two[time + shift]) for time, change in one.items() if time + shift in two]
        if len(pairs) >= 100:
            results[steps] = (_correlation(pairs), len(pairs))
    if 0 not in results:
        return None
    best = max(results, key=lambda steps: (abs(results[steps][0]), -abs(steps)))
    return Lag(best, results[best][0], results[0][0], results[best][1])


def step_of(power: RolePowers) -> int:
    """The usual time between two readings, s; 0 if there are none."""
    gaps = [
        later - earlier
        for series in power.values()
        for earlier, later in itertools.pairwise(sorted(series))
    ]  # fmt: skip
    return int(median(gaps)) if gaps else 0


def power_changes(series: Mapping[int, float], step: int) -> dict[int, float]:
    """The differences of the newest values from those one step before."""
    grid = {time - time % step: value for time, value in series.items()}
    newest = sorted(grid)[-MAX_CHANGES:]
    return {time: grid[time] - grid[time - step] for time in newest if time - step in grid}


def _correlation(pairs: Sequence[tuple[float, float]]) -> float:
    count = len(pairs)
    mean_x, mean_y = sum(x for x, _ in pairs) / count, sum(y for _, y in pairs) / count
    xy = sum((x - mean_x) * (y - mean_y) for x, y in pairs)
    xx, yy = sum((x - mean_x) ** 2 for x, _ in pairs), sum((y - mean_y) ** 2 for _, y in pairs)
    return xy / math.sqrt(xx * yy) if xx > 0 and yy > 0 else 0.0


def _complete(values: Mapping[Role, Sequence[float]]) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
    load, solar, utility = values.get("load"), values.get("solar"), values.get("utility")
    if load is None and solar is not None and utility is not None:
        load = [sun + grid for sun, grid in zip(solar, utility, strict=True)]
    elif solar is None and load is not None and utility is not None:
        solar = [used - grid for used, grid in zip(load, utility, strict=True)]
    elif utility is None and load is not None and solar is not None:
        utility = [used - sun for used, sun in zip(load, solar, strict=True)]
    if load is None or solar is None or utility is None:
        raise ValueError("two roles are needed")
    return load, solar, utility


def _thinned(times: Sequence[int], count: int) -> Sequence[int]:
    return times if len(times) <= count else [times[n * len(times) // count] for n in range(count)]


def _implausible(evidence: Mapping[str, object]) -> Finding:
    return Finding(
        severity="warning",
        code="implausible",
        message=f"{evidence['contradiction_percent']:g} % of the power is impossible (negative load or solar, solar at night, "
        "export at night), and neither swapped meters nor reversed CTs explain it.",
        advice="Check that these meters belong to this site, their CT ratios, and whether there is another source (a battery).",
        evidence=evidence,
    )


def _exchanged(best: Wiring, evidence: Mapping[str, object]) -> list[Finding]:
    if not best.exchanged:
        return []
    words = " and ".join(f"the {best.measured_by[role]} meter measures {role}" for role in best.exchanged)
    should = {FIELD_OF_ROLE[role]: FIELD_OF_ROLE[best.measured_by[role]] for role in best.exchanged}
    return [
        Finding(
            severity="error",
            code="swapped_meters",
            field=FIELD_OF_ROLE[best.exchanged[0]],
            message=f"Meters look swapped: {words}.",
            advice="Swap the meter addresses: "
            + ", ".join(f"{role} gets the meter that {best.measured_by[role]} has now" for role in best.exchanged)
            + ".",
            evidence={**evidence, "take_from": should},
        )
    ]


def _turned(best: Wiring, evidence: Mapping[str, object]) -> list[Finding]:
    return [
        Finding(
            severity="error",
            code="reversed_ct",
            field=FIELD_OF_ROLE[role],
            message=f"The CT of the {role} meter looks reversed: its power has the wrong sign.",
            advice=f"Turn the CT round, or change whether {role} is marked as reversed in the settings.",
            evidence={**evidence, "role": role},
        )
        for role in ROLES
        if role in best.reversed_roles
    ]
