"""Limits how much one plugin, or one library, may log per minute."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
from twisted.logger import LogEvent, LogLevel

MINUTE = 60.0
MAX_CHARACTERS = 262144
"""Per source and minute: enough even for a plugin that fails for every customer."""
MAX_SOURCES = 1000
"""Sources counted one by one; any more share one count."""


@attrs.define
class _Source:
    minute: float
    characters: int = 0
    left_out: int = 0


class LogLimit:
    """Counts what each source logs, and drops what is over the limit.

    A source is the plugin that an event names in its field ``plugin``, or the namespace of code that is not the daemon's own. The daemon's
    own events are never dropped.
    """

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}

    def admit(self, event: LogEvent) -> Iterator[LogEvent]:
        """The events to write for an event: first the number of those left out before it, if any; then the event, unless it is over the limit."""
        name = self._name(event)
        if name is None:
            yield event
            return
        time = event.get("log_time") or 0.0
        source = self._sources.setdefault(name, _Source(time))
        if not 0 <= time - source.minute < MINUTE:
            if source.left_out:
                yield _left_out_event(event, name, source.left_out)
            source.minute, source.characters, source.left_out = time, 0, 0
        if source.characters < MAX_CHARACTERS:
            yield event
        else:
            source.left_out += 1

    def spent(self, event: LogEvent, characters: int) -> None:
        """Record the length of an admitted event's line."""
        name = self._name(event)
        if name in self._sources:
            self._sources[name].characters += characters

    def _name(self, event: LogEvent) -> str | None:
        plugin = event.get("plugin")
        namespace = str(event.get("log_namespace") or "")[:200]
        if isinstance(plugin, str):
            name = f"plugin {plugin[:200]}"
        elif namespace.startswith("cenergyd."):
            return None
        else:
            name = namespace
        return name if name in self._sources or len(self._sources) < MAX_SOURCES else "other sources"


def _left_out_event(event: LogEvent, name: str, count: int) -> LogEvent:
    return {
        "log_format": "{count} further events of {source} were left out: it logs too much",
        "log_namespace": "cenergyd.runtime.log_limit",
        "log_level": LogLevel.warn,
        "log_time": event.get("log_time"),
        "count": count,
        "source": name,
    }
