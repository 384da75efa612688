"""What every pending queue does: nothing that arrived is lost, and nobody works on what another works on."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from cenergyd.customers.claims import PendingSummary
from cenergyd.customers.model import Customer, EndedClaim, PendingMark, RecentClaims, TimeRange

NOW, TTL = 1_000_000, 60
SLOW_COUNT = 12
"""Of customers at mongoeco, which takes a hundred times the CPU time of the others for an update."""


@pytest.fixture(params=["derivation_queue", "job_queue"])
def name(request):
    return request.param


@pytest.fixture
def queue(store, name):
    return getattr(store, name)


async def add(store, count):
    return [(await store.add(Customer(id="", name=f"n{i}"))).id for i in range(count)]


async def mark(queue, *marks):
    await queue.mark([PendingMark(*one) for one in marks])


async def claim(queue, token="c1", now=NOW, limit=100):
    return await queue.claim(token, now, TTL, limit)


def windows(works):
    return [(work.customer.id, work.start, work.end) for work in works]


@pytest_twisted.ensureDeferred
async def test_marks_widen_the_window_and_a_claim_takes_it(store, queue):
    one, two = await add(store, 2)
    await mark(queue, (one, 100, 200), (one, 50, 60), (two, 70, 90), ("nobody", 1, 2))
    await mark(queue, (one, 150, 300))
    assert await queue.summary() == PendingSummary(2, 50)
    works = await claim(queue)
    assert windows(works) == [(one, 50, 300), (two, 70, 90)]
    assert {work.claim for work in works} == {"c1"}
    assert works[0].customer.name == "n0"
    assert await queue.summary() == PendingSummary(2, 50)
    assert await claim(queue, "c2") == []
    assert await queue.finish(works) == [True, True]
    assert await queue.summary() == PendingSummary(0, None)
    assert await claim(queue, "c3", NOW + 10 * TTL) == []


@pytest_twisted.ensureDeferred
async def test_empty_lists_change_nothing(store, queue):
    await queue.mark([])
    assert await claim(queue) == []
    assert await queue.finish([]) == []
    await queue.postpone([], NOW)
    assert await queue.summary() == PendingSummary(0, None)


@pytest_twisted.ensureDeferred
async def test_derived_work_is_handed_over_to_the_jobs(store):
    one, two, three = await add(store, 3)
    queue, jobs = store.derivation_queue, store.job_queue
    await mark(queue, (one, 100, 200), (two, 100, 200), (three, 100, 200))
    await mark(jobs, (one, 50, 60))
    works = {work.customer.id: work for work in await claim(queue, "c1")}
    (running,) = await claim(jobs, "j1")
    await mark(queue, (one, 300, 400))
    await queue.postpone([works[two]], NOW)
    (again,) = [work for work in await claim(queue, "c2", limit=9) if work.customer.id == two]
    handed = [works[one], works[two], works[three]]
    assert await queue.hand_over(handed, [TimeRange(90, 210), TimeRange(80, 220), TimeRange(70, 230)]) == [
        True,
        False,
        True,
    ]
    assert windows(await claim(jobs, "j2")) == [
        (three, 70, 230)
    ]  # the first one's jobs run; the second's claim was lost
    assert await jobs.finish([running]) == [True]
    assert windows(await claim(jobs, "j3")) == [(one, 90, 210)]
    assert windows(await claim(queue, "c3")) == [(one, 300, 400)]
    assert await queue.finish([again]) == [True]
    assert await queue.hand_over([], []) == []


@pytest_twisted.ensureDeferred
async def test_derived_work_ends_with_its_jobs_unless_the_jobs_have_other_work(store):
    free, pending, running, lost = ids = await add(store, 4)
    queue, jobs = store.derivation_queue, store.job_queue
    await mark(jobs, (running, 1, 2))
    assert len(await claim(jobs, "other")) == 1
    await mark(queue, *((each, 100, 200) for each in ids))
    works = {work.customer.id: work for work in await claim(queue)}
    assert [works[each].jobs_waiting for each in ids] == [False, False, True, False]
    await mark(jobs, (pending, 5, 6))
    await queue.postpone([works[lost]], NOW + 1000)
    results = [f"result {number}" for number in range(4)]
    assert await queue.finish_with_results([works[each] for each in ids], [TimeRange(90, 210)] * 4, results) == [
        True,
        False,
        False,
        False,
    ]
    assert [(await store.get(each)).derivation for each in ids] == ["result 0", "", "", ""]
    # What was not ended is as it was.
    assert await queue.hand_over([works[pending], works[running]], [TimeRange(90, 210)] * 2, results[1:3]) == [
        True,
        True,
    ]
    assert await queue.finish_with_results([works[free]], [TimeRange(90, 210)], ["later"]) in (
        [False],
        [True],
    )  # its own end may be recognised
    assert (await store.get(free)).derivation == "result 0"
    assert await queue.finish_with_results([], [], []) == []
    await queue.mark_claimed([PendingMark(free, 300, 400)], "m", NOW + TTL)
    await mark(jobs, (free, 5, 6))
    (again,) = await queue.claimed("m", 9)
    assert again.jobs_waiting


@pytest_twisted.ensureDeferred
async def test_a_customer_tells_which_claims_ended_last(store, second):
    (key,) = await add(store, 1)
    queue, jobs = store.derivation_queue, store.job_queue

    async def claims():
        return last((await second.get(key)).claims)

    def last(claims):
        """Without those that ended before, which not every store keeps."""
        return claims._replace(ended=())

    async def upload(by, claim):
        await by.derivation_queue.mark_claimed([PendingMark(key, 100, 200)], claim, NOW + TTL)
        return (await by.derivation_queue.claimed(claim, 9))[0]

    assert await claims() == RecentClaims(None, None, None, is_marked=False, jobs_idle=True)
    work = await upload(store, "a1")
    assert last(work.customer.claims) == RecentClaims(None, None, "a1", is_marked=False, jobs_idle=True)
    await queue.finish_with_results([work], [TimeRange(90, 210)], ["result"])
    assert await claims() == RecentClaims("a1", None, None, is_marked=False, jobs_idle=True)
    work = await upload(store, "a2")
    assert last(work.customer.claims) == RecentClaims("a1", None, "a2", is_marked=False, jobs_idle=True)
    await mark(jobs, (key, 5, 6))  # as a command does that computed readings
    assert await queue.hand_over([work], [TimeRange(90, 210)]) == [True]
    assert await claims() == RecentClaims("a2", None, None, is_marked=False, jobs_idle=False)
    assert await jobs.finish(await claim(jobs, "j1")) == [True]
    assert await claims() == RecentClaims("a2", "j1", None, is_marked=False, jobs_idle=True)
    theirs = await upload(second, "b1")
    await mark(queue, (key, 1, 2))
    await second.derivation_queue.finish_with_results([theirs], [TimeRange(80, 210)], ["result"])
    assert await claims() == RecentClaims("b1", "j1", None, is_marked=True, jobs_idle=True)
    await queue.postpone(await claim(queue, "a3"), NOW)
    assert await claims() == RecentClaims(None, "j1", None, is_marked=True, jobs_idle=True)
    works = await claim(queue, "a4")
    assert last(works[0].customer.claims) == RecentClaims(None, "j1", "a4", is_marked=False, jobs_idle=True)
    assert await queue.hand_over_claimed(works, [TimeRange(90, 210)], "j2", NOW + TTL) == [True]
    assert await claims() == RecentClaims("a4", "j1", None, is_marked=False, jobs_idle=False)


@pytest.mark.parametrize("kind", ["mongo"])
@pytest_twisted.ensureDeferred
async def test_a_customer_tells_since_when_readings_changed_under_the_claims_that_ended(store, second):
    (key,) = await add(store, 1)
    queue = store.derivation_queue

    async def ended():
        return (await second.get(key)).claims.ended

    async def handed_over(works, time_range):
        assert await queue.hand_over(works, [time_range]) == [True]
        assert await store.job_queue.finish(await claim(store.job_queue, "jobs")) == [True]

    async def derived(number, time_range):
        await second.derivation_queue.mark_claimed([PendingMark(key, 100, 200)], f"c{number}", NOW + TTL)
        works = await second.derivation_queue.claimed(f"c{number}", 9)
        await second.derivation_queue.finish_with_results(works, [time_range], ["result"])

    for number in range(10):
        await derived(number, TimeRange(number, 210))
    last = [EndedClaim(f"c{number}", number) for number in range(2, 10)]
    assert await ended() == tuple(last)
    await mark(queue, (key, 100, 200))
    works = await claim(queue, "queue")
    assert works[0].customer.claims.ended == tuple(last)
    await handed_over(works, TimeRange(90, 210))
    assert await ended() == (*last[1:], EndedClaim("queue", 90))
    await derived(10, TimeRange(80, 210))
    # Whoever advances writes more than the range that ends.
    await mark(queue, (key, 100, 200))
    (work,) = await claim(queue, "advances")
    assert await queue.advance(work, 100, NOW, TTL)
    assert await ended() != ()
    assert await queue.advance(work, 150, NOW, TTL)
    assert await ended() == ()
    await handed_over([work._replace(start=150)], TimeRange(140, 210))
    assert await ended() == (EndedClaim("advances", 140),)
    await queue.mark_claimed([PendingMark(key, 100, 200)], "dead", NOW + TTL)
    (work,) = await claim(second.derivation_queue, "taken over", NOW + TTL)
    assert (work.customer.claims.ended, work.start, work.end) == ((), 100, 200)
    await handed_over([work], TimeRange(90, 210))
    # Of a claim that was given up or has expired it is not known what was written.
    for give_up in (True, False):
        await derived(11, TimeRange(80, 210))
        assert await ended() != ()
        await mark(queue, (key, 100, 200))
        works = await claim(queue, "given up")
        if give_up:
            await queue.postpone(works, NOW)
        works = await claim(queue, "next", NOW + TTL)
        assert works[0].customer.claims.ended == ()
        await handed_over(works, TimeRange(90, 210))


@pytest_twisted.ensureDeferred
async def test_what_others_have_marked_is_joined_with_claimed_work(store, second):
    ids = lost, wider, inside, other = await add(store, 4)
    queue = store.derivation_queue
    await queue.mark_claimed([PendingMark(each, 100, 200) for each in ids], "mine", NOW + TTL)
    await second.derivation_queue.mark_claimed(
        [PendingMark(lost, 40, 60), PendingMark(wider, 50, 300), PendingMark(inside, 120, 130)], "theirs", NOW + TTL
    )
    works = await queue.claimed("mine", 9)
    assert {work.customer.id for work in works if work.customer.pending_start is not None} == {lost, wider, inside}
    await claim(second.derivation_queue, "later", NOW + TTL, limit=1)  # the oldest
    await queue.join_pending([work for work in works if work.customer.id != other])
    await queue.join_pending([])
    joined = [(wider, 50, 300), (inside, 100, 200), (other, 100, 200)]
    assert sorted(windows(await queue.claimed("mine", 9))) == sorted(joined)
    assert [(await store.get(each)).pending_start for each in ids] == [None] * 4
    assert (await queue.summary()).customers == 4


@pytest_twisted.ensureDeferred
async def test_derived_work_is_handed_over_under_a_claim_of_the_jobs(store, second):
    ids = await add(store, 5)
    queue, jobs = store.derivation_queue, store.job_queue
    await mark(queue, *((each, 100, 200) for each in ids))
    works = {work.customer.id: work for work in await claim(queue)}
    waiting, running, lost, free, joined = ids
    await mark(jobs, (running, 1, 2))
    (theirs,) = await claim(jobs, "other")
    await mark(jobs, (waiting, 5, 6))
    await queue.postpone([works[lost]], NOW + 1000)
    handed = [works[each] for each in ids]
    taken = await queue.hand_over_claimed(handed, [TimeRange(90, 210)] * 5, "mine", NOW + TTL)
    assert taken == [False, False, False, True, True]
    # What was not taken is as it was.
    assert windows(await claim(jobs, "look")) == [(waiting, 5, 6)]
    assert await queue.hand_over([works[waiting], works[running]], [TimeRange(90, 210)] * 2) == [True, True]
    # More for a customer joins, but not under another claim.
    await mark(queue, (joined, 300, 400), (free, 300, 400))
    more = {work.customer.id: work for work in await claim(queue, "c2")}
    again = [more[joined], more[free]]
    assert (
        await second.derivation_queue.hand_over_claimed(again, [TimeRange(290, 410)] * 2, "yours", NOW + TTL)
        == [False] * 2
    )
    assert await queue.hand_over_claimed([more[joined]], [TimeRange(290, 410)], "mine", NOW + 2 * TTL) == [True]
    # A daemon that dies leaves its claim to expire, with the whole window; a live one ends it.
    expired = windows(await claim(jobs, "taker", NOW + TTL, limit=9))
    assert (free, 90, 210) in expired
    assert joined not in {each for each, _, _ in expired}
    assert (joined, 90, 410) in windows(await claim(jobs, "taker 2", NOW + 2 * TTL, limit=9))
    assert await jobs.finish([works[joined]._replace(claim="mine")]) == [False]
    assert await jobs.finish([theirs]) == [False]
    assert await queue.hand_over_claimed([], [], "mine", NOW) == []


@pytest_twisted.ensureDeferred
async def test_results_are_stored_by_the_write_that_ends_a_claim(store, second):
    ids = await add(store, 4)
    queue, jobs = store.derivation_queue, store.job_queue
    await mark(queue, *((each, 100, 200) for each in ids))
    works = {work.customer.id: work for work in await claim(queue)}
    handed, lost, claimed, refused = ids
    assert {(work.customer.derivation, work.customer.derivation_version) for work in works.values()} == {("", 0)}
    await queue.postpone([works[lost]], NOW + 1000)
    await mark(jobs, (refused, 1, 2))
    first, others = [works[handed], works[lost]], [works[claimed], works[refused]]
    window = TimeRange(100, 200)
    assert await queue.hand_over(first, [window] * 2, ['{"n":1}', '{"n":2}']) == [True, False]
    assert await queue.hand_over_claimed(others, [window] * 2, "j", NOW + TTL, ['{"n":3}', '{"n":4}']) == [True, False]
    results = {key: (each.derivation, each.derivation_version) for key, each in (await second.get_many(ids)).items()}
    assert results == {handed: ('{"n":1}', 1), lost: ("", 0), claimed: ('{"n":3}', 1), refused: ("", 0)}
    # Without a result the previous one stays; a failure stores its result without changing any claim.
    assert await queue.hand_over([works[refused]], [window], [""]) == [True]
    await queue.store_results({handed: '{"n":5}', refused: '{"n":6}', "nobody": "{}"})
    await queue.store_results({})
    await mark(queue, (handed, 1, 2))
    (work,) = await claim(queue, "c2")
    assert (work.customer.derivation, work.customer.derivation_version) == ('{"n":5}', 2)
    found = await store.get(refused)
    assert (found.derivation, found.derivation_version) == ('{"n":6}', 1)
    changed = await store.update(handed, {"name": "y"})
    assert (changed.derivation, changed.derivation_version) == ('{"n":5}', 2)
    assert await jobs.finish([works[claimed]._replace(claim="j")]) == [True]


@pytest_twisted.ensureDeferred
async def test_what_is_free_is_claimed_by_the_write_that_marks_it(store, second):
    ids = await add(store, 6)
    queue, other = store.derivation_queue, second.derivation_queue
    free, joined, pending, theirs, postponed, expired = ids
    await mark(queue, (theirs, 1, 2), (postponed, 3, 4), (expired, 5, 6))
    works = {work.customer.id: work for work in await claim(other, "theirs")}
    await other.postpone([works[postponed]], NOW + 500)
    await mark(queue, (pending, 7, 8))

    async def mark_claimed(*marks, token="mine"):
        await queue.mark_claimed([PendingMark(*one) for one in marks], token, NOW + 2 * TTL)

    await mark_claimed(*((each, 100, 200) for each in ids), ("nobody", 1, 2), (joined, 90, 95))
    await mark_claimed((joined, 150, 260), token="mine")
    await mark_claimed((joined, 300, 400), token="next")
    assert await queue.summary() == PendingSummary(6, 1)
    assert windows(await queue.claimed("mine", 10)) == [(joined, 90, 260), (free, 100, 200)]
    assert len(await queue.claimed("mine", 1)) == 1
    assert await queue.claimed("next", 10) == []
    # Work under another claim is only marked, and waits for that daemon or the next one that claims.
    assert sorted(windows(await claim(other, "look"))) == sorted([(pending, 7, 200)])
    assert await other.finish([works[theirs]]) == [True]
    assert windows(await claim(other, "look 2")) == [(theirs, 100, 200)]
    assert windows(await claim(other, "look 3", NOW + 500, limit=1)) == [(postponed, 3, 200)]
    # It ends like any other claim; work that another claim got meanwhile stays.
    mine = {work.customer.id: work for work in await queue.claimed("mine", 10)}
    assert await queue.hand_over([mine[joined]], [TimeRange(90, 260)], ['{"n":1}']) == [True]
    assert await queue.claimed("mine", 10) == [mine[free]]
    await mark_claimed((free, 500, 600), token="next")
    await mark_claimed()
    # If the daemon dies it expires with the whole window, and with what was marked since.
    left = windows(await claim(other, "taker", NOW + 2 * TTL, limit=9))
    assert (free, 100, 600) in left
    assert (joined, 300, 400) in left
    assert (expired, 5, 200) in left
    assert await queue.finish([mine[free]]) == [False]


@pytest_twisted.ensureDeferred
async def test_the_derivation_queue_shows_on_the_customer_and_queues_are_apart(store):
    (one,) = await add(store, 1)
    await mark(store.derivation_queue, (one, 100, 200))
    customer = await store.get(one)
    assert (customer.pending_start, customer.pending_end) == (100, 200)
    assert await claim(store.job_queue) == []
    await mark(store.job_queue, (one, 5, 6))
    (work,) = await claim(store.job_queue, "j")
    assert await store.derivation_queue.finish([work]) == [False]
    (other,) = await claim(store.derivation_queue, "d")
    assert await store.derivation_queue.finish([other]) == [True]
    assert (await store.get(one)).pending_start is None
    assert await store.job_queue.finish([work]) == [True]


@pytest_twisted.ensureDeferred
async def test_the_oldest_come_first_up_to_the_limit(store, queue):
    ids = await add(store, 5)
    await mark(queue, *((customer, 100 - i, 200) for i, customer in enumerate(ids)))
    first = await claim(queue, "c1", limit=2)
    assert windows(first) == [(ids[4], 96, 200), (ids[3], 97, 200)]
    # Expired work counts by its own age among the pending.
    later = await claim(queue, "c2", NOW + TTL, limit=3)
    assert [work.customer.id for work in later] == [ids[4], ids[3], ids[2]]


@pytest_twisted.ensureDeferred
async def test_what_arrives_during_the_work_waits_and_is_not_lost(store, queue):
    (one,) = await add(store, 1)
    await mark(queue, (one, 100, 200))
    works = await claim(queue)
    await mark(queue, (one, 150, 260))
    assert await claim(queue, "c2") == []
    assert await queue.finish(works) == [True]
    assert windows(await claim(queue, "c3")) == [(one, 150, 260)]


@pytest_twisted.ensureDeferred
async def test_an_expired_claim_passes_on_with_old_and_new_work(store, second, name):
    first, other = getattr(store, name), getattr(second, name)
    (one,) = await add(store, 1)
    await mark(first, (one, 100, 200))
    (work,) = await claim(first)
    await mark(other, (one, 300, 400))
    assert await claim(other, "c2", NOW + TTL - 1) == []
    taken = await claim(other, "c2", NOW + TTL)
    assert windows(taken) == [(one, 100, 400)]
    # The one that was thought dead wakes up: everything it does is refused.
    assert await first.advance(work, 150, NOW + TTL, TTL) is False
    assert await first.finish([work]) == [False]
    await first.postpone([work], NOW)
    assert await claim(first, "c3", NOW + TTL) == []
    assert await other.finish(taken) == [True]
    assert await first.finish([work]) == [False]
    assert await first.summary() == PendingSummary(0, None)


@pytest_twisted.ensureDeferred
async def test_progress_shrinks_the_work_and_keeps_the_claim(store, queue):
    (one,) = await add(store, 1)
    await mark(queue, (one, 100, 900))
    (work,) = await claim(queue)
    assert await queue.advance(work, 500, NOW + 50, TTL) is True
    assert await claim(queue, "c2", NOW + TTL) == []
    assert windows(await claim(queue, "c3", NOW + 50 + TTL)) == [(one, 500, 900)]


@pytest_twisted.ensureDeferred
async def test_postponed_work_comes_back_whole_and_not_before_its_time(store, queue):
    one, two = await add(store, 2)
    await mark(queue, (one, 100, 900), (two, 101, 900))
    works = await claim(queue)
    await queue.advance(works[0], 300, NOW, TTL)
    await mark(queue, (works[0].customer.id, 850, 1000))
    await queue.postpone(works, NOW + 500)
    await mark(queue, (two, 50, 60))
    assert await queue.summary() == PendingSummary(2, 50)
    assert await claim(queue, "c2", NOW + 499) == []
    again = await claim(queue, "c3", NOW + 500)
    assert sorted(windows(again)) == sorted([(one, 300, 1000), (two, 50, 900)])
    # The postponement is over with the claim.
    assert await queue.finish(again) == [True, True]
    await mark(queue, (one, 1, 2))
    assert windows(await claim(queue, "c4", NOW)) == [(one, 1, 2)]


@pytest_twisted.ensureDeferred
async def test_some_of_many_claims_may_be_lost(store, queue):
    ids = await add(store, 3)
    await mark(queue, *((customer, 100 + i, 200) for i, customer in enumerate(ids)))
    works = await claim(queue)
    assert await queue.finish(works[1:2]) == [True]
    await mark(queue, (ids[1], 7, 8))
    newer = await claim(queue, "c2")
    assert windows(newer) == [(ids[1], 7, 8)]
    assert await queue.finish(works) == [True, False, True]
    assert await queue.finish(newer) == [True]


@pytest_twisted.ensureDeferred
async def test_a_removed_customer_takes_its_work_along(store, queue):
    one, two = await add(store, 2)
    await mark(queue, (one, 100, 200), (two, 100, 200))
    works = await claim(queue)
    await store.remove(one)
    assert await queue.finish(sorted(works, key=lambda work: work.customer.id != one)) == [False, True]


@pytest_twisted.ensureDeferred
async def test_settings_survive_the_queues(store, queue):
    added = await store.add(Customer(id="", name="x", facility="1", extensions={"a": {"b": 1}}))
    await mark(queue, (added.id, 100, 200))
    works = await claim(queue)
    changed = await store.update(added.id, {"name": "y"})
    assert changed.etag != added.etag
    await queue.postpone(works, 5)
    works = await claim(queue, "c2")
    assert works[0].customer == changed
    await queue.finish(works)
    assert await store.get(added.id) == changed


@pytest_twisted.ensureDeferred
async def test_claimers_at_the_same_time_get_disjoint_customers(store, second, name, kind):
    count = SLOW_COUNT if kind == "second_mongo" else 40
    ids = await add(store, count)
    await mark(getattr(store, name), *((customer, 100 + i, 200) for i, customer in enumerate(ids)))
    seen: list[str] = []
    for turn in range(20):
        claims = await gatherResults(
            [
                Deferred.fromCoroutine(getattr(one, name).claim(f"{turn}/{i}", NOW, TTL, count // 4))
                for i, one in enumerate((store, second, store, second))
            ]
        )
        seen += [work.customer.id for works in claims for work in works]
        if len(seen) >= count:
            break
    assert sorted(seen) == sorted(ids)


@pytest_twisted.ensureDeferred
async def test_marks_from_everywhere_while_claims_come_and_go(store, second, name, kind):
    """Every time that was ever marked is in some finished work after its mark."""
    rounds = SLOW_COUNT // 2 if kind == "second_mongo" else 20
    ids = await add(store, 6)
    queues = [getattr(store, name), getattr(second, name)]
    done: list[tuple[str, int, int]] = []

    async def arrive(queue, step):
        for i in range(rounds):
            time = 1000 + 10 * i + step
            await queue.mark([PendingMark(customer, time, time) for customer in ids[step::2]])

    async def work(queue, who):
        for i in range(rounds):
            works = await queue.claim(f"{who}/{i}", NOW, TTL, 3)
            if i % 3 == 1:
                await queue.postpone(works, NOW)
                continue
            kept = await queue.finish(works)
            done.extend(window for window, ours in zip(windows(works), kept, strict=True) if ours)

    running = [arrive(queues[0], 0), arrive(queues[1], 1), work(queues[0], "a"), work(queues[1], "b")]
    await gatherResults([Deferred.fromCoroutine(one) for one in running])
    last = await queues[0].claim("last", NOW, TTL, 100)
    done.extend(windows(last))
    for index, customer in enumerate(ids):
        times = {1000 + 10 * i + index % 2 for i in range(rounds)}
        covered = {t for t in times if any(c == customer and since <= t <= until for c, since, until in done)}
        assert covered == times
