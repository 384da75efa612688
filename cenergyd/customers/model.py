"""A customer: one site with a logger and up to three meters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any, Final, Literal, NamedTuple

import attrs

from cenergyd.customers.meter_sum import fault_of, is_sum, meter_ids

Role = Literal["utility", "load", "solar"]
ROLES: tuple[Role, ...] = ("utility", "load", "solar")
FIELD_OF_ROLE: Mapping[Role, str] = {"utility": "facility", "load": "load", "solar": "solar"}
MISSING_METER = "missing_meter"
SUM = "sum"


class SetupProblem(NamedTuple):
    """A reason why no meter can be computed with the settings, and the field to change."""

    field: str
    """The field to change, as named in :class:`Customer`."""
    code: Literal["two_empty", "same_meter", "no_logger", "no_password", "invalid"]
    message: str
    """The reason, for people."""


@attrs.frozen(slots=True, kw_only=True)
class MeterSetup:
    """The meters of the roles from a time on, and whose CTs are reversed."""

    effective_from: int = 0
    """UTC seconds."""
    utility: str = ""
    load: str = ""
    solar: str = ""
    reversed_roles: frozenset[Role] = frozenset()
    """Roles whose P and Q are read with the opposite sign because their current transformers are mounted the wrong way round."""
    layouts: Mapping[str, Mapping[str, int]] = attrs.field(factory=dict)
    """meter id -> channel -> column: chosen by the customer; used before any built-in layout."""

    def meter_of(self, role: Role) -> str:
        """The meter id of a role, or its sum of meters (:mod:`cenergyd.customers.meter_sum`); '' if none is fitted."""
        meter: str = getattr(self, role)
        return meter

    @cached_property
    def missing_role(self) -> Role | None:
        """The role to compute; None unless exactly one role has no meter and the other two have different meters."""
        utility, load, solar = self.utility, self.load, self.solar
        if (not utility) + (not load) + (not solar) != 1:
            return None
        meters = [meter for text in (utility, load, solar) for meter in meter_ids(text)]
        if len(set(meters)) != len(meters):
            return None
        return "utility" if not utility else "load" if not load else "solar"

    @property
    def has_sums(self) -> bool:
        """Whether a role is a sum of meters."""
        return is_sum(self.utility) or is_sum(self.load) or is_sum(self.solar)

    def series_of(self, role: Role, serial: str) -> str | None:
        """The series of a logger that holds a role: a meter's, its sum's, the computed one for the missing role, or None."""
        suffix = self.series_suffixes.get(role) if serial else None
        return None if suffix is None else f"{serial}_{suffix}"

    @cached_property
    def series_suffixes(self) -> Mapping[Role, str]:
        """What follows the serial number in the name of the series that holds a role, for each role that has one."""
        found: dict[Role, str] = {}
        for role in ROLES:
            if meter := self.meter_of(role):
                found[role] = f"{role}_{SUM}" if is_sum(meter) else meter
            elif role == self.missing_role:
                found[role] = MISSING_METER
        return found

    @cached_property
    def all_series_suffixes(self) -> tuple[str, ...]:
        """As :attr:`series_suffixes`, of every role's series and of the meters of sums, each once."""
        found: dict[str, None] = {}
        for role in ROLES:
            found |= dict.fromkeys([self.series_suffixes[role]] if role in self.series_suffixes else [])
            found |= dict.fromkeys(meter_ids(self.meter_of(role)))
        return tuple(found)

    @cached_property
    def problems(self) -> tuple[SetupProblem, ...]:
        """The reasons why no third meter can be computed from these meters, in the order in which to fix them."""
        found: list[SetupProblem] = []
        fitted = [role for role in ROLES if self.meter_of(role)]
        meters = [meter for role in ROLES for meter in dict.fromkeys(meter_ids(self.meter_of(role)))]
        if len(fitted) < 2:
            found.extend(
                SetupProblem(
                    FIELD_OF_ROLE[role], "two_empty", "two of the three meters are needed to compute the third"
                )
                for role in ROLES
                if role not in fitted
            )
        for role in ROLES:
            if fault := fault_of(self.meter_of(role)):
                found.append(SetupProblem(FIELD_OF_ROLE[role], "invalid", fault))
            shared = next((meter for meter in meter_ids(self.meter_of(role)) if meters.count(meter) > 1), None)
            if shared is not None:
                found.append(
                    SetupProblem(FIELD_OF_ROLE[role], "same_meter", f"meter {shared} is named for more than one role")
                )
        return tuple(found)

    def measured_series_of(self, role: Role, serial: str) -> list[str]:
        """The series of every meter that measures a role."""
        return [f"{serial}_{meter}" for meter in meter_ids(self.meter_of(role))] if serial else []


class EndedClaim(NamedTuple):
    """A claim on the derivation that has ended."""

    claim: str
    start: int
    """The earliest time of readings that may have changed under it, UTC seconds."""


new_ended_claim: Final = partial(tuple.__new__, EndedClaim)
"""Makes one from a tuple of both fields without a call in Python: a customer has eight, and is read from the store after every upload."""


class RecentClaims(NamedTuple):
    """The latest claims on a customer's ranges. As long as they are the same, no other daemon or command has changed the customer's readings:
    whoever changes readings also marks them, and the mark is either still pending or was claimed later."""

    derivation: str | None
    """The last claim on the derivation that has ended; None if another one has begun since, whose marks may be anybody's."""
    jobs: str | None
    """The same for the job queue."""
    claim: str | None
    """The present claim on the derivation; None if there is none."""
    is_marked: bool
    """Whether readings are pending for derivation that are under no claim."""
    jobs_idle: bool
    """Whether no jobs are pending or claimed."""
    ended: tuple[EndedClaim, ...] = ()
    """The last claims on the derivation that have ended, the newest last. All that changed since one of them is what the later ones say,
    and what is marked. Empty if the store does not keep them."""


@attrs.frozen(slots=True, kw_only=True)
class Customer:
    """A stored customer. An empty role field means that no such meter is fitted."""

    id: str
    name: str = ""
    time_zone: str = "UTC"
    """IANA name."""
    facility: str = ""
    """Meter id of the utility (grid) meter."""
    load: str = ""
    solar: str = ""
    logger_serial_number: str = ""
    logger_password: str = attrs.field(default="", repr=False)
    """As stored: an argon2 hash, or clear text from the existing front end."""
    extensions: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """Settings of other subjects by name (``tariff``, ``alerts``, ``history``, ...), JSON values."""
    existing: Mapping[str, object] = attrs.field(factory=dict, repr=False)
    """Alerts and tariff that the existing front end keeps, in its format; they apply if ``extensions`` has none."""
    pending_start: int | None = None
    """Start of the range of times with readings that are not derived yet, UTC seconds."""
    pending_end: int | None = None
    """Their end, exclusive."""
    derivation: str = attrs.field(default="", repr=False, eq=False)
    """The result of the last derivation, JSON text (:mod:`cenergyd.derivation.status`); '' if no derivation has ended yet."""
    derivation_version: int = attrs.field(default=0, eq=False)
    """Incremented with each stored result."""
    claims: RecentClaims | None = attrs.field(default=None, repr=False, eq=False)
    """As of when the customer was read; None if the store does not provide them."""

    @property
    def derivation_plugin(self) -> str:
        """The only plugin that may compute the missing meter (``extensions["derivation"]["plugin"]``); '' if any may."""
        chosen = self.extensions.get("derivation")
        name = chosen.get("plugin") if isinstance(chosen, Mapping) else None
        return name if isinstance(name, str) else ""

    @cached_property
    def setup_history(self) -> list[Any]:
        """A cache of :func:`cenergyd.customers.meter_history.setup_periods`: the periods over all times, filled on first use."""
        return []

    @cached_property
    def role_history(self) -> dict[Role, Sequence[Any]]:
        """A cache of :func:`cenergyd.customers.meter_history.role_segments`: the segments of each role over all times, filled on first use."""
        return {}

    @cached_property
    def current(self) -> MeterSetup:
        """The roles as set now."""
        extras = self.extensions.get("meters")
        if not extras:
            return _plain_setup(self.facility, self.load, self.solar)
        return MeterSetup(
            utility=self.facility,
            load=self.load,
            solar=self.solar,
            reversed_roles=frozenset(extras.get("reversed") or ()),
            layouts=extras.get("layouts") or {},
        )

    @cached_property
    def role_series(self) -> tuple[str, ...]:
        """The series of every role that has one now, measured or computed, and of the meters of sums, each once."""
        serial = self.logger_serial_number
        return tuple([f"{serial}_{suffix}" for suffix in self.current.all_series_suffixes]) if serial else ()

    @property
    def missing_role(self) -> Role | None:
        """The role to compute now, or None."""
        return self.current.missing_role

    def series_of(self, role: Role) -> str | None:
        """The series that holds a role: a meter's, its sum's, the computed one for the missing role, or None."""
        return self.current.series_of(role, self.logger_serial_number)

    def measured_series_of(self, role: Role) -> list[str]:
        """The series of every meter that measures a role now."""
        return self.current.measured_series_of(role, self.logger_serial_number)

    def role_of(self, series: str) -> Role | None:
        """The role that a series holds now, or to whose sum it belongs; None if there is none."""
        setup, serial = self.current, self.logger_serial_number
        for role in ROLES:
            if setup.series_of(role, serial) == series or series in setup.measured_series_of(role, serial):
                return role
        return None

    def problems(self) -> tuple[SetupProblem, ...]:
        """The reasons why the missing meter cannot be computed, in the order in which to fix them."""
        found: list[SetupProblem] = []
        if not self.logger_serial_number:
            found.append(SetupProblem("logger_serial_number", "no_logger", "no logger serial number is set"))
        if not self.logger_password:
            found.append(SetupProblem("logger_password", "no_password", "no logger password is set"))
        return (*found, *self.current.problems)

    @property
    def etag(self) -> str:
        """A text that differs after any change of settings; of the password only whether one is set."""
        content = [
            self.id, self.name, self.time_zone, self.facility, self.load, self.solar,
            self.logger_serial_number, bool(self.logger_password), dict(self.extensions),
        ]  # fmt: skip
        if self.existing:
            content.append(dict(self.existing))
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@lru_cache(maxsize=1024)
def _plain_setup(utility: str, load: str, solar: str) -> MeterSetup:
    """The setup of meters and nothing else; nearly all sites have one of a few, and customers are read from the store after every upload."""
    return MeterSetup(utility=utility, load=load, solar=solar)


class TimeRange(NamedTuple):
    """A range of times, ``start <= time < end``, UTC seconds."""

    start: int
    end: int


class PendingMark(NamedTuple):
    """Times of newly arrived readings of a customer, ``start <= time < end``."""

    customer_id: str
    start: int
    end: int


class PendingWork(NamedTuple):
    """A customer claimed for derivation, and the times to derive, ``start <= time < end``."""

    customer: Customer
    start: int
    end: int
    claim: str
    """The claim under which it is."""
    jobs_waiting: bool = False
    """Whether the job queue had work of the customer, too, when it was claimed for derivation."""
