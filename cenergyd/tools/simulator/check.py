"""Compares a fleet's report with the store: every acknowledged reading must be stored once, as sent, and derived if both meters have one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import attrs

from cenergyd.customers.model import FIELD_OF_ROLE, ROLES, Role
from cenergyd.errors import CenergydError
from cenergyd.readings.model import Reading, missing_series, series_name
from cenergyd.readings.store import ReadingStore

_CHUNK = 20000
_SHOWN = 10


class ReportError(CenergydError):
    """The file is not a report of ``cenergyd simulate --report``."""


class ReportedSite(NamedTuple):
    """A site of the report."""

    serial: str
    missing: Role
    meters: Mapping[Role, str]


@attrs.define
class Acknowledged:
    """The acknowledged readings of a report; a reading that was acknowledged twice counts once."""

    sites: dict[str, ReportedSite] = attrs.field(factory=dict)
    series: dict[str, dict[int, Reading]] = attrs.field(factory=dict)
    lines: int = 0

    @property
    def readings(self) -> int:
        """Distinct acknowledged readings."""
        return sum(len(found) for found in self.series.values())


@attrs.define
class Findings:
    """The result of the comparison."""

    readings: int = 0
    """Acknowledged readings compared."""
    lost: int = 0
    """Acknowledged but not in the store."""
    different: int = 0
    """In the store with another value."""
    derivable: int = 0
    """Times at which both of a site's meters were acknowledged."""
    not_derived: int = 0
    """Of these, without a computed reading."""
    wrongly_derived: int = 0
    """Of these, with a computed P that does not obey load = solar + utility."""
    examples: list[str] = attrs.field(factory=list)

    @property
    def good(self) -> bool:
        """Whether the store holds what it should."""
        return not (self.lost or self.different or self.not_derived or self.wrongly_derived)

    def note(self, text: str) -> None:
        """Keep the first few examples for display."""
        if len(self.examples) < _SHOWN:
            self.examples.append(text)


def read_report(lines: Iterable[str]) -> Acknowledged:
    """Read a report. An incomplete last line (the simulator was killed) is ignored. Raises ReportError."""
    found = Acknowledged()
    for number, line, last in _numbered(lines):
        try:
            _take(found, json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            if last and not line.endswith("\n"):
                break
            raise ReportError(f"line {number} of the report is damaged: {error}") from error
    return found


def _numbered(lines: Iterable[str]) -> Iterator[tuple[int, str, bool]]:
    """(number, line, whether it is the last one)."""
    previous: tuple[int, str] | None = None
    for number, line in enumerate(lines, 1):
        if previous is not None:
            yield (*previous, False)
        previous = (number, line)
    if previous is not None:
        yield (*previous, True)


def _take(found: Acknowledged, entry: dict[str, Any]) -> None:
    found.lines += 1
    if "site" in entry:
        meters: dict[Role, str] = {role: entry[FIELD_OF_ROLE[role]] for role in ROLES}
        found.sites[entry["site"]] = ReportedSite(entry["site"], entry["missing"], meters)
        return
    series = found.series.setdefault(entry["series"], {})
    for row in entry["readings"]:
        series[int(row[0])] = Reading.of_values(int(row[0]), row[1:])


async def compare(expected: Acknowledged, store: ReadingStore) -> Findings:
    """Compare with what the store holds now. Raises StoreUnavailable."""
    findings = Findings()
    stored: dict[str, dict[int, Reading]] = {}
    for name, readings in expected.series.items():
        stored[name] = await _stored(store, name, readings)
        _compare_series(name, readings, stored[name], findings)
    for site in expected.sites.values():
        await _compare_derived(site, expected, store, findings)
    return findings


async def _stored(store: ReadingStore, name: str, around: Mapping[int, Reading]) -> dict[int, Reading]:
    found: dict[int, Reading] = {}
    if not around:
        return found
    start, end = min(around), max(around) + 1
    while start < end:
        part = (await store.read([name], start, end, limit=_CHUNK))[name]
        for reading in part:
            if reading.time in found:
                raise ReportError(f"the store gave {name} at {reading.time} twice")
            found[reading.time] = reading
        if len(part) < _CHUNK:
            break
        start = part[-1].time + 1
    return found


def _compare_series(
    name: str, expected: Mapping[int, Reading], stored: Mapping[int, Reading], findings: Findings
) -> None:
    for time, reading in expected.items():
        findings.readings += 1
        there = stored.get(time)
        if there is None:
            findings.lost += 1
            findings.note(f"{name} at {time}: acknowledged, not in the store")
        elif there.values != reading.values:
            findings.different += 1
            findings.note(f"{name} at {time}: acknowledged {reading.values}, stored {there.values}")


async def _compare_derived(site: ReportedSite, expected: Acknowledged, store: ReadingStore, findings: Findings) -> None:
    first, second = (
        expected.series.get(series_name(site.serial, meter), {}) for meter in site.meters.values() if meter
    )
    both = {time: first[time] for time in first.keys() & second.keys()}
    computed = await _stored(store, missing_series(site.serial), both)
    roles = [role for role in ROLES if site.meters[role]]
    for time in both:
        findings.derivable += 1
        there = computed.get(time)
        if there is None or there.P is None:
            findings.not_derived += 1
            findings.note(f"{site.serial} at {time}: both meters acknowledged, {site.missing} not computed")
            continue
        power = {roles[0]: first[time].P or 0.0, roles[1]: second[time].P or 0.0, site.missing: there.P}
        if abs(power["load"] - power["solar"] - power["utility"]) > 1e-6:
            findings.wrongly_derived += 1
            findings.note(f"{site.serial} at {time}: {site.missing} {there.P} kW does not fit {power}")
