"""Scripts, styles and icons: read once, with addresses that change with the content, so that browsers may cache them."""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources
from importlib.resources.abc import Traversable

import attrs
from twisted.web.resource import Resource
from twisted.web.server import Request

from cenergyd.web.server.clients import Clients
from cenergyd.web.server.security import set_security_headers

BASE = "/static"
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}
_FOREVER = b"public, max-age=31536000, immutable"
_CHECK = b"no-cache"


@attrs.frozen
class StaticFile:
    """One file in memory."""

    content: bytes = attrs.field(repr=False)
    media_type: str
    version: str
    """The beginning of its hash."""


class StaticFiles(Resource):
    """Everything in ``static/``; mount it at :data:`BASE`. Only names in a dictionary are served, so no path leads outside."""

    isLeaf = True

    def __init__(self, clients: Clients, hsts_seconds: int = 0) -> None:
        super().__init__()
        self._clients = clients
        self._hsts = hsts_seconds
        self._files = _load(resources.files("cenergyd.web") / "static")
        self._zipped: dict[str, bytes] = {}

    def url(self, name: str) -> str:
        """The address of a file; it changes with the content. Raises KeyError if there is none."""
        return f"{BASE}/{name}?v={self._files[name].version}"

    def render_GET(self, request: Request) -> bytes:  # noqa: N802 - Twisted's name
        """One file."""
        return self.answer(request, b"/".join(request.postpath or []).decode("utf-8", "replace"))

    def answer(self, request: Request, name: str) -> bytes:
        """Answer with a file, or 404."""
        file = self._files.get(name)
        set_security_headers(request, secure=self._clients.of(request).secure, hsts_seconds=self._hsts)
        if file is None:
            request.setResponseCode(404)
            request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
            return b"There is nothing at this address.\n"
        kept = request.args.get(b"v") == [file.version.encode()]
        request.setHeader(b"Content-Type", file.media_type.encode())
        request.setHeader(b"Cache-Control", _FOREVER if kept else _CHECK)
        request.setHeader(b"Vary", b"Accept-Encoding")
        if request.setETag(f'"{file.version}"'.encode()):
            return b""
        if b"gzip" in (request.getHeader(b"accept-encoding") or b""):
            request.setHeader(b"Content-Encoding", b"gzip")
            if name not in self._zipped:
                self._zipped[name] = gzip.compress(file.content, mtime=0)
            return self._zipped[name]
        return file.content


def _load(folder: Traversable, prefix: str = "") -> dict[str, StaticFile]:
    found: dict[str, StaticFile] = {}
    for item in folder.iterdir():
        if item.is_dir():
            found |= _load(item, f"{prefix}{item.name}/")
        elif (media_type := _TYPES.get("." + item.name.rsplit(".", 1)[-1])) is not None:
            content = item.read_bytes()
            version = hashlib.sha256(content).hexdigest()[:16]
            found[prefix + item.name] = StaticFile(content, media_type, version)
    return found
