"""Checks the kinds of alerts that a plugin declares."""

from __future__ import annotations

import re
from collections.abc import Container

from msgspec import inspect

from cenergyd.hookspecs import AlertRule, AlertRuleType
from cenergyd.jobs.alerts.rules import KIND, RULES
from cenergyd.runtime.plugin_options import BadDeclaration

_HOOK = "cenergyd_alert_rules"
_RESERVED = ("test",)
"""Kinds of messages that are not alerts."""


def checked_rules(rules: object, taken: Container[str]) -> list[AlertRuleType]:
    """Check a plugin's declaration and return it. Raises BadDeclaration."""
    found = list(rules) if isinstance(rules, list | tuple) else []
    if not found or not all(isinstance(rule, AlertRuleType) for rule in found):
        raise BadDeclaration(f"{_HOOK}: a list of AlertRuleType is needed")
    for rule in found:
        kind = str(rule.kind)
        if not re.fullmatch(KIND, kind):
            raise BadDeclaration(f"{_HOOK}: {kind[:50]!r} is not a name of a kind of alerts")
        if kind in taken or kind in RULES or kind in _RESERVED or sum(each.kind == kind for each in found) > 1:
            raise BadDeclaration(f"{_HOOK}: there are alerts {kind} already")
        if not (isinstance(rule.fields, type) and issubclass(rule.fields, AlertRule)):
            raise BadDeclaration(f"{_HOOK}: fields of {kind} must be a subclass of AlertRule")
        _check_fields(kind, rule.fields)
    return found


def _check_fields(kind: str, fields: type[AlertRule]) -> None:
    described = inspect.type_info(fields)
    assert isinstance(described, inspect.StructType)
    for field in described.fields:
        if field.name in AlertRule.__struct_fields__:
            continue
        node = field.type.type if isinstance(field.type, inspect.Metadata) else field.type
        usable = inspect.LiteralType if field.name == "role" else inspect.IntType | inspect.FloatType | inspect.StrType
        if field.required or not isinstance(node, usable):
            raise BadDeclaration(
                f"{_HOOK}: {kind}.{field.name} must be a number or text with a default, and role a Role"
            )
