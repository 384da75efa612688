"""The list of rejected loggers: bounded, and invented serial numbers do not displace a real one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cenergyd.ingest.rejected_loggers import PER_NETWORK, Attempts, RejectedAttempts, to_drop

ATTEMPTS = st.builds(
    Attempts, st.integers(0, 100), st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"]), st.just(""), st.integers(1, 5)
)  # fmt: skip


def test_one_network_cannot_fill_what_is_gathered() -> None:
    gathered = RejectedAttempts(1000)
    for number in range(5000):
        gathered.add(f"X{number}", f"2001:db8::{number % 65536:x}", "unknown", 1)
    gathered.add("REAL", "192.0.2.1", "wrong password", 2)
    gathered.add("REAL", "192.0.2.1", "wrong password", 3)
    found = gathered.take()
    assert len(found) == PER_NETWORK + 1
    assert found["REAL"] == Attempts(3, "192.0.2.1", "wrong password", 2)
    assert len(gathered) == 0


def test_what_could_not_be_written_is_kept_with_what_has_come_meanwhile() -> None:
    gathered = RejectedAttempts(2)
    gathered.add("A", "192.0.2.1", "x", 1)
    taken = gathered.take()
    gathered.add("A", "192.0.2.2", "y", 5)
    gathered.add("B", "192.0.2.3", "x", 6)
    gathered.put_back(taken)
    assert gathered.take() == {"A": Attempts(5, "192.0.2.2", "y", 2), "B": Attempts(6, "192.0.2.3", "x", 1)}


def test_a_device_that_tries_again_and_again_stays_on_the_list_also_behind_the_same_address() -> None:
    known = {f"X{number}": Attempts(100 + number, "192.0.2.1", "", 1) for number in range(50)}
    known |= {"SAME": Attempts(10, "192.0.2.1", "", 7), "ELSEWHERE": Attempts(1, "192.0.2.2", "", 1)}
    kept = known.keys() - to_drop(known, 5)
    assert {"SAME", "ELSEWHERE", "X49"} <= kept
    assert len(kept) == 5


@given(st.dictionaries(st.text("ABC", min_size=1, max_size=4), ATTEMPTS, max_size=30), st.integers(0, 30))
def test_the_list_is_as_long_as_it_may_be(known: dict[str, Attempts], most: int) -> None:
    dropped = to_drop(known, most)
    assert len(known) - len(dropped) == min(len(known), most)
