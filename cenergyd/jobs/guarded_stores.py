"""The stores that a plugin's job gets: it may read everything, but write only the plugin's own data of the job's customer.

This is no protection against a malicious plugin, which runs in the daemon's process and can do anything. It prevents a faulty plugin
from changing measured readings, another customer's data or the daemon's own documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import attrs

from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import Customer
from cenergyd.customers.ownership import FOREVER
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.kinds import SESSION, TOKEN
from cenergyd.documents.store import DocumentStore
from cenergyd.errors import CenergydError
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings, is_computed
from cenergyd.readings.store import ReadingStore

_BUILT_IN_RESULT = re.compile(r".*_(?:1m|5m|15m|30m|1h|24h)\Z")
_METER_ID = re.compile(r"[0-9]+\Z")
_READ_OF_CUSTOMERS = frozenset({"get", "get_many", "by_serial", "page", "count"})
_SECRET_KINDS = frozenset({TOKEN, SESSION})


class NotAllowed(CenergydError):
    """A plugin tried to write data that are not its own."""


@attrs.frozen(slots=True)
class Writer:
    """The plugin that writes, and its customer."""

    plugin: str
    customer: Customer | None
    built_in: bool = False
    """Whether it is one of cenergyd's own plugins, whose series have names that others may not use."""

    def check_series(self, names: Iterable[str], *, readings: bool) -> None:
        """Raise NotAllowed if the plugin may not write one of the series.

        :param readings: whether readings are written instead of field points.
        """
        serials = [] if self.customer is None else serials_of(self.customer)
        for name in names:
            self._check(name, serials, readings=readings)

    def _check(self, name: str, serials: Sequence[str], *, readings: bool) -> None:
        if self.customer is None:
            raise NotAllowed(f"series {name}: context.for_customer(customer) gives a context that may write")
        serial = next((each for each in serials if name.startswith(f"{each}_")), None)
        if serial is None:
            raise NotAllowed(f"series {name} is not one of customer {self.customer.id}")
        rest = name[len(serial) + 1 :]
        if is_computed(name) or _METER_ID.match(rest):
            raise NotAllowed(f"series {name} holds measured or computed readings, which jobs may not change")
        if not self.built_in and _BUILT_IN_RESULT.match(rest):
            raise NotAllowed(f"series {name} has a name that is reserved for built-in plugins: choose another")
        if self.built_in and readings:
            raise NotAllowed(f"series {name}: built-in plugins write field points only")

    def check_kind(self, kind: str) -> None:
        """Raise NotAllowed if the plugin may not write documents of a kind."""
        if not self.built_in and not (kind == self.plugin or kind.startswith((f"{self.plugin}_", f"{self.plugin}."))):
            raise NotAllowed(
                f"documents of kind {kind} do not belong to plugin {self.plugin}: begin the kind with its name"
            )


class GuardedReadings:
    """A reading store whose writes are checked; other calls are passed on."""

    def __init__(self, store: ReadingStore, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def write(self, batches: Sequence[SeriesReadings]) -> None:
        """As the store's."""
        self._writer.check_series((batch.series for batch in batches), readings=True)
        await self._store.write(batches)

    async def replace(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """As the store's."""
        self._writer.check_series([series], readings=True)
        await self._store.replace(series, start, end, readings)

    async def replace_many(self, items: Sequence[tuple[str, int, int, Sequence[Reading]]]) -> None:
        """As the store's."""
        self._writer.check_series((series for series, *_ in items), readings=True)
        await self._store.replace_many(items)

    async def write_points(self, series: str, points: Sequence[FieldPoint]) -> None:
        """As the store's."""
        self._writer.check_series([series], readings=False)
        await self._store.write_points(series, points)

    async def replace_points(self, series: str, start: int, end: int, points: Sequence[FieldPoint]) -> None:
        """As the store's."""
        self._writer.check_series([series], readings=False)
        await self._store.replace_points(series, start, end, points)

    async def replace_points_many(
        self, items: Sequence[tuple[str, int, int, Sequence[FieldPoint]]], field: str = ""
    ) -> None:
        """As the store's."""
        self._writer.check_series((series for series, *_ in items), readings=False)
        await self._store.replace_points_many(items, field)

    async def merge_points_many(self, items: Sequence[tuple[str, Sequence[FieldPoint]]]) -> None:
        """As the store's."""
        self._writer.check_series((series for series, _ in items), readings=False)
        await self._store.merge_points_many(items)

    async def open(self) -> None:
        """Refused: the store is already open."""
        raise NotAllowed("only the daemon may open and close the stores")

    close = open


class GuardedDocuments:
    """A document store whose writes are checked; other calls are passed on."""

    def __init__(self, store: DocumentStore, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    def __getattr__(self, name: str) -> object:
        if name in ("open", "close"):
            raise NotAllowed("only the daemon may open and close the stores")
        method = getattr(self._store, name)

        def of_kinds(wanted: Mapping[str, Sequence[str]], *, owned: Mapping[str, str] = {}) -> object:
            for kind in (*wanted, *owned):
                if kind in _SECRET_KINDS:
                    raise NotAllowed(f"documents of kind {kind} are not for plugins")
            return method(wanted, owned=owned)

        if name == "get_kinds":
            return of_kinds

        def checked(kind: str, *arguments: object, **options: object) -> object:
            if name in ("put", "put_many", "replace_many", "delete", "purge"):
                self._writer.check_kind(kind)
            if kind in _SECRET_KINDS:
                raise NotAllowed(f"documents of kind {kind} are not for plugins")
            return method(kind, *arguments, **options)

        return checked


class ReadOnlyCustomers:
    """A customer store that only allows looking customers up."""

    def __init__(self, store: CustomerStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        if name not in _READ_OF_CUSTOMERS:
            raise NotAllowed(f"plugins may only look customers up: {name} is not allowed")
        return getattr(self._store, name)


def guarded(
    writer: Writer, readings: ReadingStore, documents: DocumentStore, customers: CustomerStore
) -> tuple[ReadingStore, DocumentStore, CustomerStore]:
    """The three stores for a plugin."""
    return (
        cast(ReadingStore, GuardedReadings(readings, writer)),
        cast(DocumentStore, GuardedDocuments(documents, writer)),
        cast(CustomerStore, ReadOnlyCustomers(customers)),
    )


def serials_of(customer: Customer) -> list[str]:
    """Serial numbers of the customer's loggers, now and before, the longest first."""
    found = {period.serial for period in setup_periods(customer, 0, FOREVER) if period.serial}
    return sorted(found, key=len, reverse=True)
