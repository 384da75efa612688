"""A logger for operators: meters seen, what it reports, its config files and how they changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote, urlencode

from cenergyd.acquisuite.config_files import is_config_name
from cenergyd.documents.kinds import REJECTED
from cenergyd.errors import Conflict, NotFound
from cenergyd.ingest.config_versions import ConfigVersionStore
from cenergyd.web.api.loggers import StatusReader
from cenergyd.web.pages.routing import Page, PageCall, PageRoute, Redirect
from cenergyd.web.views.context import Context

_MAX_VERSION = 1 << 31


class DiffLine(NamedTuple):
    """A line of a diff and its style."""

    style: str
    text: str


class LoggerPages:
    """``/loggers/<serial>`` and its config files."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reader = StatusReader(context)

    async def show(self, call: PageCall, serial: str) -> Page:
        """Meters, status and the list of files."""
        context = self._context
        logger = await self._reader.logger(serial)
        files = await context.archive.files(serial) if context.archive else {}
        owner = await context.customers.by_serial(serial)
        rejected = await context.documents.get(REJECTED, serial)
        known = logger.known or files
        if not known and owner is None and rejected is None:
            raise NotFound("no such logger is known")
        logger.meters.sort(key=lambda meter: (len(meter.meter), meter.meter))
        values = {
            "serial": serial,
            "logger": logger,
            "owner": owner,
            "rejected": rejected.body if rejected else None,
            "files": [(name, file, config_path(serial, name)) for name, file in sorted(files.items())],
        }
        return Page("logger.html", values, tab="overview")

    async def config(self, call: PageCall, serial: str) -> Page:
        """The versions of a file, one of them as text, or the diff of two; secrets are hidden."""
        return await self._config_page(call, serial, _checked_name(call.query("name")))

    async def queue(self, call: PageCall, serial: str) -> Page | Redirect:
        """Queue a version for the logger to fetch, or cancel that."""
        name = _checked_name(call.form.get("name"))
        number = _number(call.form.get("version"))
        archive = self._archive()
        if number is not None and not archive.remote:
            return await self._config_page(call, serial, name, problem="off", status=422)
        try:
            await archive.queue(serial, name, number)
        except Conflict:
            return await self._config_page(call, serial, name, problem="conflict", status=409)
        return Redirect(config_path(serial, name, done="queued" if number is not None else "taken-back"))

    async def _config_page(
        self, call: PageCall, serial: str, name: str, *, problem: str = "", status: int = 200
    ) -> Page:
        archive = self._archive()
        versions = await archive.versions(serial, name)
        if not versions:
            raise NotFound("no version of this file is known")
        old, new = _number(call.query("old")), _number(call.query("new"))
        shown = _number(call.query("version")) or versions[0].number
        comparing = old is not None and new is not None
        values = {
            "serial": serial,
            "name": name,
            "path": config_path(serial, name),
            "base": f"/loggers/{quote(serial, safe='')}",
            "versions": versions,
            "remote": archive.remote,
            "queued": next((version.number for version in versions if version.queued), None),
            "problem": problem,
            "done": call.query("done"),
            "shown": shown,
            "old": old or (versions[1].number if len(versions) > 1 else versions[0].number),
            "new": new or versions[0].number,
            "text": None if comparing else await archive.redacted(serial, name, shown),
            "diff": diff_lines(await archive.compare(serial, name, old, new)) if old and new else None,
        }
        return Page("config_file.html", values, status, tab="overview")

    def _archive(self) -> ConfigVersionStore:
        if self._context.archive is None:
            raise NotFound("config files are not kept here")
        return self._context.archive

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        one = "/loggers/<serial>"
        return (
            PageRoute("GET", one, self.show, "operator"),
            PageRoute("GET", f"{one}/config", self.config, "operator"),
            PageRoute("POST", f"{one}/config", self.queue, "operator"),
        )


def config_path(serial: str, name: str, **more: str) -> str:
    """The page of a config file."""
    return f"/loggers/{quote(serial, safe='')}/config?{urlencode({'name': name, **more})}"


def diff_lines(text: str) -> list[DiffLine]:
    """A unified diff, line by line, without the file names."""
    styles = {"+": "added", "-": "removed", "@": "place"}
    lines = [line for line in text.splitlines() if not line.startswith(("--- ", "+++ "))]
    return [DiffLine(styles.get(line[:1], ""), line) for line in lines]


def _checked_name(name: str | None) -> str:
    if not name or not is_config_name(name):
        raise NotFound("there is no such config file")
    return name


def _number(text: str | None) -> int | None:
    """A version's number; None for other text."""
    if not text or not (text.isascii() and text.isdigit()) or len(text) > 10 or not 0 < int(text) < _MAX_VERSION:
        return None
    return int(text)
