"""The daemon's own log: text or JSON lines, a level, and no secrets.

Code that logs must leave secrets out itself; :class:`Redactor` is the last line of defence for what slips through, such as
a driver's error message that repeats the URL with its password.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import attrs
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner

from cenergyd.settings.sections import LoggingSettings, Settings

_HIDDEN = "***"
_SENSITIVE = r"(?:[a-z_]*(?:passw(?:or)?d|secret|token|api_?key)|authorization|cookie)"
_PATTERNS = (
    # A form variable as the logger sends it: name="PASSWORD", an empty line, the value.
    re.compile(rf'(name=\\?"{_SENSITIVE}\\?"[^\n\\]*(?:\s|\\r|\\n)+)([^\s\\"\']+)', re.IGNORECASE),
    # password=x, "token": "x", Authorization: Basic x
    re.compile(
        rf"""({_SENSITIVE}["']?\s*[=:]\s*["']?(?:(?:basic|bearer)\s+)?)([^\s"',;&}})]+)""",
        re.IGNORECASE,
    ),
    re.compile(r"(\b(?:basic|bearer)\s+)([A-Za-z0-9+/=_.~-]{8,})", re.IGNORECASE),
    # scheme://user:password@host
    re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)([^\s/@]+)(?=@)", re.IGNORECASE),
    re.compile(r"(\$argon2[a-z]*\$)(\S+)"),
)
_SECRET_KEY = re.compile(rf"{_SENSITIVE}\Z", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LEVELS = {"debug": LogLevel.debug, "info": LogLevel.info, "warn": LogLevel.warn, "error": LogLevel.error}
_OWN_FIELDS = re.compile(r"log_|log$|format$|time$|message$|isError$|system$|why$|failure$")


class Redactor:
    """Replaces what looks like a secret, and given secrets wherever they appear.

    :param secrets: texts to hide; those shorter than four characters are left (they would blank out ordinary words).
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first, so that a secret that contains another one is hidden whole.
        self._secrets = sorted({s for s in secrets if len(s) >= 4}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\g<1>{_HIDDEN}", text)
        return text


def secrets_of(settings: Settings) -> set[str]:
    """The values of all settings that are secret, and the password inside a store's URL."""
    found: set[str] = set()
    for section in attrs.fields(type(settings)):
        value = getattr(settings, section.name)
        for member in value.values() if isinstance(value, dict) else (value,):
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
    # A URL without a password is no secret, and hiding a path would only make the log useless.
    credentials, at, _ = text.split("://", 1)[1].rpartition("@")
    if at and ":" in credentials:
        yield credentials.split(":", 1)[1]


def one_line(text: str) -> str:
    """Control characters escaped, so that text from a device cannot forge a line of its own."""
    return _CONTROL.sub(
        lambda found: f"\\x{ord(found[0]):02x}" if found[0] not in "\r\n\t" else repr(found[0])[1:-1], text
    )


def text_line(event: LogEvent, redact: Redactor) -> str:
    """One event for people: ``2026-01-31T18:30:00Z info cenergyd.web.server.upload: ...``; a traceback follows, indented."""
    message = one_line(redact(formatEvent(event)))
    request = str(event.get("request_id") or "")
    if request and request not in message:
        message += f" (request {one_line(request)})"
    level = getattr(event.get("log_level"), "name", "info")
    line = f"{_moment(event)} {level} {event.get('log_namespace') or '-'}: {message}\n"
    traceback = _traceback(event, redact)
    return line + "".join(f"    | {one_line(part)}\n" for part in traceback.splitlines())


def json_line(event: LogEvent, redact: Redactor) -> str:
    """One event for machines: a JSON object with time, level, namespace, event, and the event's own fields."""
    line: dict[str, Any] = {
        "time": _moment(event),
        "level": getattr(event.get("log_level"), "name", "info"),
        "namespace": event.get("log_namespace") or "-",
        "event": redact(formatEvent(event)),
    }
    for key, value in event.items():
        if not _OWN_FIELDS.match(key):
            line.setdefault(key, _HIDDEN if _SECRET_KEY.match(key) else _plain(value, redact))
    traceback = _traceback(event, redact)
    if traceback:
        line["traceback"] = traceback
    return json.dumps(line, ensure_ascii=True, allow_nan=False) + "\n"


class Output:
    """Where events go: one line each, at or above the level of the settings.

    :param redact: hides secrets; may be replaced, as the settings may.
    """

    def __init__(self, settings: LoggingSettings, redact: Redactor, out: TextIO) -> None:
        self.settings = settings
        self.redact = redact
        self._out = out

    def __call__(self, event: LogEvent) -> None:
        """Take an event (an ILogObserver)."""
        if not _wanted(event, _LEVELS[self.settings.level]):
            return
        render = json_line if self.settings.format == "json" else text_line
        # A closed stderr must not take the daemon down.
        with suppress(OSError, ValueError):
            self._out.write(render(event, self.redact))
            self._out.flush()


def start_logging(settings: LoggingSettings, redact: Redactor, out: TextIO = sys.stderr) -> Output:
    """Send every event at or above the level to ``out``. Call once, at the start of the process."""
    output = Output(settings, redact, out)
    globalLogBeginner.beginLoggingTo([cast(ILogObserver, output)], redirectStandardIO=False, discardBuffer=True)
    return output


def _wanted(event: LogEvent, minimum: Any) -> bool:
    level = event.get("log_level") or LogLevel.info
    if level == LogLevel.info and not str(event.get("log_namespace", "")).startswith("cenergyd"):
        # Twisted's own "Starting factory ..." lines are of use to nobody but a debugger.
        level = LogLevel.debug
    return bool(level >= minimum)


def _moment(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(event: LogEvent, redact: Redactor) -> str:
    failure = event.get("log_failure")
    if failure is None:
        return ""
    try:
        return redact(str(failure.getTraceback()))
    except Exception as error:
        return f"(no traceback: {type(error).__name__})"


def _plain(value: Any, redact: Redactor) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and abs(value) < float("inf"):
        return value
    return redact(str(value))
