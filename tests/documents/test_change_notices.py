"""A cached value is not used once its change was announced, whoever changes it and in whatever order reads and changes happen."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cenergyd.documents import change_notices
from cenergyd.documents.change_notices import MAX_CACHE_SECONDS, POLL_SECONDS, UNSETTLED_SECONDS, ChangeNotices
from cenergyd.documents.memory import MemoryDocumentStore
from cenergyd.errors import StoreUnavailable

TTL = 30
"""Seconds for which the reader uses a value without checking it."""


@attrs.define
class TwoDaemons:
    """Two daemons on one store."""

    clock: Clock = attrs.field(factory=Clock)
    documents: MemoryDocumentStore = attrs.field(factory=MemoryDocumentStore)
    reader: ChangeNotices = attrs.field(init=False)
    writer: ChangeNotices = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.clock.advance(1_700_000_000)
        self.reader = ChangeNotices(self.documents, self.clock.seconds)
        self.writer = ChangeNotices(self.documents, self.clock.seconds)

    def announce(self, *names: str) -> None:
        run(self.writer.announce(names))

    def poll(self) -> None:
        run(self.reader.refresh())

    def wait(self, seconds: float) -> None:
        """Advance the clock, with the reader's polls."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(POLL_SECONDS, end - self.clock.seconds()))
            self.poll()


def run(work: Any) -> None:
    results: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()


def test_what_nobody_announces_is_current_for_long() -> None:
    daemons = TwoDaemons()
    now = daemons.clock.seconds()
    assert not daemons.reader.is_current("a", now), "nothing has been read yet"
    daemons.poll()
    assert daemons.reader.is_current("a", now)
    daemons.wait(MAX_CACHE_SECONDS - 1)
    assert daemons.reader.is_current("a", now)
    daemons.wait(1)
    assert not daemons.reader.is_current("a", now)


def test_after_an_announcement_nothing_is_current_until_the_change_is_made_or_given_up() -> None:
    daemons = TwoDaemons()
    daemons.poll()
    read_before = daemons.clock.seconds()
    daemons.announce("a", "b", "a")
    daemons.wait(POLL_SECONDS)
    assert not daemons.reader.is_current("a", read_before)
    assert not daemons.reader.is_current("b", read_before)
    assert daemons.reader.is_current("c", read_before)
    read_meanwhile = daemons.clock.seconds()
    assert not daemons.reader.is_current("a", read_meanwhile), "the change may come any moment"
    daemons.wait(UNSETTLED_SECONDS + 1)
    assert not daemons.reader.is_current("a", read_meanwhile)
    assert daemons.reader.is_current("a", daemons.clock.seconds())


def test_without_polls_nothing_is_current() -> None:
    daemons = TwoDaemons()
    daemons.poll()
    daemons.clock.advance(2 * POLL_SECONDS)
    assert not daemons.reader.is_current("a", daemons.clock.seconds())
    daemons.poll()
    assert daemons.reader.is_current("a", daemons.clock.seconds())
    daemons.clock.advance(-1)  # the clock is set back
    assert not daemons.reader.is_current("a", daemons.clock.seconds())


def test_a_daemon_that_starts_counts_what_was_announced_just_before() -> None:
    daemons = TwoDaemons()
    daemons.announce("a")
    daemons.poll()
    assert not daemons.reader.is_current("a", daemons.clock.seconds())
    assert daemons.reader.is_current("b", daemons.clock.seconds())


def test_a_daemon_that_missed_announcements_uses_no_cached_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_notices, "_RECENT", 3)
    daemons = TwoDaemons()
    daemons.poll()
    for name in "abcd":
        daemons.announce(name)
    daemons.poll()
    assert not daemons.reader.is_current("z", daemons.clock.seconds())
    daemons.wait(UNSETTLED_SECONDS + 1)
    assert daemons.reader.is_current("a", daemons.clock.seconds())
    daemons.announce("x", "y", "z")
    starting = ChangeNotices(daemons.documents, daemons.clock.seconds)
    run(starting.refresh())
    assert not starting.is_current("a", daemons.clock.seconds()), "more may have been announced just before"


def test_only_so_many_names_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_notices, "_MAX_NAMES", 2)
    daemons = TwoDaemons()
    daemons.poll()
    daemons.announce("a", "b", "c")
    daemons.poll()
    assert not daemons.reader.is_current("z", daemons.clock.seconds())


def test_a_change_that_cannot_be_announced_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    daemons = TwoDaemons()

    async def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("down")

    monkeypatch.setattr(daemons.documents, "put", down)
    with pytest.raises(StoreUnavailable):
        daemons.announce("a")


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("wait"), st.floats(0, 200)),
            st.tuples(st.just("change"), st.floats(0, 50)),
            st.tuples(st.just("read"), st.just(0.0)),
            st.tuples(st.just("miss looks"), st.floats(0, 100)),
        ),
        max_size=30,
    )
)
def test_a_reader_is_outdated_for_a_minute_at_most(steps: list[tuple[str, float]]) -> None:
    """A value is read again once it is not current; each change is made some time after its announcement."""
    daemons = TwoDaemons()
    daemons.poll()
    value, changed_at = 0, float("-inf")
    seen, looked_up = 0, daemons.clock.seconds()
    for verb, seconds in steps:
        if verb == "wait":
            daemons.wait(seconds)
        elif verb == "miss looks":
            daemons.clock.advance(seconds)
        elif verb == "change":
            daemons.announce("a")
            daemons.wait(seconds)
            value, changed_at = value + 1, daemons.clock.seconds()
        now = daemons.clock.seconds()
        if not (now - looked_up < TTL or daemons.reader.is_current("a", looked_up)):
            seen, looked_up = value, now
        assert seen == value or now - changed_at < 60
