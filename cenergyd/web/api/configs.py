"""Loggers' config files for operators: versions, redacted texts, differences, queueing one for download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from cenergyd.acquisuite.configfiles import is_config_name
from cenergyd.errors import InvalidField, NotFound
from cenergyd.ingest.config_versions import ConfigArchive
from cenergyd.web.api import openapi
from cenergyd.web.api.routing import Call, Reply, Route
from cenergyd.web.server.problems import FieldError, invalid_fields
from cenergyd.web.views.context import Context

_MAX_VERSION = 10**9


class ConfigsApi:
    """``/loggers/{serial}/configs...``; secrets never leave the store, so all texts are redacted."""

    def __init__(self, context: Context) -> None:
        self._archive = context.archive

    async def files(self, call: Call, serial: str) -> Reply:
        """The files of a logger."""
        found = await self._kept().files(serial)
        if not found:
            raise NotFound("no config file of this logger is known")
        return Reply({"files": [{"name": name, **attrs.asdict(version)} for name, version in sorted(found.items())]})

    async def versions(self, call: Call, serial: str) -> Reply:
        """The versions of a file."""
        found = await self._kept().versions(serial, _name(call))
        if not found:
            raise NotFound("no version of this file is known")
        return Reply({"versions": [attrs.asdict(version) for version in found]})

    async def text(self, call: Call, serial: str) -> Reply:
        """One version's text."""
        text = await self._kept().redacted(serial, _name(call), _number(call, "version"))
        return Reply({"text": text})

    async def diff(self, call: Call, serial: str) -> Reply:
        """How two versions differ."""
        old, new = _number(call, "old"), _number(call, "new")
        return Reply({"diff": await self._kept().compare(serial, _name(call), old, new)})

    async def queue(self, call: Call, serial: str) -> Reply:
        """Have the logger fetch a version, or take that back."""
        given = call.json_object()
        version = given.get("version")
        if version is not None and (
            isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= _MAX_VERSION
        ):
            raise invalid_fields([FieldError("version", "a version's number, or null, is needed")])
        name = given.get("name")
        if not isinstance(name, str) or not is_config_name(name):
            raise invalid_fields([FieldError("name", "loggerconfig.ini or modbus/mb-NNN.ini is needed")])
        archive = self._kept()
        if version is not None and not archive.remote:
            raise InvalidField("version", "loggers may not fetch files: set [upload] remote_configuration = yes")
        await archive.queue(serial, name, version)
        return Reply(status=204)

    def _kept(self) -> ConfigArchive:
        if self._archive is None:
            raise NotFound("config files are not kept here")
        return self._archive

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        base = "/loggers/{serial}/configs"
        return (
            Route("GET", base, self.files, "operator", _FILES),
            Route("GET", f"{base}/versions", self.versions, "operator", _VERSIONS),
            Route("GET", f"{base}/text", self.text, "operator", _TEXT),
            Route("GET", f"{base}/diff", self.diff, "operator", _DIFF),
            Route("POST", f"{base}/queue", self.queue, "operator", _QUEUE),
        )

    def schemas(self) -> Mapping[str, Any]:
        """Schema components."""
        return _SCHEMAS


def _name(call: Call) -> str:
    name = call.query("name") or ""
    if not is_config_name(name):
        raise invalid_fields([FieldError("name", "loggerconfig.ini or modbus/mb-NNN.ini is needed")])
    return name


def _number(call: Call, field: str) -> int:
    number = call.query_integer(field, 1, _MAX_VERSION)
    if number is None:
        raise invalid_fields([FieldError(field, "a version's number is needed")])
    return number


_TAG = "config files"
_SERIAL = openapi.path_parameter("serial", "The logger's serial number.")
_NAME_SCHEMA = {"type": "string", "pattern": r"^(loggerconfig\.ini|modbus/mb-[0-9]{3}\.ini)$"}
_NAME = openapi.query_parameter("name", _NAME_SCHEMA, "The file.", required=True)
_NUMBER = {"type": "integer", "minimum": 1, "maximum": _MAX_VERSION}
_VERSION = {
    "number": {"type": "integer"},
    "md5": {"type": "string"},
    "size": {"type": "integer", "description": "Bytes."},
    "file_time": openapi.nullable(openapi.TIME),
    "received": openapi.TIME,
    "queued": {"type": "boolean", "description": "Whether the logger is to fetch this version."},
}
_SCHEMAS: Mapping[str, Any] = {
    "ConfigFiles": openapi.closed(
        {"files": {"type": "array", "items": openapi.closed({"name": {"type": "string"}, **_VERSION})}}
    ),
    "ConfigVersions": openapi.closed({"versions": {"type": "array", "items": openapi.closed(_VERSION)}}),
    "ConfigText": openapi.closed({"text": {"type": "string", "description": "Redacted: secrets read (hidden)."}}),
    "ConfigDiff": openapi.closed({"diff": {"type": "string", "description": "A unified diff of the redacted texts."}}),
    "ConfigQueue": openapi.closed({"name": _NAME_SCHEMA, "version": openapi.nullable(_NUMBER)}),
}
_FILES = openapi.operation(
    "listConfigFiles",
    _TAG,
    "A logger's config files (operators)",
    reply=openapi.ref("ConfigFiles"),
    parameters=[_SERIAL],
)
_VERSIONS = openapi.operation(
    "listConfigVersions", _TAG, "The versions of a config file, newest first (operators)",
    reply=openapi.ref("ConfigVersions"), parameters=[_SERIAL, _NAME],
)  # fmt: skip
_TEXT = openapi.operation(
    "readConfigText", _TAG, "A version's text without its secrets (operators)", reply=openapi.ref("ConfigText"),
    parameters=[_SERIAL, _NAME, openapi.query_parameter("version", _NUMBER, "Its number.", required=True)],
)  # fmt: skip
_DIFF = openapi.operation(
    "compareConfigVersions", _TAG, "How two versions differ (operators)", reply=openapi.ref("ConfigDiff"),
    parameters=[
        _SERIAL, _NAME,
        openapi.query_parameter("old", _NUMBER, "The older one's number.", required=True),
        openapi.query_parameter("new", _NUMBER, "The newer one's number.", required=True),
    ],
)  # fmt: skip
_QUEUE = openapi.operation(
    "queueConfigVersion", _TAG, "Have the logger fetch a version; null takes that back (operators)",
    status=204, body=openapi.ref("ConfigQueue"), parameters=[_SERIAL],
)  # fmt: skip
