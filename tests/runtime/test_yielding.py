"""Long computations take turns with the reactor."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cenergyd.runtime.yielding import SLICE_SECONDS, CooperativeYield


def test_it_yields_after_its_time_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    elapsed = 0.0
    monkeypatch.setattr("cenergyd.runtime.yielding.perf_counter", lambda: elapsed)
    clock = Clock()
    cooperate = CooperativeYield(clock)
    elapsed = SLICE_SECONDS / 2
    assert Deferred.fromCoroutine(cooperate()).called
    elapsed = SLICE_SECONDS
    breathing = Deferred.fromCoroutine(cooperate())
    assert not breathing.called
    clock.advance(0)
    assert breathing.called
    assert Deferred.fromCoroutine(cooperate()).called, "a new stretch has begun"
