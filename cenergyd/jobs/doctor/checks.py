"""Is a site wired and named as its settings say? Pure functions on what the meters measured.

``Power`` is, for each measured role, time (UTC s, multiples of one step) -> real power in kW, signs as the settings say. Every site obeys
load = solar + utility with a load that is never negative, solar that is never negative and nothing at night, and a grid that
is not fed at night. So all exchanges of meters and all turns of CTs are tried, and the one that fits is what is likely true.
Sites that feed a battery into the grid at night break the last rule; nothing is reported unless another wiring fits far better.
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

Power = Mapping[Role, Mapping[int, float]]
Severity = Literal["error", "warning", "info", "ok"]
NIGHT_HOURS = (22, 23, 0, 1, 2, 3)
MIN_POINTS = 20
"""So many readings by night and by day are needed to say anything."""
SAMPLE = 400
"""Readings on which wirings are compared: enough for days of minutes, and bounded work."""
FITS = 0.03
"""Share of the power that may contradict the rules before a wiring is doubted (noise, meters read seconds apart)."""
MAX_LAG_STEPS = 15
MAX_CHANGES = 1500
"""The newest changes of a meter that clocks are compared by: a day of minutes."""


@attrs.frozen(slots=True, kw_only=True)
class Finding:
    """One thing found."""

    severity: Severity
    code: str
    field: str = ""
    """The setting that it is about (``facility``, ``logger_serial_number``, ...), or ''."""
    message: str
    advice: str = ""
    evidence: Mapping[str, object] = attrs.field(factory=dict)
    """Numbers behind it, JSON values."""


class Wiring(NamedTuple):
    """A guess at the truth: which meter really measures a role, and which roles have their CT turned round."""

    measured_by: Mapping[Role, Role]
    """role -> the role under which its meter is named now."""
    turned: frozenset[Role]

    @property
    def exchanged(self) -> list[Role]:
        """Roles that another meter measures."""
        return [role for role, named in self.measured_by.items() if role != named]

    @property
    def changes(self) -> int:
        """How far it is from the settings."""
        return len(self.exchanged) + len(self.turned)


class Sample(NamedTuple):
    """Readings of all measured roles at the same times."""

    values: Mapping[Role, Sequence[float]]
    night: Sequence[bool]


def check_wiring(power: Power, zone: ZoneInfo) -> list[Finding]:
    """Exchanged meters and turned CTs."""
    sample = take_sample(power, zone)
    if sample is None:
        return [
            Finding(
                severity="info",
                code="too_little_data",
                message="There are too few readings by day and by night to evaluate the wiring.",
                advice="Look again after the meters have been read for a whole day.",
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


def take_sample(power: Power, zone: ZoneInfo) -> Sample | None:
    """Common readings of night and day, thinned out; None where they are too few or there are fewer than two meters."""
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
    """All exchanges and turns of the measured roles."""
    roles = list(sample.values)
    for order in itertools.permutations(roles):
        for turns in itertools.product((False, True), repeat=len(roles)):
            turned = frozenset(role for role, turn in zip(roles, turns, strict=True) if turn)
            yield Wiring(dict(zip(roles, order, strict=True)), turned)


def contradiction(sample: Sample, wiring: Wiring) -> float:
    """The share of the power that breaks the rules of every site, 0 (fits) and up."""
    values: dict[Role, Sequence[float]] = {}
    for role, named in wiring.measured_by.items():
        found = sample.values[named]
        values[role] = [-value for value in found] if role in wiring.turned else found
    load, solar, utility = _complete(values)
    bad = sum(max(0.0, -value) for value in load) + sum(max(0.0, -value) for value in solar)
    bad += sum(abs(sun) + max(0.0, -grid) for sun, grid, dark in zip(solar, utility, sample.night, strict=True) if dark)
    bad += sum(abs(used - sun - grid) for used, sun, grid in zip(load, solar, utility, strict=True))
    total = sum(abs(value) for series in (load, solar, utility) for value in series)
    return bad / total if total else 0.0


def check_agreement(power: Power) -> list[Finding]:
    """Where all three meters exist: computed against measured load."""
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
    """How two series of changes fit together best."""

    steps: int
    """The second is later by so many steps."""
    best: float
    """Correlation there."""
    unshifted: float
    """Correlation as they are."""
    pairs: int

    @property
    def sure(self) -> bool:
        """Whether there is a shift beyond what chance makes of so many pairs (a deviation is 1 / sqrt(pairs))."""
        chance = 1 / math.sqrt(self.pairs)
        gain = abs(self.best) - abs(self.unshifted)
        return bool(self.steps) and abs(self.best) >= max(0.2, 8 * chance) and gain >= max(0.02, 3 * chance)


def check_clocks(power: Power) -> list[Finding]:
    """Meters whose clocks differ: a change at one is seen at another steadily earlier or later."""
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
    """The shift at which changes of the second go best with changes of the first; None where too few are known.

    Changes and not values, because the sun makes all values of a day go together. A correlation of either sign counts.
    """
    one, two = changes_of(first, step), changes_of(second, step)
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


def step_of(power: Power) -> int:
    """The usual time between two readings, seconds; 0 where there are none."""
    gaps = [
        later - earlier
        for series in power.values()
        for earlier, later in itertools.pairwise(sorted(series))
    ]  # fmt: skip
    return int(median(gaps)) if gaps else 0


def changes_of(series: Mapping[int, float], step: int) -> dict[int, float]:
    """How much the newest values differ from those one step before."""
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
        message=f"{evidence['contradiction_percent']:g} % of the power cannot be (negative load or solar, solar at night, "
        "export at night), and no exchange of meters or CT directions explains it.",
        advice="Check that these meters belong to this site, their CT ratios, and whether there is another source (a battery).",
        evidence=evidence,
    )


def _exchanged(best: Wiring, evidence: Mapping[str, object]) -> list[Finding]:
    if not best.exchanged:
        return []
    words = " and ".join(f"the meter named {best.measured_by[role]} measures {role}" for role in best.exchanged)
    should = {FIELD_OF_ROLE[role]: FIELD_OF_ROLE[best.measured_by[role]] for role in best.exchanged}
    return [
        Finding(
            severity="error",
            code="swapped_meters",
            field=FIELD_OF_ROLE[best.exchanged[0]],
            message=f"Meters look exchanged: {words}.",
            advice="Exchange the meter ids: "
            + ", ".join(f"{field} is to get the meter that {now} has" for field, now in should.items())
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
            message=f"The CT of the meter that measures {role} looks turned round: its power has the wrong sign.",
            advice=f"Turn the CT round, or change whether {role} is marked as reversed in the settings.",
            evidence={**evidence, "role": role},
        )
        for role in ROLES
        if role in best.turned
    ]
