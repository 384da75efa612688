"""Loggers' config files for operators: versions, redacted texts, differences, queueing one for download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import attrs
from msgspec import Meta

from cenergyd.acquisuite.config_files import is_config_name
from cenergyd.errors import InvalidField, NotFound
from cenergyd.ingest.config_versions import ConfigVersionStore
from cenergyd.runtime.structs import Resource, Time, schema_of, whole
from cenergyd.web.api import openapi
from cenergyd.web.api.routing import Call, Response, Route
from cenergyd.web.server.problems import FieldError, invalid_fields
from cenergyd.web.views.context import Context

_MAX_VERSION = 10**9


FileName = Annotated[
    str,
    Meta(
        pattern=whole(r"loggerconfig\.ini|modbus/mb-[0-9]{3}\.ini"),
        extra={"needed": "loggerconfig.ini or modbus/mb-NNN.ini is needed"},
    ),
]


class ConfigVersionJson(Resource, frozen=True, kw_only=True):
    """A version of a config file."""

    number: int
    md5: str
    size: Annotated[int, Meta(description="Bytes.")]
    file_time: Time | None
    received: Time
    queued: Annotated[bool, Meta(description="Whether the logger is to fetch this version.")]


class ConfigFileJson(ConfigVersionJson, frozen=True, kw_only=True):
    """A config file and its latest version."""

    name: str


class ConfigFiles(Resource, frozen=True, kw_only=True):
    """The config files of a logger."""

    files: list[ConfigFileJson]


class ConfigVersions(Resource, frozen=True, kw_only=True):
    """The versions of a config file, newest first."""

    versions: list[ConfigVersionJson]


class ConfigText(Resource, frozen=True, kw_only=True):
    """A version's text."""

    text: Annotated[str, Meta(description="Redacted: each secret is replaced by (hidden).")]


class ConfigDiff(Resource, frozen=True, kw_only=True):
    """How two versions differ."""

    diff: Annotated[str, Meta(description="A unified diff of the redacted texts.")]


class ConfigQueue(Resource, frozen=True, kw_only=True):
    """A version that a logger is to fetch; null: none."""

    name: FileName
    version: Annotated[int, Meta(ge=1, le=_MAX_VERSION)] | None = None


class ConfigsApi:
    """``/loggers/{serial}/configs...``; all texts are redacted, so no secret is returned."""

    def __init__(self, context: Context) -> None:
        self._archive = context.archive

    async def files(self, call: Call, serial: str) -> Response:
        """The files of a logger."""
        found = await self._kept().files(serial)
        if not found:
            raise NotFound("no config file of this logger is known")
        return Response(
            ConfigFiles(files=[ConfigFileJson(name=name, **attrs.asdict(found[name])) for name in sorted(found)])
        )

    async def versions(self, call: Call, serial: str) -> Response:
        """The versions of a file."""
        found = await self._kept().versions(serial, _name(call))
        if not found:
            raise NotFound("no version of this file is known")
        return Response(ConfigVersions(versions=[ConfigVersionJson(**attrs.asdict(version)) for version in found]))

    async def text(self, call: Call, serial: str) -> Response:
        """One version's text."""
        text = await self._kept().redacted(serial, _name(call), _number(call, "version"))
        return Response(ConfigText(text=text))

    async def diff(self, call: Call, serial: str) -> Response:
        """How two versions differ."""
        old, new = _number(call, "old"), _number(call, "new")
        return Response(ConfigDiff(diff=await self._kept().compare(serial, _name(call), old, new)))

    async def queue(self, call: Call, serial: str) -> Response:
        """Queue a version for the logger to fetch, or cancel that."""
        given = call.body(ConfigQueue)
        archive = self._kept()
        if given.version is not None and not archive.remote:
            raise InvalidField("version", "loggers may not fetch files: set [upload] remote_configuration = yes")
        await archive.queue(serial, given.name, given.version)
        return Response(status=204)

    def _kept(self) -> ConfigVersionStore:
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
_NAME = openapi.query_parameter("name", schema_of(FileName), "The file.", required=True)
_NUMBER = {"type": "integer", "minimum": 1, "maximum": _MAX_VERSION}
_FILES = openapi.Operation(
    "listConfigFiles",
    _TAG,
    "A logger's config files (operators)",
    response=ConfigFiles,
    parameters=[_SERIAL],
)
_VERSIONS = openapi.Operation(
    "listConfigVersions", _TAG, "The versions of a config file, newest first (operators)",
    response=ConfigVersions, parameters=[_SERIAL, _NAME],
)  # fmt: skip
_TEXT = openapi.Operation(
    "readConfigText", _TAG, "A version's text without its secrets (operators)", response=ConfigText,
    parameters=[_SERIAL, _NAME, openapi.query_parameter("version", _NUMBER, "Its number.", required=True)],
)  # fmt: skip
_DIFF = openapi.Operation(
    "compareConfigVersions", _TAG, "How two versions differ (operators)", response=ConfigDiff,
    parameters=[
        _SERIAL, _NAME,
        openapi.query_parameter("old", _NUMBER, "The older one's number.", required=True),
        openapi.query_parameter("new", _NUMBER, "The newer one's number.", required=True),
    ],
)  # fmt: skip
_QUEUE = openapi.Operation(
    "queueConfigVersion", _TAG, "Queue a version for the logger to fetch; null cancels that (operators)",
    status=204, body=ConfigQueue, parameters=[_SERIAL],
)  # fmt: skip
