"""The rules of the protocol to check. Each check is a function that takes the server and returns None or the violation."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from cenergyd.tools.conformance.client import Server

RuleCheck = Callable[[Server], str | None]


@attrs.frozen(slots=True)
class ProtocolRule:
    """One rule of the protocol and its check."""

    section: str
    says: str
    check: RuleCheck


RULES: list[ProtocolRule] = []


def rule(section: str, says: str) -> Callable[[RuleCheck], RuleCheck]:
    """Register a check."""

    def register(check: RuleCheck) -> RuleCheck:
        RULES.append(ProtocolRule(section, says, check))
        return check

    return register
