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
class Place:
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
    here = Place()
    now = here.clock.seconds()
    assert not here.reader.is_current("a", now), "nothing has been read yet"
    here.poll()
    assert here.reader.is_current("a", now)
    here.wait(MAX_CACHE_SECONDS - 1)
    assert here.reader.is_current("a", now)
    here.wait(1)
    assert not here.reader.is_current("a", now)


def test_after_an_announcement_nothing_is_current_until_the_change_is_made_or_given_up() -> None:
    here = Place()
    here.poll()
    read_before = here.clock.seconds()
    here.announce("a", "b", "a")
    here.wait(POLL_SECONDS)
    assert not here.reader.is_current("a", read_before)
    assert not here.reader.is_current("b", read_before)
    assert here.reader.is_current("c", read_before)
    read_meanwhile = here.clock.seconds()
    assert not here.reader.is_current("a", read_meanwhile), "the change may come any moment"
    here.wait(UNSETTLED_SECONDS + 1)
    assert not here.reader.is_current("a", read_meanwhile)
    assert here.reader.is_current("a", here.clock.seconds())


def test_without_polls_nothing_is_current() -> None:
    here = Place()
    here.poll()
    here.clock.advance(2 * POLL_SECONDS)
    assert not here.reader.is_current("a", here.clock.seconds())
    here.poll()
    assert here.reader.is_current("a", here.clock.seconds())
    here.clock.advance(-1)  # the clock is set back
    assert not here.reader.is_current("a", here.clock.seconds())


def test_a_daemon_that_starts_counts_what_was_announced_just_before() -> None:
    here = Place()
    here.announce("a")
    here.poll()
    assert not here.reader.is_current("a", here.clock.seconds())
    assert here.reader.is_current("b", here.clock.seconds())


def test_a_daemon_that_missed_announcements_uses_no_cached_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_notices, "_RECENT", 3)
    here = Place()
    here.poll()
    for name in "abcd":
        here.announce(name)
    here.poll()
    assert not here.reader.is_current("z", here.clock.seconds())
    here.wait(UNSETTLED_SECONDS + 1)
    assert here.reader.is_current("a", here.clock.seconds())
    here.announce("x", "y", "z")
    starting = ChangeNotices(here.documents, here.clock.seconds)
    run(starting.refresh())
    assert not starting.is_current("a", here.clock.seconds()), "more may have been announced just before"


def test_only_so_many_names_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_notices, "_MAX_NAMES", 2)
    here = Place()
    here.poll()
    here.announce("a", "b", "c")
    here.poll()
    assert not here.reader.is_current("z", here.clock.seconds())


def test_a_change_that_cannot_be_announced_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Place()

    async def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("down")

    monkeypatch.setattr(here.documents, "put", down)
    with pytest.raises(StoreUnavailable):
        here.announce("a")


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
    here = Place()
    here.poll()
    value, changed_at = 0, float("-inf")
    seen, looked_up = 0, here.clock.seconds()
    for verb, seconds in steps:
        if verb == "wait":
            here.wait(seconds)
        elif verb == "miss looks":
            here.clock.advance(seconds)
        elif verb == "change":
            here.announce("a")
            here.wait(seconds)
            value, changed_at = value + 1, here.clock.seconds()
        now = here.clock.seconds()
        if not (now - looked_up < TTL or here.reader.is_current("a", looked_up)):
            seen, looked_up = value, now
        assert seen == value or now - changed_at < 60
