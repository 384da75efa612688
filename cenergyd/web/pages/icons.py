"""The pages' icons, as SVG. A template writes ``{{ "warn"|icon }}``; with a literal name it is put in when the template is compiled."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

_PATHS: Mapping[str, str] = {
    "ok": '<path d="M3.5 8.5l3 3 6-7"/>',
    "warn": '<path d="M8 2.2l6.3 11.3H1.7z"/><path d="M8 6.5v3.2M8 11.6v.1"/>',
    "bad": '<circle cx="8" cy="8" r="6.2"/><path d="M8 4.7v4M8 11.1v.1"/>',
    "info": '<circle cx="8" cy="8" r="6.2"/><path d="M8 7.4v4M8 4.6v.1"/>',
    "idle": '<circle cx="8" cy="8" r="6.2"/><path d="M8 4.5V8l2.4 1.6"/>',
    "left": '<path d="M10 3L5 8l5 5"/>',
    "right": '<path d="M6 3l5 5-5 5"/>',
    "plus": '<path d="M8 3v10M3 8h10"/>',
    "minus": '<path d="M3 8h10"/>',
    "now": '<path d="M3 3l5 5-5 5M12.5 3v10"/>',
    "back": '<path d="M3 8a5 5 0 1 0 1.6-3.7L3 5.8M3 2.6v3.2h3.2"/>',
    "download": '<path d="M8 2v8M4.8 7L8 10.2 11.2 7M2.5 13.5h11"/>',
    "search": '<circle cx="7" cy="7" r="4.3"/><path d="M10.3 10.3L14 14"/>',
    "out": '<path d="M9.5 2.5h-7v11h7M6.5 8h8M11.8 5.2L14.5 8l-2.7 2.8"/>',
}
_ICON = (
    '<svg class="icon" viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.6" '
    'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">{}</svg>'
)
_ICONS: Mapping[str, Markup] = {name: Markup(_ICON.format(paths)) for name, paths in _PATHS.items()}  # noqa: S704 - constants


def icon(name: str) -> Markup:
    """An icon by name; raises KeyError if there is none."""
    return _ICONS[name]
