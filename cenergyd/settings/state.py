"""The state folder: the base of relative paths, whatever directory a command is called in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from cenergyd.settings.sections import Settings

SYSTEM_STATE: Final = Path("/var/lib/cenergyd")
"""Where systemd's ``StateDirectory=cenergyd`` is."""
_SQLITE: Final = "sqlite:///"


def state_folder(settings: Settings, environ: Mapping[str, str], *, system_wide: bool) -> Path:
    """The folder of ``[state] folder``, else systemd's, else that of an installation for the system, else the current one.

    :param system_wide: whether the settings are those in ``/etc``.
    """
    if settings.state.folder is not None:
        return settings.state.folder
    given = environ.get("STATE_DIRECTORY", "").split(":", 1)[0]
    if given:
        return Path(given)
    return SYSTEM_STATE if system_wide else Path.cwd()


def in_folder(settings: Settings, folder: Path) -> Settings:
    """The settings with every relative path of a database, and of the archive, below ``folder``."""
    return attrs.evolve(
        settings,
        customers=attrs.evolve(settings.customers, url=_resolved(settings.customers.url, folder)),
        readings=attrs.evolve(settings.readings, url=_resolved(settings.readings.url, folder)),
        archive=attrs.evolve(settings.archive, folder=folder / settings.archive.folder),
    )


def embedded_path(url: str) -> Path | None:
    """The file of an embedded database, or None if the URL is a server's."""
    return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None


def _resolved(url: str, folder: Path) -> str:
    path = embedded_path(url)
    return url if path is None else f"{_SQLITE}{folder / path}"
