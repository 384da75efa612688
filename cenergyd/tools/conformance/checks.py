"""Runs all checks, in the order of the protocol's sections."""

from __future__ import annotations

from collections.abc import Iterator

from cenergyd.tools.conformance import log_checks, session_checks, xml_checks
from cenergyd.tools.conformance.client import Server
from cenergyd.tools.conformance.rules import RULES, ProtocolRule

__all__ = ["RULES", "log_checks", "run_checks", "session_checks", "xml_checks"]


def run_checks(server: Server) -> Iterator[tuple[ProtocolRule, str | None]]:
    """Every rule, with None or its violation."""
    for item in sorted(RULES, key=lambda item: item.section):
        try:
            yield item, item.check(server)
        except Exception as error:
            yield item, f"{type(error).__name__}: {error}"
