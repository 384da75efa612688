"""Uploads log files from a folder as the logger that wrote them would, and records which were acknowledged.

Files are not moved or changed: instead of deleting a file, this writes a line to a journal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TextIO

import attrs

from cenergyd.acquisuite.encode import log_fields, md5, multipart_form
from cenergyd.acquisuite.meter_id import meter_id
from cenergyd.acquisuite.times import device_time
from cenergyd.errors import UploadError
from cenergyd.tools.errors import NoResponse
from cenergyd.tools.simulator.configs import ConfigFile, Post, exchange
from cenergyd.tools.simulator.logger import Disposition, disposition_of

TRIES: Final = 5
"""Attempts for one file before the replay stops; a real logger would wait for its next session."""
_LOG: Final = re.compile(r"mb-\d{1,3}.*\.log(\.gz)?\Z", re.IGNORECASE)
_CONFIG: Final = re.compile(r"(mb-\d{3}\.ini|loggerconfig\.ini)\Z", re.IGNORECASE)
_SERIAL: Final = re.compile(r"[0-9A-Fa-f]{12}\Z")


@attrs.frozen(slots=True, order=True)
class FoundLog:
    """A log file of the folder."""

    serial: str
    path: Path


@attrs.define
class ReplayCounts:
    """Numbers of files by result."""

    uploaded: int = 0
    skipped: int = 0
    """Files acknowledged in an earlier run."""
    refused: list[str] = attrs.field(factory=list)
    """Files that the server refused (4xx), with the reason."""
    configs: int = 0


class Stopped(Exception):
    """The server accepts no more files now; the message says why. A later run continues with the first file that was not acknowledged."""


def find_logs(folder: Path, serial: str | None = None) -> list[FoundLog]:
    """The logs below a folder, each logger's oldest first.

    :param serial: the logger's serial number; None: the name of each log's nearest folder like ``001EC6001433``.
    :raises UploadError: a log is below no such folder, and ``serial`` is not given.
    """
    found = [FoundLog(serial or _serial_of(folder, path), path) for path in folder.rglob("*") if _LOG.match(path.name)]
    return sorted(found, key=lambda log: (log.serial, _age(log.path)))


def _serial_of(folder: Path, path: Path) -> str:
    for parent in [path.parent, *path.parent.parents]:
        if _SERIAL.match(parent.name):
            return parent.name.upper()
        if parent == folder:
            break
    raise UploadError(
        f"{path}: the logger is not known; use --serial, or put the log in a folder named by the serial number"
    )


def _age(path: Path) -> tuple[int, str]:
    # A rotated log has the time of its rotation in its name, in hex. The current log (mb-001.log) is the newest.
    match = re.match(r"mb-\d+\.([0-9A-Fa-f]{8})_", path.name)
    return (int(match[1], 16) if match else 1 << 40, str(path))


class ReplayJournal:
    """Records acknowledged files: a JSON line for each, with target, path and content hash."""

    def __init__(self, file: Path, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._out: TextIO | None = None
        self._file = file
        self._done: set[tuple[str, str]] = set()
        if file.exists():
            self._done = set(self._earlier(file.read_text(encoding="utf-8").splitlines()))

    def _earlier(self, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
        for line in lines:
            try:
                entry = json.loads(line)
                if entry["url"] == self._url:
                    yield entry["file"], entry["md5"]
            except (ValueError, KeyError, TypeError):
                continue  # incomplete because of a kill: that file is uploaded again, which changes nothing

    def done(self, path: Path, content: bytes) -> bool:
        """Whether this file with this content was acknowledged."""
        return (self._name(path), md5(content)) in self._done

    def note(self, path: Path, content: bytes) -> None:
        """Record that a file was acknowledged. If a kill prevents that, the file is uploaded again, which changes nothing."""
        if self._out is None:
            cut_off = self._file.exists() and not self._file.read_bytes().endswith(b"\n")
            self._out = self._file.open("a", encoding="utf-8")
            self._out.write("\n" if cut_off else "")
        entry = {"url": self._url, "file": self._name(path), "md5": md5(content)}
        self._out.write(json.dumps(entry) + "\n")
        self._out.flush()

    def close(self) -> None:
        """Close the file."""
        if self._out is not None:
            self._out.close()

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._folder))


class Replay:
    """Uploads the logs of some loggers, in order, one at a time."""

    def __init__(
        self,
        post: Post,
        pause: Callable[[float], Awaitable[object]],
        journal: ReplayJournal,
        *,
        password: str,
        device_class: str = "",
        step: Callable[[], None] = lambda: None,
    ) -> None:
        self.counts = ReplayCounts()
        self._post = post
        self._pause = pause
        self._journal = journal
        self._password = password
        self._device_class = device_class
        self._step = step

    async def run(self, logs: Sequence[FoundLog], folder: Path) -> ReplayCounts:
        """Upload all. Raises Stopped."""
        try:
            for serial in dict.fromkeys(log.serial for log in logs):
                own = [log.path for log in logs if log.serial == serial]
                await self._send_configs(serial, own, folder)
                for path in own:
                    await self._replay(serial, path)
                    self._step()
        finally:
            self._journal.close()
        return self.counts

    async def _send_configs(self, serial: str, logs: Sequence[Path], folder: Path) -> None:
        """Upload config files next to the logs (or in the parent folder), from which the server learns the columns."""
        places = {
            place for path in logs for place in (path.parent, path.parent.parent) if folder in (place, *place.parents)
        }
        paths = sorted(path for place in places for path in place.iterdir() if _CONFIG.match(path.name))
        files = [
            ConfigFile(
                path.name.lower() if path.name.lower() == "loggerconfig.ini" else f"modbus/{path.name.lower()}",
                path.read_bytes(),
                int(path.stat().st_mtime),
                self._device_class,
            )
            for path in paths
        ]
        if files:
            try:
                self.counts.configs += await exchange(self._post, serial, self._password, files)
            except NoResponse as error:
                raise Stopped(str(error)) from error

    async def _replay(self, serial: str, path: Path) -> None:
        content = path.read_bytes()
        if self._journal.done(path, content):
            self.counts.skipped += 1
            return
        headers, body = self._request(serial, path, content)
        reason = ""
        for attempt in range(TRIES):
            if attempt:
                await self._pause(2.0**attempt / 2)
            try:
                reply = await self._post(headers, body)
            except NoResponse as error:
                reason = str(error)
                continue
            reason = reply.reason
            disposition = disposition_of(reply)
            if disposition is Disposition.DELETE:
                self._journal.note(path, content)
                self.counts.uploaded += 1
                return
            if disposition is Disposition.ABANDON:
                raise Stopped(f"{serial}: {reason}")
            if reply.status < 500:
                self.counts.refused.append(f"{path}: {reason}")
                return
        raise Stopped(f"{path}: {reason}")

    def _request(self, serial: str, path: Path, content: bytes) -> tuple[list[tuple[str, str]], bytes]:
        meter = meter_id(path.name)
        fields = log_fields(serial, self._password, meter, content, device_class=self._device_class)
        fields["FILETIME"] = device_time(int(path.stat().st_mtime))
        content_type, body = multipart_form(fields, f"modbus/{path.name}", content)
        return [("Content-Type", content_type)], body
