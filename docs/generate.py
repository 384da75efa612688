"""MkDocs hook: makes the pages that follow from the program itself, settings and API, and smooths the hand-written ones."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_type_hints

import attrs
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from twisted.internet.task import Clock

from cenergyd.daemon.reloading import LIVE
from cenergyd.daemon.service import Daemon, build_daemon
from cenergyd.settings.loader import accepted_values, load_settings, settings_in
from cenergyd.settings.sections import Settings

_FENCE = re.compile(r"^```([a-z]+) [a-z ]+$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    files.append(File.generated(config, "settings.md", content="\n".join(settings_page()) + "\n"))
    files.append(File.generated(config, "api.md", content="\n".join(api_page(daemon().api_document)) + "\n"))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Code blocks that tests know by a second word keep only their language; the table of figures goes where it is asked for."""
    return _FENCE.sub(r"```\1", markdown).replace("<!-- metrics -->", "\n".join(metrics_table()))


@cache
def daemon() -> Daemon:
    """One with default settings, which is not started."""
    clock: Any = Clock()
    return build_daemon(load_settings(Settings, None), clock)


def metrics_table() -> Iterator[str]:
    """Every figure of ``/metrics``."""
    yield from ("| figure | | |", "|---|---|---|")
    for family in daemon().metrics.registry.collect():
        total = "_total" if family.type == "counter" else ""
        yield f"| `{family.name}{total}` | {family.type} | {_cell(family.documentation)} |"


def settings_page() -> Iterator[str]:
    """Every section and setting."""
    yield from (
        "# Settings",
        "",
        "Made from `cenergyd/settings/sections.py`, as `etc/cenergyd.ini` is. `cenergyd check` tells what is wrong with an ini file, by section and key; "
        "`--set section.key=value` overrides one setting. A value `@file:/path`, `@credential:NAME` or `@env:NAME` comes from "
        "elsewhere, so that secrets stay out of the file. Those marked *live* change with [SIGHUP](operating.md#changing-settings), others with a restart.",
    )
    hints = get_type_hints(Settings)
    for field in attrs.fields(Settings):
        section = hints[field.name]
        family = getattr(section, "__origin__", None) is dict
        cls = section.__args__[1] if family else section
        title = f"[{field.name}:NAME]" if family else f"[{field.name}]"
        yield from ("", f"## {title} {{#{field.name}}}", "", " ".join((cls.__doc__ or "").split()), "")
        if settings_in(cls):
            yield from ("| setting | default | accepts | for |", "|---|---|---|---|")
        for one in settings_in(cls):
            meta = one.metadata
            unit = f" {meta['unit']}" if meta["unit"] else ""
            default = f"`{meta['default']}`{unit}" if meta["default"] else "empty"
            live = " *(live)*" if field.name in LIVE or f"{field.name}.{one.name}" in LIVE else ""
            yield f"| `{one.name}`{live} | {default} | {_cell(accepted_values(meta['kind']))} | {_cell(meta['why'])} |"


def api_page(document: Mapping[str, Any]) -> Iterator[str]:
    """Every operation, by subject, then every schema."""
    base = document["servers"][0]["url"]
    yield from ("# API", "", document["info"]["description"], "")
    yield from (
        f"All paths are below `{base}`. The same as a machine reads it: `GET {base}/openapi.json` (OpenAPI {document['openapi']}).",
        "",
        "Send `Authorization: Bearer TOKEN` with a token of `cenergyd token add`, or sign in for a session cookie.",
        "",
        "## Errors",
        "",
        "| status | says |",
        "|---|---|",
    )
    for name, response in document["components"]["responses"].items():
        yield f"| {name.removeprefix('Problem')} | {_cell(response['description'])} |"
    operations = [(method, path, one) for path, methods in document["paths"].items() for method, one in methods.items()]
    for tag in dict.fromkeys(one["tags"][0] for _, _, one in operations):
        yield from ("", f"## {tag.capitalize()} {{#{_slug(tag)}}}")
        for method, path, one in operations:
            if one["tags"][0] == tag:
                yield from _operation(method.upper(), path, one)
    yield from ("", "## Schemas")
    for name, schema in document["components"]["schemas"].items():
        yield from ("", f"### {name} {{#schema-{name.lower()}}}", "")
        if schema.get("description"):
            yield from (_cell(schema["description"]), "")
        yield from _properties(schema)


def _operation(method: str, path: str, one: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"### `{method} {path}` {{#{one['operationId'].lower()}}}", "", f"{one['summary']}.")
    if one.get("security") == []:
        yield "Needs no credentials."
    if one.get("description"):
        yield from ("", one["description"])
    if one["parameters"]:
        yield from ("", "| parameter | in | type | |", "|---|---|---|---|")
        for parameter in one["parameters"]:
            needed = "" if parameter.get("required") else "optional; "
            about = _cell(parameter.get("description", ""))
            yield f"| `{parameter['name']}` | {parameter['in']} | {_type(parameter['schema'])} | {needed}{about} |"
    if "requestBody" in one:
        kinds = one["requestBody"]["content"]
        yield from (
            "",
            f"Body ({' or '.join(f'`{kind}`' for kind in kinds)}): {_type(next(iter(kinds.values()))['schema'])}.",
        )
    codes = [code for code in one["responses"] if code >= "400"]
    for code, response in one["responses"].items():
        if code < "400":
            content = response.get("content", {})
            kind, body = next(iter(content.items()), ("", {}))
            what = (
                f": {_type(body['schema'])}" + ("" if kind == "application/json" else f" as `{kind}`") if body else ""
            )
            etag = ", with an `ETag`" if "headers" in response else ""
            yield from ("", f"Answers {code}{what}{etag}; or {', '.join(codes)}.")


def _properties(schema: Mapping[str, Any]) -> Iterator[str]:
    properties = schema.get("properties")
    if not properties:
        yield f"{_type(schema)}."
        return
    yield from ("| field | type | |", "|---|---|---|")
    for name, one in properties.items():
        optional = "" if name in schema.get("required", ()) else "optional; "
        about = one.get("description") or next(
            (o["description"] for o in one.get("anyOf", ()) if "description" in o), ""
        )
        yield f"| `{name}` | {_type(one)} | {optional}{_cell(about)} |"


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words, references as links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#schema-{name.lower()})"
    if "const" in schema:
        return f"`{_cell(str(schema['const']))}`"
    if "enum" in schema:
        shown = [f"`{_cell(str(value))}`" if value != "" else "empty" for value in schema["enum"][:12]]
        return (
            " or ".join(shown)
            if len(schema["enum"]) <= 12
            else f"one of {len(schema['enum'])} words such as {shown[1]}"
        )
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    kind = schema.get("type", "anything")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    if kind == "array" and "prefixItems" in schema:
        return "list of " + ", ".join(_type(one) for one in schema["prefixItems"])
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and "properties" in schema:
        return "object of " + ", ".join(f"`{name}`: {_type(one)}" for name, one in schema["properties"].items())
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}, by name"
    return kind + _range(schema)


def _range(schema: Mapping[str, Any]) -> str:
    for low, high, unit in (("minimum", "maximum", ""), ("minLength", "maxLength", " characters")):
        if low in schema and high in schema:
            return f", {schema[low]} to {schema[high]}{unit}"
        if low in schema:
            return f", at least {schema[low]}{unit}"
        if high in schema:
            return f", at most {schema[high]}{unit}"
    return ""


def _cell(text: str) -> str:
    """Text for one cell of a table: nothing in it is markup but code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    plain = [
        part if part.startswith("`") else re.sub(r"([*_\[\]])", r"\\\1", html.escape(part, quote=False))
        for part in parts
    ]
    return "".join(plain).replace("|", "\\|")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z]+", "-", text.lower())
