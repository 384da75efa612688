"""The rules of the protocol that a server is checked against. Each check is a function of the server that returns None, or what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from cenergyd.tools.conformance.client import Server

Check = Callable[[Server], str | None]


@attrs.frozen(slots=True)
class ProtocolRule:
    """One sentence of the protocol and how to check it."""

    section: str
    says: str
    check: Check


RULES: list[ProtocolRule] = []


def rule(section: str, says: str) -> Callable[[Check], Check]:
    """Register a check."""

    def register(check: Check) -> Check:
        RULES.append(ProtocolRule(section, says, check))
        return check

    return register
