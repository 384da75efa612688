"""A site's state: what is known of it, and what that comes to. Values only; :mod:`.evaluate` makes the one from the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import attrs
import msgspec

from cenergyd.customers.model import Customer, Role

Kind = Literal[
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
KINDS: tuple[Kind, ...] = (
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
"""Worst first: a site with several troubles is in the state of the first of them."""

Level = Literal["bad", "warn", "idle", "ok"]
LEVELS: Mapping[Kind, Level] = {
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


class LoggedError(NamedTuple):
    """An error row in a meter's log."""

    code: int
    time: int
    """UTC seconds: of the newest such row."""


class HeldSummary(NamedTuple):
    """Logs that are kept as they came, because their columns are not known."""

    since: int
    """UTC seconds: when the first of them came."""
    logs: int


class Refusal(NamedTuple):
    """The latest upload of the logger that was refused."""

    time: int
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class LoggerFacts:
    """What is known of the logger that the settings name."""

    last_upload: int | None = None
    """UTC seconds; None: it has never uploaded."""
    usual_gap: int | None = None
    """The usual longest time between two of its uploads, seconds; None: not known yet."""
    own_limit: int | None = None
    """Seconds after which its customer's own alert rule calls it silent; None: the rule is off."""


@attrs.frozen(slots=True, kw_only=True)
class MeterStatus:
    """What is known of a meter that measures a role, or a part of it."""

    role: Role
    meter: str
    """The meter id."""
    last_time: int | None = None
    """Time of the newest reading, UTC seconds."""
    power: float | None = None
    """Real power of that reading, kW, its sign corrected."""
    last_upload: int | None = None
    """When a log of this meter came last."""
    interval: int | None = None
    """The usual time between two of its readings, seconds."""
    error: LoggedError | None = None
    held: HeldSummary | None = None


@attrs.frozen(slots=True, kw_only=True)
class SumFacts:
    """What is known of a role that is a sum of meters."""

    role: Role
    last_time: int | None = None
    power: float | None = None


@attrs.frozen(slots=True, kw_only=True)
class ComputedFacts:
    """What is known of the computed role."""

    role: Role
    last_time: int | None = None
    power: float | None = None
    failing_plugin: str = ""
    failing_since: int | None = None
    no_plugin: bool = False


class PendingRange(NamedTuple):
    """Readings that are being computed or wait for it, ``start <= time < end``, UTC seconds."""

    start: int
    end: int
    done: int
    """Everything before this is computed."""


@attrs.frozen(slots=True, kw_only=True)
class SiteFacts:
    """Everything that a site's state is evaluated by."""

    customer: Customer
    logger: LoggerFacts = attrs.field(factory=LoggerFacts)
    meters: tuple[MeterStatus, ...] = ()
    """Of the measured roles; several of a role that is a sum."""
    sums: tuple[SumFacts, ...] = ()
    computed: ComputedFacts | None = None
    backlog: PendingRange | None = None
    refusal: Refusal | None = None
    solar_zero_since: int | None = None
    """Set where solar has given nothing since then though the sun is up, unlike on the days before."""


class Issue(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One thing that is not as it should be."""

    kind: Kind
    role: Role | None = None
    meter: str = ""
    since: int | None = None
    """UTC seconds; None where that is not known."""
    code: int | None = None
    """The error code that the meter's log has."""
    reason: str = ""
    """More of the cause: what the settings lack, why uploads are refused; ``no_plugin``, ``stored_logs``."""
    plugin: str = ""
    """The one that fails."""
    field: str = ""
    """The setting to change, if it is one."""

    @property
    def level(self) -> Level:
        """How bad it is."""
        return LEVELS[self.kind]


class RoleState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What is known now of a role."""

    role: Role
    computed: bool
    time: int | None
    """Time of the newest reading, UTC seconds."""
    power: float | None
    """kW."""
    stale: bool
    """Older than its logger's rhythm explains: not what flows now."""


class SiteState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What a site's facts come to."""

    kind: Kind
    issues: tuple[Issue, ...]
    """Worst first; none where all is well."""
    roles: tuple[RoleState, ...]
    last_upload: int | None
    usual_gap: int | None
    progress: float | None = None
    """Of the backlog, 0 to 1."""
    lag_seconds: int | None = None
    """From the newest computed reading to the newest measured one."""
    next_change: int | None = None
    """When time alone will change this, UTC seconds; None: never."""

    @property
    def level(self) -> Level:
        """How bad it is."""
        return LEVELS[self.kind]
