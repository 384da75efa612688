"""Decodes InfluxDB's answers in MessagePack, which unlike JSON distinguishes 1.0 from 1.

The rows are decoded one by one: decoding a large answer in one call would hold the GIL, and so stop the reactor, until it is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgpack import Unpacker
from msgpack.exceptions import ExtraData, FormatError, OutOfData, StackError

Read = Callable[[Unpacker], object]


def decoded_answer(content: bytes) -> object:
    """The answer to a query. Raises ValueError if it is not complete MessagePack of the known structure."""
    source = Unpacker(max_buffer_size=max(1, len(content)))
    source.feed(content)
    try:
        answer = _members(source, {"results": _results})
        if source.tell() != len(content):
            raise ExtraData(answer, content[source.tell() :])
    except (OutOfData, FormatError, StackError) as error:
        raise ValueError(f"not MessagePack: {type(error).__name__}") from None
    return answer


def _results(source: Unpacker) -> object:
    return [_members(source, {"series": _series}) for _ in range(source.read_array_header())]


def _series(source: Unpacker) -> object:
    return [_members(source, {"values": _rows}) for _ in range(source.read_array_header())]


def _rows(source: Unpacker) -> object:
    return [source.unpack() for _ in range(source.read_array_header())]


def _members(source: Unpacker, long: Mapping[str, Read]) -> dict[str, object]:
    """An object, of which some members are read step by step."""
    found: dict[str, object] = {}
    for _ in range(source.read_map_header()):
        name = source.unpack()
        read = long.get(name)
        found[name] = source.unpack() if read is None else read(source)
    return found
