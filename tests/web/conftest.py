"""Fixtures of the web tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from cenergyd.web.api import live
from tests.web.harness import WebSide


@pytest_twisted.async_yield_fixture
async def web(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WebSide]:
    """The web side over SQLite; parametrise indirectly with settings of ``[web]`` and constants (dotted name -> value)."""
    options: dict[str, Any] = dict(getattr(request, "param", {}))
    monkeypatch.setattr(live, "POLL_SECONDS", 0.2)
    for name, value in options.pop("constants", {}).items():
        monkeypatch.setattr(f"cenergyd.web.{name}", value)
    made = WebSide(tmp_path, options.pop("settings", None), **options)
    await made.start()
    yield made
    await made.stop()
