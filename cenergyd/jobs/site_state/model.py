"""The facts about a site, and its state. Values only; :mod:`.evaluate` determines the state from the facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import attrs
import msgspec

from cenergyd.customers.model import Customer, Role

IssueKind = Literal[
    "logger_silent",
    "meter_error",
    "meter_stopped",
    "meter_not_understood",
    "not_computed",
    "solar_zero",
    "settings_incomplete",
    "waiting",
    "never_uploaded",
    "computing",
    "good",
]
KINDS: tuple[IssueKind, ...] = (
    "logger_silent",
    "meter_error",
    "meter_stopped",
    "meter_not_understood",
    "not_computed",
    "solar_zero",
    "settings_incomplete",
    "waiting",
    "never_uploaded",
    "computing",
    "good",
)
"""Worst first: a site with several issues is in the state of the first one."""

Level = Literal["bad", "warn", "idle", "ok"]
LEVELS: Mapping[IssueKind, Level] = {
    "logger_silent": "bad",
    "meter_error": "bad",
    "meter_stopped": "bad",
    "meter_not_understood": "bad",
    "not_computed": "bad",
    "solar_zero": "warn",
    "settings_incomplete": "warn",
    "waiting": "warn",
    "never_uploaded": "idle",
    "computing": "idle",
    "good": "ok",
}


PRESENT_SECONDS = 2 * 3600
"""A reading is the present power for at most this long, whatever the logger's upload interval; for this long if that is not known yet."""


class LoggedError(NamedTuple):
    """An error row in a meter's log."""

    code: int
    time: int
    """UTC seconds: of the newest such row."""


class HeldSummary(NamedTuple):
    """Logs that are held unread because their columns are not known."""

    since: int
    """When the first of them arrived, UTC seconds."""
    logs: int


class Refusal(NamedTuple):
    """The latest upload of the logger that was refused."""

    time: int
    """UTC seconds."""
    reason: str


class Outage(NamedTuple):
    """A time without uploads of a logger, longer than usual, UTC seconds."""

    start: int
    """The last upload before it."""
    end: int
    """The first upload after it."""
    last: int
    """The last of the uploads that have followed it without a pause since."""


@attrs.frozen(slots=True, kw_only=True)
class LoggerFacts:
    """Facts about the customer's present logger."""

    last_upload: int | None = None
    """Time of the last upload, UTC seconds; None if it has never uploaded."""
    usual_gap: int | None = None
    """The usual longest time between two of its uploads, s; None if not known yet."""
    own_limit: int | None = None
    """Seconds after which it is silent by its customer's own alert rule; None if the rule is off."""
    outage: Outage | None = None
    """The last one that has ended."""


@attrs.frozen(slots=True, kw_only=True)
class MeterStatus:
    """Facts about a meter that measures a role, or is a part of a role's sum."""

    role: Role
    meter: str
    """The meter id."""
    last_time: int | None = None
    """Time of the newest reading, UTC seconds."""
    power: float | None = None
    """Real power of that reading, kW, its sign corrected."""
    last_upload: int | None = None
    """When the last log of this meter arrived."""
    interval: int | None = None
    """The usual time between two of its readings, seconds."""
    error: LoggedError | None = None
    held: HeldSummary | None = None


@attrs.frozen(slots=True, kw_only=True)
class SumFacts:
    """Facts about a role that is a sum of meters."""

    role: Role
    last_time: int | None = None
    """Time of the newest reading of the sum, UTC seconds."""
    power: float | None = None
    """Real power of that reading, kW."""


@attrs.frozen(slots=True, kw_only=True)
class ComputedFacts:
    """Facts about the computed role."""

    role: Role
    last_time: int | None = None
    """Time of the newest computed reading, UTC seconds."""
    power: float | None = None
    """Real power of that reading, kW."""
    failing_plugin: str = ""
    """The plugin that fails to compute it; '' if none does."""
    failing_since: int | None = None
    """UTC seconds."""
    no_plugin: bool = False
    """Whether no plugin computes this role."""


class PendingRange(NamedTuple):
    """A range of readings that are being computed or waiting for it, ``start <= time < end``, UTC seconds."""

    start: int
    end: int
    done: int
    """Everything before this is computed."""


@attrs.frozen(slots=True, kw_only=True)
class SiteFacts:
    """All facts from which a site's state is determined."""

    customer: Customer
    logger: LoggerFacts = attrs.field(factory=LoggerFacts)
    meters: tuple[MeterStatus, ...] = ()
    """The meters of the measured roles; a role that is a sum has several."""
    sums: tuple[SumFacts, ...] = ()
    computed: ComputedFacts | None = None
    backlog: PendingRange | None = None
    refusal: Refusal | None = None
    solar_zero_since: int | None = None
    """The time since which solar has given no power although the sun is up, unlike on the days before; otherwise None."""

    @property
    def newest(self) -> int | None:
        """The time of the newest reading of any meter; None if there is none."""
        return max((meter.last_time for meter in self.meters if meter.last_time is not None), default=None)


class Issue(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One problem of a site."""

    kind: IssueKind
    role: Role | None = None
    meter: str = ""
    since: int | None = None
    """When it began, UTC seconds; None if unknown."""
    code: int | None = None
    """The error code in the meter's log."""
    reason: str = ""
    """Details of the cause: what is missing in the settings, why uploads are refused; ``no_plugin``, ``stored_logs``, ``next_upload``."""
    plugin: str = ""
    """The plugin that fails."""
    field: str = ""
    """The setting to change, if it is one."""

    @property
    def level(self) -> Level:
        """How bad it is."""
        return LEVELS[self.kind]


class RoleState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """The present state of a role."""

    role: Role
    computed: bool
    """Whether the role is computed from the other two."""
    time: int | None
    """Time of the newest reading, UTC seconds."""
    power: float | None
    """kW."""
    stale: bool
    """Whether the reading is not the present power: it is older than :data:`PRESENT_SECONDS` or than the logger's upload interval explains, or
    other readings of the site are newer."""

    def is_stale(self, now: int) -> bool:
        """Whether the reading is not the power at ``now``, which may be later than the evaluation."""
        return self.stale or (self.time is not None and now - self.time > PRESENT_SECONDS)

    def present_power(self, now: int) -> float | None:
        """The power at ``now``, kW; None if unknown."""
        return None if self.time is None or self.is_stale(now) else self.power


class SiteState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """The state of a site."""

    kind: IssueKind
    """That of the first issue, or ``good``."""
    issues: tuple[Issue, ...]
    """Worst first; empty if the site has no problem."""
    roles: tuple[RoleState, ...]
    last_upload: int | None
    """Time of the logger's last upload, UTC seconds; None if it has never uploaded."""
    usual_gap: int | None
    """The usual longest time between two of its uploads, s; None if unknown."""
    progress: float | None = None
    """Progress of the backlog, 0 to 1; None if there is none."""
    lag_seconds: int | None = None
    """Seconds from the newest computed reading to the newest measured one."""
    next_change: int | None = None
    """When the state may change without new data, UTC seconds; None: never."""

    @property
    def level(self) -> Level:
        """How bad it is."""
        return LEVELS[self.kind]
