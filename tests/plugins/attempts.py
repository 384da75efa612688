"""Attempts to send, as the outbox gives them to notifiers."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet import reactor

from cenergyd.hookspecs import Attempt
from cenergyd.runtime.plugin_threads import PluginThreads

THREADS = PluginThreads(reactor)  # type: ignore[arg-type]


def attempt(**changes: Any) -> Attempt:
    """The first attempt, now."""
    made = Attempt(
        number=1,
        unsure=False,
        now=int(reactor.seconds()),  # type: ignore[attr-defined]
        reactor=reactor,
        in_thread=partial(THREADS.run, "test"),
    )
    return made._replace(**changes)
