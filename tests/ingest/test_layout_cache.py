"""Cached columns of a logger are read again after another daemon has announced a change, and not before."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cenergyd.acquisuite.config_files import MeterConfig
from cenergyd.acquisuite.layouts import LayoutTable
from cenergyd.acquisuite.points import Point
from cenergyd.acquisuite.resolve import ConfigPoints
from cenergyd.documents.change_notices import POLL_SECONDS, ChangeNotices
from cenergyd.documents.memory import MemoryDocumentStore
from cenergyd.ingest.meter_layouts import CACHE_SECONDS, MeterLayouts

SERIAL = "001EC6001433"


class Daemon:
    """The parts of a daemon that read and learn columns."""

    def __init__(self, documents: MemoryDocumentStore, clock: Clock) -> None:
        self.notices = ChangeNotices(documents, clock.seconds)
        self.layouts = MeterLayouts(LayoutTable({}), documents, clock, self.notices)

    def learn(self, name: str) -> None:
        points = (Point(0, name, "kW"),)
        run(self.layouts.learn(SERIAL, "1", MeterConfig(points=points, count=1), "27"))

    @property
    def known(self) -> str | None:
        """The name of the only column."""
        config: ConfigPoints | None = run(self.layouts._config(SERIAL, "1"))[1]
        return config.points[0].name if config is not None else None


def run(work: Any) -> Any:
    results: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    return results[0]


def test_columns_are_read_again_after_an_announcement_only() -> None:
    clock, documents = Clock(), MemoryDocumentStore()
    clock.advance(1_700_000_000)
    one, other = Daemon(documents, clock), Daemon(documents, clock)
    finds: list[str] = []
    find = documents.find

    async def counted(kind: str, **options: Any) -> Any:
        finds.append(kind)
        return await find(kind, **options)

    documents.find = counted  # type: ignore[method-assign]

    def pass_by(seconds: float) -> None:
        for _ in range(int(seconds / POLL_SECONDS)):
            clock.advance(POLL_SECONDS)
            run(one.notices.refresh())

    run(one.notices.refresh())
    clock.advance(1)
    assert one.known is None
    pass_by(20 * CACHE_SECONDS)
    assert one.known is None
    assert finds == ["layout"]
    other.learn("Total kW")
    pass_by(CACHE_SECONDS)
    assert one.known == "Total kW"
    other.learn("Sum kW")
    pass_by(CACHE_SECONDS)
    assert one.known == "Sum kW"
    pass_by(600)
    assert one.known == "Sum kW"
    finds.clear()
    pass_by(600)
    assert one.known == "Sum kW"
    assert finds == []


def test_without_announcements_columns_are_read_again_after_a_minute() -> None:
    clock, documents = Clock(), MemoryDocumentStore()
    clock.advance(1_700_000_000)
    one, other = Daemon(documents, clock), Daemon(documents, clock)
    assert one.known is None
    other.learn("Total kW")
    clock.advance(CACHE_SECONDS - 1)
    assert one.known is None
    clock.advance(1)
    assert one.known == "Total kW"
