"""Hides secrets in text, in linear time.

The text may come from a device, a customer or a plugin, so no pattern here may scan the same part of it twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

HIDDEN = "***"
_KEYWORD = r"(?:passw(?:or)?d|secret|token|api_?key|authorization|cookie)"
# The secret is group 1. Repetitions are bounded, or end at a character that starts the next match.
_PATTERNS = (
    # A form variable as the logger sends it: name="PASSWORD", an empty line, the value.
    re.compile(
        rf'name=\\?"[a-z_]{{0,40}}{_KEYWORD}\\?"[^\n\\]{{0,100}}(?:\s|\\r|\\n){{1,8}}([^\s\\"\']+)', re.IGNORECASE
    ),
    # password=x, "token": "x", Authorization: Basic x
    re.compile(
        rf"""{_KEYWORD}["']?\s{{0,8}}[=:]\s{{0,8}}["']?(?:(?:basic|bearer)\s{{1,8}})?([^\s"',;&}})]+)""",
        re.IGNORECASE,
    ),
    re.compile(r"\b(?:basic|bearer)\s{1,8}([A-Za-z0-9+/=_.~-]{8,})", re.IGNORECASE),
    # scheme://user:password@host
    re.compile(r"(?<=[a-z0-9+.-])://[^\s/:@]*:([^\s/@]+)(?=@)", re.IGNORECASE),
    re.compile(r"\$argon2[a-z]{0,8}\$(\S+)"),
)
_SECRET_NAME = re.compile(rf"[a-z_]*{_KEYWORD}\Z", re.IGNORECASE)
_MARGIN = 1024
"""Characters beyond the limit that are searched too, so that a secret across the limit is recognised."""


def names_a_secret(key: str) -> bool:
    """Whether a field of this name holds a secret: ``password``, ``logger_password``, ``api_key``, ..."""
    return len(key) <= 100 and _SECRET_NAME.match(key) is not None


class Redactor:
    """Replaces everything that looks like a secret, and the given secrets wherever they occur.

    :param secrets: texts to hide; those shorter than four characters are not hidden, because they occur in ordinary words.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = {secret for secret in secrets if len(secret) >= 4}
        self._margin = max([_MARGIN, *map(len, self._secrets)])

    def __call__(self, text: str, limit: int | None = None) -> str:
        """The text without secrets; beyond ``limit`` characters only the number of the remaining ones."""
        if limit is None or len(text) <= limit:
            return self.excerpt(text, 0, len(text))
        return f"{self.excerpt(text, 0, limit)}... ({len(text) - limit} more characters)"

    def excerpt(self, text: str, start: int, end: int) -> str:
        """``text[start:end]`` without secrets or parts of secrets."""
        begin = max(0, start - self._margin)
        searched = text[begin : end + self._margin]
        parts: list[str] = []
        position, stop = start - begin, min(end - begin, len(searched))
        for first, after in sorted(self._found(searched)):
            if after <= position or first >= stop:
                continue
            if first >= position:
                parts.append(searched[position:first])
            parts.append(HIDDEN)
            position = after
        parts.append(searched[position:stop])
        return "".join(parts)

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of every secret."""
        for secret in self._secrets:
            at = text.find(secret)
            while at >= 0:
                yield at, at + len(secret)
                at = text.find(secret, at + len(secret))
        for pattern in _PATTERNS:
            for match in pattern.finditer(text):
                yield match.span(1)
