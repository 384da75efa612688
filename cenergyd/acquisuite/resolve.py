"""Determines the columns of a meter's log: known, unknown, or of a device that measures no power. Nothing is guessed.

The first source with any information decides: the meter's config file, the header row of the log, the point names of an XML message,
the ini's section for the device class, the built-in table. A customer's own choice of columns takes precedence over all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs
import msgspec

from cenergyd.acquisuite.layouts import BUILT_IN, NOT_POWER_METERS, Layout, LayoutTable, built_in, class_key
from cenergyd.acquisuite.points import FIRST_POINT, Description, Point, describe_columns

ResolutionState = Literal["known", "other", "unknown"]


class MeterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a log itself says about its meter. Texts are untrusted."""

    device_class: str = ""
    device_type: str = ""
    points: int | None = None
    """Number of columns after the alarms in its complete rows; None if it has none."""
    header: tuple[Point, ...] = ()
    """The names in its header row."""
    named: tuple[Point, ...] = ()
    """The names in an XML message."""


@attrs.frozen(slots=True, kw_only=True)
class ConfigPoints:
    """The points in a meter's config file."""

    points: tuple[Point, ...]
    """Points with a name or a unit."""
    count: int
    """Total number of points."""
    device_class: str = ""
    """MODBUSDEVICECLASS as sent with the file; '' if it was not sent."""

    def belong_to(self, facts: MeterFacts) -> bool:
        """Whether a log may be from the meter that the file describes: same class, and no more points."""
        mine, theirs = class_key(self.device_class), class_key(facts.device_class)
        if mine and theirs and mine != theirs:
            return False
        return facts.points is None or facts.points <= self.count


@attrs.frozen(slots=True, kw_only=True)
class Resolution:
    """The columns of a log, as far as known."""

    state: ResolutionState
    """``known``; ``other``: the device measures no power; ``unknown``."""
    layout: Layout | None = None
    """None unless the state is ``known``."""
    reason: str
    """Where the layout comes from, or why there is none: one line for people, which may contain a device's text."""
    doubts: tuple[str, ...] = ()
    """Values that are not used although some column may hold them."""
    points: range | None = None
    """How many points a row of the log may have for the layout to apply; None: any number, because a person chose the columns."""


def resolve(facts: MeterFacts, config: ConfigPoints | None, table: LayoutTable) -> Resolution:
    """Determine the columns of a log, without the customer's choice."""
    found = _resolved(facts, config, table)
    if found.layout is None or facts.points is None or facts.named:
        return found
    # A row of a known meter may lack its last points. But if the layout was identified by the number of points, a row that does
    # not reach all of its columns may be another meter's.
    needed = found.layout.last_column + 1 - FIRST_POINT if found.layout in BUILT_IN.values() else 1
    return attrs.evolve(found, points=range(min(needed, facts.points), facts.points + 1))


def _resolved(facts: MeterFacts, config: ConfigPoints | None, table: LayoutTable) -> Resolution:
    for source, points in _descriptions(facts, config):
        found = _from_description(source, describe_columns(points))
        if found is not None:
            return found
    section = table.section_for(facts.device_class)
    if section is not None:
        return Resolution(state="known", layout=section, reason=f"section [layout:{section.name}]")
    layout = built_in(facts.device_class, facts.device_type, facts.points)
    if layout is not None:
        return Resolution(state="known", layout=layout, reason=f"built-in layout {layout.name}")
    what = NOT_POWER_METERS.get(class_key(facts.device_class))
    if what is not None:
        return Resolution(state="other", reason=f"device class {class_key(facts.device_class)}: {what}")
    if table.for_unknown is not None:
        name = table.for_unknown.name
        return Resolution(state="known", layout=table.for_unknown, reason=f"[upload] unknown_meters = {name}")
    return Resolution(state="unknown", reason=_why_unknown(facts, config))


def with_choice(resolution: Resolution, choice: Mapping[str, int]) -> Resolution:
    """The resolution with the customer's own columns (value -> column, in kW, kvar, V and kWh), which take precedence.

    A choice without a column for real power does not make a meter known.
    """
    if not choice:
        return resolution
    base = resolution.layout
    if base is None and "P" not in choice:
        return resolution
    columns = {**(base.columns if base else {}), **choice}
    scales = {value: scale for value, scale in (base.scales if base else {}).items() if value not in choice}
    name = f"{base.name}, with the customer's choice" if base else "the customer's choice"
    doubts = () if base is None else resolution.doubts
    return Resolution(state="known", layout=Layout(name, columns, scales), reason=name, doubts=doubts)


def _descriptions(facts: MeterFacts, config: ConfigPoints | None) -> list[tuple[str, tuple[Point, ...]]]:
    own = config.points if config is not None and config.belong_to(facts) else ()
    sources = [("config file", own), ("header row of the log", facts.header), ("names in the message", facts.named)]
    return [(source, points) for source, points in sources if any(_says_something(point) for point in points)]


def _says_something(point: Point) -> bool:
    return bool(point.name.strip(" -") or point.units.strip(" -"))


def _from_description(source: str, description: Description) -> Resolution | None:
    """The result of a description that names a point. It is never completed from the table."""
    doubts = tuple(description.doubts.values())
    if "P" in description.doubts or (doubts and not description.columns):
        return Resolution(state="unknown", reason=f"the {source} does not say which column it is", doubts=doubts)
    if not description.columns:
        return Resolution(state="other", reason=f"the {source} names no electrical quantity")
    layout = Layout(source, description.columns, description.scales)
    return Resolution(state="known", layout=layout, reason=source, doubts=doubts)


def _why_unknown(facts: MeterFacts, config: ConfigPoints | None) -> str:
    if config is not None and not config.belong_to(facts):
        return "the config file is of another device class or has fewer points; waiting for the new one"
    what = f"device class {facts.device_class}" if facts.device_class else "no device class"
    points = f" with {facts.points} points" if facts.points is not None else ""
    return f"{what}{points} is not in the table, and no config file has come yet"
