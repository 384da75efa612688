"""For all tests of the derivation."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def steady_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches compute without yielding, however slow the machine is, so that a test may count steps of its clock."""
    monkeypatch.setattr("cenergyd.runtime.yielding.perf_counter", lambda: 0.0)
