"""The memory that requests hold is limited: in all, per network, and for unknown networks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.errors import Overloaded
from cenergyd.runtime.byte_budget import SMALL, ByteBudget, KnownNetworks

MIB = 1 << 20


def test_a_network_gets_a_quarter_and_unknown_networks_half() -> None:
    budget = ByteBudget(16 * MIB)
    greedy = budget.lease("a", known=True)
    assert greedy.fits(4 * MIB)
    assert not budget.lease("a", known=True).fits(MIB)
    strangers = [budget.lease(f"s{n}", known=False) for n in range(4)]
    assert [stranger.fits(3 * MIB) for stranger in strangers] == [True, True, False, False]
    assert budget.lease("s9", known=False).fits(SMALL)
    assert budget.lease("b", known=True).fits(4 * MIB)
    assert budget.refused == 3
    for stranger in strangers:
        stranger.release()
    assert budget.held_by_unknown == SMALL


def test_nothing_left_refuses_small_ones_too() -> None:
    budget = ByteBudget(4 * SMALL)
    for n in range(4):
        assert budget.lease(f"n{n}", known=False).fits(SMALL)
    with pytest.raises(Overloaded):
        budget.lease("x", known=True).hold(1)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3 * MIB)), max_size=40))
def test_what_is_counted_is_what_is_held(steps: list[tuple[int, int]]) -> None:
    budget = ByteBudget(8 * MIB)
    leases = [budget.lease("ab"[n % 2], known=n > 2) for n in range(6)]
    for which, size in steps:
        before = leases[which].held
        fitted = leases[which].fits(size)
        assert leases[which].held == (size if fitted else before)
        assert budget.held == sum(lease.held for lease in leases) <= budget.total
        assert budget.held_by_unknown == sum(lease.held for lease in leases if not lease.known)
    for lease in leases:
        lease.release()
        lease.release()
    assert (budget.held, budget.held_by_unknown, budget._by_network) == (0, 0, {})


def test_known_networks_are_bounded() -> None:
    known = KnownNetworks(3)
    for n in range(9):
        known.add(f"n{n}")
    assert "n8" in known
    assert "n0" not in known
