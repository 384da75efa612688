"""The daemon's own log: text or JSON lines, a level, and no secrets.

Code must not log secrets; :class:`~cenergyd.runtime.redact.Redactor` is the last protection, for example if a driver's error message
repeats the URL with its password.

Part of an event may come from a plugin or a device. So every part is cut at a length, and what one plugin or library logs in a
minute is bounded too (:class:`~cenergyd.runtime.log_limit.LogLimit`).
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from threading import RLock
from typing import TextIO, cast

import attrs
from twisted.logger import (
    FilteringLogObserver,
    ILogFilterPredicate,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    PredicateResult,
    formatEvent,
    globalLogBeginner,
)
from twisted.python.failure import Failure

from cenergyd.runtime.log_limit import LogLimit
from cenergyd.runtime.redact import HIDDEN, Redactor, names_a_secret
from cenergyd.settings.plugin_section import PluginSection
from cenergyd.settings.sections import LoggingSettings, Settings

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LEVELS = {"debug": LogLevel.debug, "info": LogLevel.info, "warn": LogLevel.warn, "error": LogLevel.error}
_PRIORITIES = {LogLevel.debug: 7, LogLevel.info: 6, LogLevel.warn: 4, LogLevel.error: 3, LogLevel.critical: 2}
"""syslog(3)'s."""
MAX_MESSAGE = 8192
"""Characters of an event's message; more are counted, not logged."""
MAX_FIELD = 1024
"""Characters of one field of an event, in JSON lines."""
MAX_FIELDS = 40
MAX_TRACEBACK = 16384
"""Characters of a traceback: its first quarter and the rest from its end, where the error is."""
_OWN_FIELDS = re.compile(r"log_|log$|format$|time$|message$|isError$|system$|why$|failure$")


def secrets_of(settings: Settings) -> set[str]:
    """The values of all settings that are secret, and the password inside a store's URL."""
    found: set[str] = set()
    for section in attrs.fields(type(settings)):
        value = getattr(settings, section.name)
        for member in value.values() if isinstance(value, dict) else (value,):
            if isinstance(member, PluginSection):
                # Only the plugin knows which of its options are secret; until it is loaded, all of them count.
                found |= {text for key, text in member.values.items() if key in member.hidden or names_a_secret(key)}
                continue
            for field in attrs.fields(type(member)):
                if field.metadata.get("secret"):
                    content = getattr(member, field.name)
                    texts = content.values() if isinstance(content, dict) else (content,)
                    found |= {part for text in texts for part in _secret_parts(str(text))}
    return found


def _secret_parts(text: str) -> Iterator[str]:
    if "://" not in text:
        yield text
        return
    # A URL without a password is not secret, and hiding its path would make the log less useful.
    credentials, at, _ = text.split("://", 1)[1].rpartition("@")
    if at and ":" in credentials:
        yield credentials.split(":", 1)[1]


def escape_controls(text: str) -> str:
    """Escapes control characters, so that text from a device cannot forge a log line."""
    return _CONTROL.sub(
        lambda found: f"\\x{ord(found[0]):02x}" if found[0] not in "\r\n\t" else repr(found[0])[1:-1], text
    )


def text_line(event: LogEvent, redact: Redactor) -> str:
    """One event for people: ``2026-01-31T18:30:00Z info cenergyd.web.server.upload: ...``; a traceback follows, indented."""
    message = escape_controls(redact(formatEvent(event), MAX_MESSAGE))
    request = str(event.get("request_id") or "")
    if request and request not in message:
        message += f" (request {escape_controls(request)})"
    level = getattr(event.get("log_level"), "name", "info")
    line = f"{_moment(event)} {level} {_namespace(event)}: {message}\n"
    traceback = _traceback(event, redact)
    return line + "".join(f"    | {escape_controls(part)}\n" for part in traceback.splitlines())


def json_line(event: LogEvent, redact: Redactor) -> str:
    """One event for machines: a JSON object with time, level, namespace, event, and the event's own fields."""
    line: dict[str, object] = {
        "time": _moment(event),
        "level": getattr(event.get("log_level"), "name", "info"),
        "namespace": _namespace(event),
        "event": redact(formatEvent(event), MAX_MESSAGE),
    }
    fields = [key for key in event if not _OWN_FIELDS.match(key)]
    for key in fields[:MAX_FIELDS]:
        line.setdefault(key[:MAX_FIELD], HIDDEN if names_a_secret(key) else _plain(event[key], redact))
    traceback = _traceback(event, redact)
    if traceback:
        line["traceback"] = traceback
    return json.dumps(line, ensure_ascii=True, allow_nan=False) + "\n"


class Output:
    """Writes events: one line each, at or above the level of the settings.

    :param redact: hides secrets; may be replaced, as the settings may.
    :param journal: whether ``out`` is systemd's journal: then each line begins with its priority, as sd-daemon(3) has it.
    """

    def __init__(self, settings: LoggingSettings, redact: Redactor, out: TextIO, journal: bool = False) -> None:
        self.settings = settings
        self._journal = journal
        self.redact = redact
        self._out = out
        self._lock = RLock()  # an object that is logged may log itself when it is made text
        self._limit = LogLimit()
        self._wanted_ones = FilteringLogObserver(
            cast(ILogObserver, self._write), [cast(ILogFilterPredicate, self._filter)]
        )

    def __call__(self, event: LogEvent) -> None:
        """Take an event (an ILogObserver)."""
        self._wanted_ones(event)

    def _filter(self, event: LogEvent) -> object:
        return PredicateResult.maybe if _wanted(event, _LEVELS[self.settings.level]) else PredicateResult.no

    def _write(self, event: LogEvent) -> None:
        render = json_line if self.settings.format == "json" else text_line
        # A closed stderr must not take the daemon down. Threads log too.
        with self._lock, suppress(OSError, ValueError):
            for allowed in self._limit.admit(event):
                line = self._with_priority(allowed, render(allowed, self.redact))
                self._limit.spent(allowed, len(line))
                self._out.write(line)
            self._out.flush()

    def _with_priority(self, event: LogEvent, line: str) -> str:
        if not self._journal:
            return line
        mark = f"<{_PRIORITIES.get(event.get('log_level'), 6)}>"
        return "".join(mark + part for part in line.splitlines(keepends=True))


def is_journal(out: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a stream leads to systemd's journal, by the device and inode that systemd names in ``$JOURNAL_STREAM``."""
    try:
        found = os.fstat(out.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class StandardLogging(logging.Handler):
    """Passes on what libraries and plugins log by Python's ``logging``, so that it is bounded and redacted like everything else."""

    def emit(self, record: logging.LogRecord) -> None:
        """Make an event of a record."""
        try:
            text = record.getMessage()
        except BaseException as broken:
            text = f"(a message that cannot be formatted: {type(broken).__name__})"
        level = LogLevel.error if record.levelno >= logging.ERROR else LogLevel.warn
        error = record.exc_info[1] if record.exc_info else None
        fields: dict[str, object] = {"log_failure": Failure(error)} if error is not None else {}
        Logger(namespace=record.name).emit(level, "{text}", text=text, **fields)


def start_logging(settings: LoggingSettings, redact: Redactor, out: TextIO = sys.stderr) -> Output:
    """Send every event at or above the level to ``out``. Call once, at the start of the process."""
    output = Output(settings, redact, out, is_journal(out, os.environ))
    globalLogBeginner.beginLoggingTo([cast(ILogObserver, output)], redirectStandardIO=False, discardBuffer=True)
    logging.getLogger().addHandler(StandardLogging(logging.WARNING))
    return output


def _wanted(event: LogEvent, minimum: object) -> bool:
    level = event.get("log_level") or LogLevel.info
    if level == LogLevel.info and not str(event.get("log_namespace", "")).startswith("cenergyd"):
        # Twisted's own "Starting factory ..." lines are only useful for debugging.
        level = LogLevel.debug
    return bool(level >= minimum)


def _namespace(event: LogEvent) -> str:
    return escape_controls(str(event.get("log_namespace") or "-")[:200])


def _moment(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(event: LogEvent, redact: Redactor) -> str:
    failure = event.get("log_failure")
    if failure is None:
        return ""
    try:
        text = str(failure.getTraceback())
    except BaseException as error:
        return f"(no traceback: {type(error).__name__})"
    if len(text) <= MAX_TRACEBACK:
        return redact(text)
    head = MAX_TRACEBACK // 4
    tail = len(text) - (MAX_TRACEBACK - head)
    left_out = f"\n... ({tail - head} characters left out)\n"
    return redact.excerpt(text, 0, head) + left_out + redact.excerpt(text, tail, len(text))


def _plain(value: object, redact: Redactor) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 64 else "(a large number)"
    if isinstance(value, float) and abs(value) < float("inf"):
        return value
    try:
        text = str(value)
    except BaseException as error:  # the repr of a plugin's object may raise
        text = f"(no text: {type(error).__name__})"
    return redact(text, MAX_FIELD)
