"""Resolves the columns of a meter's logs: from the customer's choices, its config file as it was learned, and the ini."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from cenergyd.acquisuite.config_files import MeterConfig, config_name, inflated_config, parse_meter_config
from cenergyd.acquisuite.layouts import LayoutTable
from cenergyd.acquisuite.points import Point
from cenergyd.acquisuite.resolve import ConfigPoints, MeterFacts, Resolution, resolve, with_choice
from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import Customer
from cenergyd.documents.change_notices import ChangeNotices, columns_of_logger
from cenergyd.documents.kinds import CONFIG_FILE, CONFIG_VERSION, LAYOUT
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import CenergydError
from cenergyd.readings.model import VALUES, series_name
from cenergyd.runtime.clock import Clock

CACHE_SECONDS: Final = 60
"""A config file learned by another daemon takes effect here within this time. It is announced; without that a logger's config files
are read again only after :data:`~cenergyd.documents.change_notices.MAX_CACHE_SECONDS`."""
MAX_CACHED: Final = 50_000
"""Meters whose config file is cached; a logger without any counts as one."""
MAX_METERS: Final = 256
"""Meters of one logger."""
_MAX_RESOLVED: Final = 16
"""Meters of one logger whose last result is cached."""
_BEGINNING: Final = 0
_END: Final = 1 << 40


class Choice(NamedTuple):
    """Columns chosen by a customer for a meter."""

    since: int
    """UTC seconds."""
    columns: Mapping[str, int]
    """Value -> column; empty: none chosen."""


class TimedResolution(NamedTuple):
    """What is known of the columns of rows from a time on, until the start of the preceding entry."""

    since: int
    """UTC seconds."""
    resolution: Resolution


class _Resolved(NamedTuple):
    """The result for a meter's last log, which is used for the next log of the same customer with the same facts."""

    customer: Customer
    table: LayoutTable
    facts: MeterFacts
    result: Sequence[TimedResolution]


class _LoggerConfigs:
    """The stored config files of one logger's meters; each is parsed when first used."""

    def __init__(self, documents: Mapping[str, Document], looked_up: float) -> None:
        self.documents = documents
        """By series."""
        self.looked_up = looked_up
        """UTC seconds."""
        self.read: dict[str, ConfigPoints | None] = {}
        self.resolved: dict[str, _Resolved] = {}
        """Meter id -> the result for its last log."""

    @property
    def size(self) -> int:
        """Its size in the cache."""
        return max(1, len(self.documents))


class MeterLayouts:
    """Finds the columns of a log. Never guesses: see :mod:`cenergyd.acquisuite.resolve`.

    :param table: the ini's sections and the built-in table; may be replaced.
    :param notices: the daemon's notices of changes; None: announcements by other daemons are not read.
    """

    def __init__(
        self, table: LayoutTable, documents: DocumentStore, clock: Clock, notices: ChangeNotices | None = None
    ) -> None:
        self._notices = notices or ChangeNotices(documents, clock.seconds)
        self.table = table
        self._documents = documents
        self._clock = clock
        self._configs: OrderedDict[str, _LoggerConfigs] = OrderedDict()
        self._cached = 0
        self._learned: list[Callable[[str, str], None]] = []

    def when_learned(self, listener: Callable[[str, str], None]) -> None:
        """Register a function that is called with (serial, meter) after a meter's config file was learned here."""
        self._learned.append(listener)

    async def resolve(self, customer: Customer, meter: str, facts: MeterFacts) -> Sequence[TimedResolution]:
        """What is known of the columns of a meter's rows, latest first; the last one applies from the beginning."""
        configs, config = await self._config(customer.logger_serial_number, meter)
        known = configs.resolved.get(meter)
        if known is not None and known.customer is customer and known.table is self.table and known.facts == facts:
            return known.result
        base = resolve(facts, config, self.table)
        found = [
            TimedResolution(choice.since, with_choice(base, choice.columns)) for choice in choices(customer, meter)
        ]
        if not (facts.header or facts.named):  # these may be long
            if len(configs.resolved) >= _MAX_RESOLVED:
                configs.resolved.clear()
            configs.resolved[meter] = _Resolved(customer, self.table, facts, found)
        return found

    async def learn(self, serial: str, meter: str, config: MeterConfig, device_class: str) -> None:
        """Store what a config file says about a meter's columns; one that names no point is not a description."""
        if not config.points:
            return
        series = series_name(serial, meter)
        body = {"points": [list(point) for point in config.points], "count": config.count, "device_class": device_class}
        await self._notices.announce([columns_of_logger(serial)])
        await self._documents.put(LAYOUT, series, body, owner=serial)
        self._forget(serial)
        for listener in self._learned:
            listener(serial, meter)

    async def _config(self, serial: str, meter: str) -> tuple[_LoggerConfigs, ConfigPoints | None]:
        """One query for all meters of a logger: it sends their logs one after another."""
        series = series_name(serial, meter)
        now = self._clock.seconds()
        cached = self._configs.get(serial)
        if cached is None or not self._is_fresh(serial, cached.looked_up, now):
            found = await self._documents.find(LAYOUT, owner=serial, limit=MAX_METERS)
            cached = _LoggerConfigs({document.key: document for document in found}, now)
            self._remember(serial, cached)
        if series not in cached.read:
            cached.read[series] = await self._read(serial, meter, cached.documents.get(series))
        return cached, cached.read[series]

    def _is_fresh(self, serial: str, looked_up: float, now: float) -> bool:
        # A look-up in the future was made before the clock was set back.
        is_recent = 0 <= now - looked_up < CACHE_SECONDS
        return is_recent or self._notices.is_current(columns_of_logger(serial), looked_up)

    def _remember(self, serial: str, configs: _LoggerConfigs) -> None:
        self._forget(serial)
        self._configs[serial] = configs
        self._cached += configs.size
        while self._cached > MAX_CACHED and len(self._configs) > 1:
            self._forget(next(iter(self._configs)))

    def _forget(self, serial: str) -> None:
        old = self._configs.pop(serial, None)
        self._cached -= old.size if old is not None else 0

    async def _read(self, serial: str, meter: str, document: Document | None) -> ConfigPoints | None:
        if document is None:
            return None
        if "points" not in document.body:
            # Written by an earlier version, which kept only its conclusions: read the file itself again.
            return await self._from_config_file(serial, meter, document)
        points = tuple(Point(int(number), str(name), str(units)) for number, name, units in document.body["points"])
        return ConfigPoints(
            points=points, count=int(document.body["count"]), device_class=str(document.body.get("device_class") or "")
        )

    async def _from_config_file(self, serial: str, meter: str, outdated: Document) -> ConfigPoints | None:
        key = f"{serial}/{config_name(meter)}"
        head = await self._documents.get(CONFIG_FILE, key)
        number = int(head.body["number"]) if head is not None else 0
        version = await self._documents.get(CONFIG_VERSION, f"{key}/{number:06d}") if number else None
        try:
            config = parse_meter_config(inflated_config(_content(version))) if version is not None else None
        except CenergydError:
            config = None
        if config is None or not config.points:
            await self._documents.delete(LAYOUT, outdated.key)
            return None
        device_class = str(version.body.get("device_class") or "") if version is not None else ""
        await self.learn(serial, meter, config, device_class)
        return ConfigPoints(points=config.points, count=config.count, device_class=device_class)


def choices(customer: Customer, meter: str) -> list[Choice]:
    """The columns that a customer chose for a meter of its present logger, latest first; the last is from the beginning."""
    serial = customer.logger_serial_number
    found: list[Choice] = []
    for period in setup_periods(customer, _BEGINNING, _END):
        chosen = period.setup.layouts.get(meter) if period.serial == serial else None
        columns = _valid_columns(chosen)
        if found and found[-1].columns == columns:
            continue
        found.append(Choice(period.start, columns))
    return found[::-1]


def _valid_columns(chosen: object) -> Mapping[str, int]:
    """The valid part of stored columns: the collection is shared and may contain anything."""
    if not isinstance(chosen, Mapping):
        return {}
    return {value: int(chosen[value]) for value in VALUES if isinstance(chosen.get(value), int)}


def _content(version: Document) -> bytes:
    return base64.b64decode(version.body["content"])
