"""The device's side of the config file exchange: request the manifest, send files that the server lacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from cenergyd.acquisuite.config_files import meter_of_config, parse_manifest
from cenergyd.acquisuite.encode import XML_POINTS, md5, multipart_form
from cenergyd.acquisuite.layouts import Layout
from cenergyd.acquisuite.points import FIRST_POINT
from cenergyd.acquisuite.times import device_time
from cenergyd.errors import UploadError
from cenergyd.tools.simulator.http import UploadResponse

Post = Callable[..., Awaitable[UploadResponse]]
"""Like :meth:`cenergyd.tools.simulator.http.Target.post`."""


class ConfigFile(NamedTuple):
    """A file on the logger."""

    name: str
    """``loggerconfig.ini`` or ``modbus/mb-NNN.ini``."""
    content: bytes
    time: int
    """Time of its last change, UTC seconds."""
    device_class: str = ""


def meter_config(meter: str, layout: Layout, columns: int, device_class: str, time: int) -> ConfigFile:
    """The config file of a meter with this layout: names and units of its channels, ``-`` for all other points."""
    described = {column: XML_POINTS[channel] for channel, column in layout.columns.items()}
    lines = []
    for column in range(FIRST_POINT, columns):
        name, units = described.get(column, ("-", ""))
        point = f"POINT{column - FIRST_POINT:02d}"
        lines += [
            f"{point}NAME={name}",
            f"{point}UNITS={units}",
            f"{point}LOW=0",
            f"{point}HIGH=0",
            f"{point}CONSOLE=NO",
        ]
    content = "".join(line + "\r\n" for line in lines).encode("ascii")
    return ConfigFile(f"modbus/mb-{int(meter):03d}.ini", content, time, device_class)


async def exchange(post: Post, serial: str, password: str, files: Sequence[ConfigFile], loop_name: str = "") -> int:
    """Send the files that are missing in the server's manifest; returns how many it accepted.

    Nothing is sent to a server that does not support manifests. Raises NoResponse.
    """
    identity = {"SERIALNUMBER": serial, "PASSWORD": password, "LOOPNAME": loop_name}
    content_type, body = multipart_form({"MODE": "CONFIGFILEMANIFEST", **identity})
    reply = await post([("Content-Type", content_type)], body)
    if reply.status != 200:
        return 0
    try:
        known = {entry.name: entry.md5 for entry in parse_manifest(reply.body)}
    except UploadError:
        return 0
    taken = 0
    for file in files:
        checksum = md5(file.content)
        if known.get(file.name) == checksum:
            continue
        fields = {
            "MODE": "CONFIGFILEUPLOAD", **identity, "MODBUSDEVICE": meter_of_config(file.name) or "0",
            "MODBUSDEVICECLASS": file.device_class, "MD5CHECKSUM": checksum, "FILETIME": device_time(file.time),
        }  # fmt: skip
        content_type, body = multipart_form(fields, file.name, file.content, "CONFIGFILE")
        taken += (await post([("Content-Type", content_type)], body)).success
    return taken
