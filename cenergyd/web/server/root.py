"""Dispatches requests to the apps, by path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from twisted.web.resource import NoResource, Resource
from twisted.web.server import Request

from cenergyd.web.server.security import set_security_headers


class Root(Resource):
    """Dispatches requests to the app with the longest matching mount.

    :param mounts: path -> resource that sees the rest of the path.
    :param whole: path -> resource that sees the whole path, for apps with several mounts.
    """

    def __init__(self, mounts: Mapping[str, Resource], whole: Mapping[str, Resource]) -> None:
        super().__init__()
        self._mounts = {_segments(path): (resource, True) for path, resource in mounts.items()}
        self._mounts |= {_segments(path): (resource, False) for path, resource in whole.items()}
        self._depths = sorted({len(path) for path in self._mounts}, reverse=True)

    def getChild(self, path: bytes, request: Request) -> Resource:  # noqa: N802 - Twisted's name
        """Twisted's traversal took the first segment; find the mount and leave it the rest."""
        segments = (*(request.prepath or ()), *(request.postpath or ()))
        if not (_is_text(*segments) and _is_host(request.getRequestHostname())):
            # Klein and werkzeug would refuse it as well, but log each one as an error of ours.
            return BadRequest()
        for depth in self._depths:
            found = self._mounts.get(segments[:depth])
            if found is not None and depth <= len(segments):
                resource, stripped = found
                cut = depth if stripped else 0
                request.prepath = list(segments[:cut])
                request.postpath = list(segments[cut:])
                return resource
        return NoResource()


class BadRequest(Resource):
    """For a path that is not UTF-8, or an invalid host name."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        """400 without an explanation."""
        request.setResponseCode(400)
        set_security_headers(request, secure=False)
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return b"FAILURE: no such address is possible\n"


def _is_text(*parts: bytes) -> bool:
    try:
        b"".join(parts).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(256)
def _is_host(name: bytes) -> bool:
    """Whether it can be a host name. Cached: nearly all requests name the same few, and a header's size is bounded."""
    try:
        # With a port, as werkzeug checks it.
        (name.decode("utf-8") + ":65535").encode("idna")
    except UnicodeError:
        return False
    return True


def _segments(path: str) -> tuple[bytes, ...]:
    return tuple(part.encode() for part in path.split("/") if part)
