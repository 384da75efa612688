"""A logger's requests about its config files: their manifest, their upload, and the download of one that an operator queued.

The logger gets back only a version of its own file that an operator queued, and only if remote configuration is on.
"""

from __future__ import annotations

from cenergyd.acquisuite.config_files import (
    LOGGER_CONFIG,
    ManifestEntry,
    config_name,
    read_config_upload,
    render_manifest,
)
from cenergyd.acquisuite.form import Form
from cenergyd.acquisuite.upload import Mode
from cenergyd.documents.kinds import CONFIG_FILE
from cenergyd.documents.meters import logger_and_meters
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import UploadError
from cenergyd.ingest.config_versions import ConfigVersionStore


class ConfigExchange:
    """Answers CONFIGFILEMANIFEST, CONFIGFILEUPLOAD and CONFIGFILEDOWNLOAD."""

    def __init__(self, documents: DocumentStore, versions: ConfigVersionStore) -> None:
        self._documents = documents
        self._versions = versions

    async def answer(self, mode: Mode, serial: str, form: Form) -> bytes | None:
        """The body of the reply; None means a plain SUCCESS. Raises UploadError."""
        if mode is Mode.CONFIGFILEMANIFEST:
            return render_manifest(await self._manifest(serial))
        if mode is Mode.CONFIGFILEUPLOAD:
            await self._versions.store(serial, read_config_upload(form, self._versions.max_bytes))
            return None
        return await self.download(serial, config_name(form.fields.get("MODBUSDEVICE")))

    async def _manifest(self, serial: str) -> list[ManifestEntry]:
        """The stored files; a blank entry requests one that is not stored: the logger's own file, and those of its meters."""
        heads = {head.key.removeprefix(f"{serial}/"): head for head in await self._versions.heads(serial)}
        names = {LOGGER_CONFIG, *heads}
        _, meters = await logger_and_meters(self._documents, serial)
        for series in meters:
            number = series.rpartition("_")[2]
            if number.isdigit():
                names.add(config_name(number))
        return [self._entry(name, heads.get(name)) for name in sorted(names)]

    def _entry(self, name: str, head: Document | None) -> ManifestEntry:
        if head is None:
            return ManifestEntry(name)
        queued = head.body.get("queued") if self._versions.remote else None
        shown = queued or head.body
        # A queued version must look newer than the device's own, or the device would not fetch it.
        return ManifestEntry(name, shown["md5"], queued["since"] if queued else head.body["file_time"])

    async def download(self, serial: str, name: str) -> bytes:
        """The queued version of a file. Raises UploadError if there is none or remote configuration is off."""
        head = await self._documents.get(CONFIG_FILE, f"{serial}/{name}")
        queued = head.body.get("queued") if head is not None else None
        if not self._versions.remote or not queued:
            raise UploadError(f"there is no new {name} for this logger")
        return await self._versions.content(serial, name, queued["number"])
