"""Versions of loggers' config files, and which of them a logger should fetch. The requests of loggers: :mod:`.config_exchange`.

Secrets are never shown: people see redacted text (:func:`cenergyd.acquisuite.config_files.redact`).
"""

from __future__ import annotations

import base64
import hashlib

import attrs

from cenergyd.acquisuite.config_files import (
    ConfigFileUpload,
    diff,
    meter_of_config,
    parse_meter_config,
    redact,
)
from cenergyd.documents.json_types import ReadOnlyJson
from cenergyd.documents.kinds import CONFIG_FILE, CONFIG_VERSION
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import NotFound
from cenergyd.ingest.meter_layouts import MeterLayouts
from cenergyd.runtime.clock import Timers

MAX_VERSIONS = 20
"""Maximum stored versions of a config file; the oldest is dropped."""
MAX_BYTES = 256 << 10
"""Largest config file accepted; the largest one seen has some 30 KB."""


@attrs.frozen(slots=True, kw_only=True)
class ConfigVersion:
    """One version of a file, without its content."""

    number: int
    """Counts the versions of the file."""
    md5: str
    """Of the bytes as sent by the device."""
    size: int
    """Bytes."""
    file_time: int | None
    """UTC seconds, as the device says."""
    received: int
    """UTC seconds."""
    queued: bool = False
    """Whether the device should fetch this version."""


class ConfigVersionStore:
    """Stores config files and their versions.

    :param remote: whether devices may fetch queued versions (``[upload] remote_configuration``).
    :param max_versions: versions kept of a file; the oldest is dropped.
    :param max_bytes: size of a file.
    """

    def __init__(
        self,
        documents: DocumentStore,
        layouts: MeterLayouts,
        clock: Timers,
        *,
        remote: bool,
        max_versions: int = MAX_VERSIONS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._documents = documents
        self._layouts = layouts
        self._clock = clock
        self.remote = remote
        self.max_versions = max_versions
        self.max_bytes = max_bytes

    async def store(self, serial: str, upload: ConfigFileUpload) -> bool:
        """Store a file as a new version if it differs from the newest; returns whether it did. Learns the meter's layout from it."""
        key = f"{serial}/{upload.name}"
        head = await self._documents.get(CONFIG_FILE, key)
        md5 = upload.md5
        # Before the file is recorded as stored, so that the device sends it again after a failure.
        await self._learn(serial, upload)
        if head is not None and head.body["md5"] == md5 and head.body["file_time"] == upload.file_time:
            return False
        number = head.body["number"] + 1 if head is not None else 1
        described = {
            "number": number, "md5": md5, "size": len(upload.content), "file_time": upload.file_time,
            "received": int(self._clock.seconds()), "device_class": upload.device_class,
        }  # fmt: skip
        content = base64.b64encode(upload.content).decode()
        await self._documents.put(CONFIG_VERSION, f"{key}/{number:06d}", {**described, "content": content}, owner=key)
        queued = head.body.get("queued") if head is not None else None
        if queued and queued["md5"] == md5:
            queued = None  # the device has it now
        await self._documents.put(
            CONFIG_FILE,
            key,
            {**described, "queued": queued},
            owner=serial,
            expected_version=head.version if head else 0,
        )
        await self._drop_old(key, number, queued)
        return True

    async def files(self, serial: str) -> dict[str, ConfigVersion]:
        """The newest version of each file of a logger."""
        return {
            head.key.removeprefix(f"{serial}/"): _version(head, head.body.get("queued"))
            for head in await self.heads(serial)
        }

    async def versions(self, serial: str, name: str) -> list[ConfigVersion]:
        """All stored versions of a file, newest first."""
        key = f"{serial}/{name}"
        head = await self._documents.get(CONFIG_FILE, key)
        queued = head.body.get("queued") if head is not None else None
        found = await self._documents.find(CONFIG_VERSION, owner=key, limit=self.max_versions + 1)
        return [_version(item, queued) for item in reversed(found)]

    async def redacted(self, serial: str, name: str, number: int) -> str:
        """A version's text without its secrets. Raises NotFound."""
        return redact(await self.content(serial, name, number))

    async def compare(self, serial: str, name: str, old: int, new: int) -> str:
        """A unified diff of two versions, of their redacted texts. Raises NotFound."""
        return diff(await self.content(serial, name, old), await self.content(serial, name, new))

    async def queue(self, serial: str, name: str, number: int | None) -> None:
        """Let the device fetch a version (None: cancel that). Raises NotFound."""
        head = await self._documents.get(CONFIG_FILE, f"{serial}/{name}")
        if head is None:
            raise NotFound(f"no {name} of logger {serial} is known")
        queued = None
        if number is not None:
            md5 = hashlib.md5(await self.content(serial, name, number), usedforsecurity=False).hexdigest()
            queued = {"number": number, "md5": md5, "since": int(self._clock.seconds())}
        body = {**head.body, "queued": queued}
        await self._documents.put(CONFIG_FILE, head.key, body, owner=serial, expected_version=head.version)

    async def content(self, serial: str, name: str, number: int) -> bytes:
        """A version's bytes, including secrets: only for the device. Raises NotFound."""
        found = await self._documents.get(CONFIG_VERSION, f"{serial}/{name}/{number:06d}")
        if found is None:
            raise NotFound(f"version {number} of {name} is not kept")
        return base64.b64decode(found.body["content"])

    async def heads(self, serial: str) -> list[Document]:
        """For each file of a logger the document that describes its newest version and the queued one."""
        return await self._documents.find(CONFIG_FILE, owner=serial, limit=300)

    async def _drop_old(self, key: str, newest: int, queued: ReadOnlyJson | None) -> None:
        for number in range(newest - self.max_versions, 0, -1):
            if queued and queued["number"] == number:
                continue
            if not await self._documents.delete(CONFIG_VERSION, f"{key}/{number:06d}"):
                return

    async def _learn(self, serial: str, upload: ConfigFileUpload) -> None:
        meter = meter_of_config(upload.name)
        if meter is not None:
            await self._layouts.learn(serial, meter, parse_meter_config(upload.content), upload.device_class)


def _version(document: Document, queued: ReadOnlyJson | None) -> ConfigVersion:
    body = document.body
    return ConfigVersion(
        number=body["number"], md5=body["md5"], size=body["size"], file_time=body["file_time"], received=body["received"],
        queued=bool(queued and queued["number"] == body["number"]),
    )  # fmt: skip
