"""Uploads are marked and claimed in one write; nothing is lost if a store or daemon fails, or another daemon takes over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from cenergyd.customers.model import EndedClaim, PendingMark, PendingWork, RecentClaims
from cenergyd.derivation import claimed_marks
from cenergyd.derivation.claimed_marks import ClaimedMarks
from cenergyd.derivation.service import CLAIM_SECONDS
from cenergyd.errors import StoreUnavailable
from tests.derivation.memory import START, Site, customer, minutes, settle, site


def marks_of(daemon: Site, settling: float = 0.0) -> ClaimedMarks:
    """With passes every five seconds."""
    marks = ClaimedMarks(daemon.queue, daemon.clock, CLAIM_SECONDS, 5.0, settling)
    marks.open = True
    return marks


def mark(daemon: Site, marks: ClaimedMarks, key: str, start: int, end: int) -> None:
    settle(daemon.clock, marks.mark([PendingMark(key, start, end)]))


def windows(works: Sequence[tuple[PendingWork, float]]) -> list[tuple[str, int, int]]:
    return sorted((work.customer.id, work.start, work.end) for work, _ in works)


def taken(daemon: Site, marks: ClaimedMarks, limit: int = 100) -> list[tuple[PendingWork, float]]:
    return settle(daemon.clock, marks.take(limit))


def test_marks_until_the_next_pass_are_one_claim_each() -> None:
    daemon = site(customer("a"), customer("b"))
    marks = marks_of(daemon)
    began = daemon.clock.seconds()
    mark(daemon, marks, "a", 0, 10)
    mark(daemon, marks, "a", 5, 20)
    mark(daemon, marks, "b", 0, 10)
    assert daemon.queue.pending == {}
    works = taken(daemon, marks)
    assert windows(works) == [("a", 0, 20), ("b", 0, 10)]
    assert all(0 <= claimed_at - began < 1 for _, claimed_at in works)
    assert taken(daemon, marks) == []
    mark(daemon, marks, "a", 30, 40)
    assert daemon.queue.pending == {"a": (30, 40)}, "its derivation runs: this waits"
    assert taken(daemon, marks) == []


def test_a_customer_whose_first_log_comes_just_before_a_pass_is_left_to_the_next_one() -> None:
    daemon = site(customer("a"), customer("b"), customer("c"))
    marks = marks_of(daemon, settling=1.0)
    assert taken(daemon, marks) == []
    mark(daemon, marks, "a", 0, 10)
    daemon.clock.advance(4.5)
    mark(daemon, marks, "b", 0, 10)
    mark(daemon, marks, "a", 0, 20)
    daemon.clock.advance(0.5)
    assert windows(taken(daemon, marks)) == [("a", 0, 20)]
    mark(daemon, marks, "b", 5, 20)
    mark(daemon, marks, "c", 0, 10)
    daemon.clock.advance(5)
    assert windows(taken(daemon, marks)) == [("b", 0, 20), ("c", 0, 10)]
    assert daemon.queue.pending == {}, "none was marked apart from its claim"


def test_who_comes_just_before_a_pass_is_left_although_the_pass_before_left_others() -> None:
    daemon = site(customer("a"), customer("b"), customer("c"))
    marks = marks_of(daemon, settling=1.0)
    assert taken(daemon, marks) == []
    for number, key in enumerate("abc"):
        daemon.clock.advance(4.5)
        mark(daemon, marks, key, 0, 10)
        daemon.clock.advance(0.5)
        assert windows(taken(daemon, marks)) == [(each, 0, 10) for each in "abc"[:number][-1:]]
        assert taken(daemon, marks) == [], "the same pass leaves it again"


def test_when_a_pass_comes_late_only_the_last_second_before_it_could_be_left() -> None:
    daemon = site(customer("a"))
    marks = marks_of(daemon, settling=1.0)
    assert taken(daemon, marks) == []
    daemon.clock.advance(20)
    mark(daemon, marks, "a", 0, 10)
    daemon.clock.advance(1)
    assert windows(taken(daemon, marks)) == [("a", 0, 10)]


def test_marks_of_both_sides_of_a_pass_fail_together() -> None:
    daemon = site(customer("a"), customer("b"))
    marks = marks_of(daemon, settling=1.0)
    assert taken(daemon, marks) == []
    mark(daemon, marks, "a", 0, 10)
    daemon.clock.advance(4.5)
    mark(daemon, marks, "b", 0, 10)
    assert len({claim for *_, claim, _ in daemon.queue.working.values()}) == 2
    daemon.queue.down = "down"
    with pytest.raises(StoreUnavailable):
        settle(daemon.clock, marks.mark([PendingMark("a", 10, 20), PendingMark("b", 10, 20)]))
    daemon.queue.down = None
    settle(daemon.clock, marks.mark([PendingMark("a", 10, 20), PendingMark("b", 10, 20)]))
    works = settle(daemon.clock, marks.take(10, all_marks=True))
    assert windows(works) == [("a", 0, 20), ("b", 0, 20)]


def test_only_so_many_are_taken_at_once_and_under_one_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claimed_marks, "MAX_CUSTOMERS", 3)
    daemon = site(*(customer(key) for key in "abcdefgh"))
    marks = marks_of(daemon)
    for key in "abcdefgh":
        mark(daemon, marks, key, 0, 10)
    assert len({claim for *_, claim, _ in daemon.queue.working.values()}) == 3
    found = [windows(taken(daemon, marks, 5)), windows(taken(daemon, marks, 5))]
    assert [len(each) for each in found] == [5, 3]
    assert sorted(key for each in found for key, _, _ in each) == list("abcdefgh")


def test_a_pass_waits_for_marks_that_the_store_has_not_answered() -> None:
    daemon = site(customer("a"), customer("b"))
    marks, answered = marks_of(daemon), Deferred[None]()
    write = daemon.queue.mark_claimed

    async def slow(*arguments: Any) -> None:
        await answered
        await write(*arguments)

    daemon.queue.mark_claimed = slow  # type: ignore[method-assign]
    marking = Deferred.fromCoroutine(marks.mark([PendingMark("a", 0, 10)]))
    found: list[Any] = []
    Deferred.fromCoroutine(marks.take(10)).addCallback(found.append)
    daemon.queue.mark_claimed = write  # type: ignore[method-assign]
    mark(daemon, marks, "b", 0, 10)
    assert not found
    answered.callback(None)
    assert marking.called
    assert windows(found[0]) == [("a", 0, 10)]
    assert windows(taken(daemon, marks)) == [("b", 0, 10)]


def test_what_cannot_be_read_is_read_at_the_next_pass() -> None:
    daemon = site(customer("a"))
    marks = marks_of(daemon)
    mark(daemon, marks, "a", 0, 10)
    daemon.queue.down = "down"
    with pytest.raises(StoreUnavailable):
        taken(daemon, marks)
    daemon.queue.down = None
    assert windows(taken(daemon, marks)) == [("a", 0, 10)]


def test_closed_it_marks_only() -> None:
    daemon = site(customer("a"))
    marks = marks_of(daemon)
    marks.open = False
    mark(daemon, marks, "a", 0, 10)
    assert daemon.queue.pending == {"a": (0, 10)}


def came(daemon: Site, key: str, meter: str) -> None:
    """An upload of this daemon."""
    kept = minutes(3)
    settle(daemon.clock, daemon.came(key, meter, kept))
    del daemon.queue.pending[key]
    settle(daemon.clock, daemon.service.marks.mark([PendingMark(key, kept[0].time, kept[-1].time + 1)]))


def test_a_daemon_derives_what_its_uploads_bring_without_a_search() -> None:
    daemon = site(customer("a"))
    daemon.service.marks.open = True
    came(daemon, "a", "1")
    came(daemon, "a", "2")
    daemon.tick()
    assert len(settle(daemon.clock, daemon.computed("a"))) == 3
    assert daemon.queue.pending == daemon.queue.working == {}
    assert daemon.status("a")["derived_until"] == START + 120


def test_a_log_of_the_same_session_to_another_daemon_is_derived_with_ours() -> None:
    daemon = site(customer("a"))
    daemon.service.marks.open = True
    came(daemon, "a", "1")
    settle(daemon.clock, daemon.came("a", "2", minutes(3)))  # another daemon marks it
    assert daemon.queue.pending and daemon.queue.working
    daemon.tick()
    assert len(settle(daemon.clock, daemon.computed("a"))) == 3
    assert daemon.queue.pending == daemon.queue.working == {}
    assert daemon.queue.claims == 1, "there was nothing to claim from the queue"


def test_work_that_others_have_marked_does_not_say_which_claim_ended_last() -> None:
    claims = RecentClaims("before", None, "mine", is_marked=False, jobs_idle=True, ended=(EndedClaim("before", 0),))
    daemon = site(*(attrs.evolve(customer(key), claims=claims) for key in "abc"))
    marks = marks_of(daemon)
    for key in "abc":
        mark(daemon, marks, key, 0, 10)
    others = marks_of(daemon)
    mark(daemon, others, "a", 5, 20)
    mark(daemon, others, "b", 0, 10)
    assert not taken(daemon, others)
    works = taken(daemon, marks)
    assert windows(works) == [("a", 0, 20), ("b", 0, 10), ("c", 0, 10)]
    unknown = claims._replace(derivation=None)
    assert {work.customer.id: work.customer.claims for work, _ in works} == {"a": unknown, "b": unknown, "c": claims}


@pytest.mark.parametrize("lost", ["join_pending", "claimed"])
def test_others_marks_are_known_though_the_answer_after_joining_them_was_lost(lost: str) -> None:
    claims = RecentClaims("before", None, "mine", is_marked=False, jobs_idle=True)
    daemon = site(attrs.evolve(customer("a"), claims=claims))
    marks = marks_of(daemon)
    mark(daemon, marks, "a", 0, 10)
    settle(daemon.clock, daemon.queue.mark([PendingMark("a", 5, 20)]))
    join, claimed = daemon.queue.join_pending, daemon.queue.claimed

    async def unanswered(*_arguments: Any) -> Any:
        raise StoreUnavailable("no answer")

    async def joined(works: Sequence[PendingWork]) -> None:
        await join(works)
        daemon.queue.claimed = unanswered  # type: ignore[method-assign]
        if lost == "join_pending":
            await unanswered()

    daemon.queue.join_pending = joined  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        taken(daemon, marks)
    daemon.queue.claimed = claimed  # type: ignore[method-assign]
    works = taken(daemon, marks)
    assert windows(works) == [("a", 0, 20)]
    assert works[0][0].customer.claims == claims._replace(derivation=None)


def test_a_claim_that_waited_long_is_renewed_before_anything_is_written() -> None:
    daemon = site(customer("a"))
    daemon.service.marks.open = True
    came(daemon, "a", "1")
    came(daemon, "a", "2")
    daemon.clock.advance(CLAIM_SECONDS + 1)
    (work,) = settle(daemon.clock, daemon.queue.claim("another daemon", int(daemon.clock.seconds()), CLAIM_SECONDS, 10))
    daemon.tick()
    assert settle(daemon.clock, daemon.computed("a")) == []
    assert daemon.queue.working["a"][2] == work.claim


def test_a_stop_gives_back_what_waits_and_claims_nothing_more() -> None:
    daemon = site(customer("a"))
    daemon.service.startService()
    daemon.clock.advance(1)
    assert daemon.service.marks.open
    settle(daemon.clock, daemon.service.marks.mark([PendingMark("a", 0, 10)]), 1)
    assert daemon.queue.working
    daemon.service.stopService()
    daemon.clock.advance(1)
    assert daemon.queue.working == {}
    assert daemon.queue.pending == {"a": (0, 10)}
    settle(daemon.clock, daemon.service.marks.mark([PendingMark("a", 5, 20)]), 1)
    assert daemon.queue.pending == {"a": (0, 20)}


def test_with_long_pauses_between_passes_nothing_is_claimed() -> None:
    daemon = site(customer("a"), interval_seconds="600")
    daemon.service.startService()
    assert not daemon.service.marks.open
    daemon.service.stopService()


steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["mark", "answer lost", "never stored"]), st.sampled_from("ab")),
        st.tuples(
            st.sampled_from(
                ["take", "end", "other takes", "other ends", "killed", "wait a little", "nearly a pass", "wait"]
            ),
            st.just(""),
        ),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(steps, st.sampled_from([0.0, 1.0]))
def test_in_any_order_every_acknowledged_mark_is_derived_after_it(
    steps: Sequence[tuple[str, str]], settling: float
) -> None:
    """With another daemon on the same queue, lost answers, and kills between the writes."""
    daemon = site(customer("a"), customer("b"))
    marks = marks_of(daemon, settling)
    mine: list[PendingWork] = []
    theirs: list[PendingWork] = []
    wanted: list[tuple[str, int, int]] = []
    done: list[tuple[str, int, int]] = []

    def ended(works: list[PendingWork]) -> None:
        kept = settle(daemon.clock, daemon.queue.finish(works))
        done.extend((w.customer.id, w.start, w.end) for w, ours in zip(works, kept, strict=True) if ours)
        works.clear()

    for number, (verb, key) in enumerate(
        [*steps, ("end", ""), ("killed", ""), ("wait", ""), ("other takes", ""), ("other ends", "")]
    ):
        start = 60 * number
        if verb == "mark":
            mark(daemon, marks, key, start, start + 60)
            wanted.append((key, start, len(done)))
        elif verb in ("answer lost", "never stored"):
            write = daemon.queue.mark_claimed

            async def failing(*arguments: Any, write: Any = write, stored: bool = verb == "answer lost") -> None:
                if stored:
                    await write(*arguments)
                raise StoreUnavailable("no answer")

            daemon.queue.mark_claimed = failing  # type: ignore[method-assign]
            with pytest.raises(StoreUnavailable):
                mark(daemon, marks, key, start, start + 60)
            daemon.queue.mark_claimed = write  # type: ignore[method-assign]
        elif verb == "take":
            mine += [work for work, _ in taken(daemon, marks)]
        elif verb == "end":
            ended(mine)
        elif verb == "other takes":
            theirs += settle(
                daemon.clock, daemon.queue.claim(f"o{number}", int(daemon.clock.seconds()), CLAIM_SECONDS, 10)
            )
        elif verb == "other ends":
            ended(theirs)
        elif verb == "killed":
            marks = marks_of(daemon, settling)
            mine.clear()
        else:
            daemon.clock.advance({"wait": CLAIM_SECONDS + 1, "wait a little": 10, "nearly a pass": 4.5}[verb])
    assert daemon.queue.pending == daemon.queue.working == {}
    for key, start, before in wanted:
        assert any(key == who and first <= start < last for who, first, last in done[before:])
