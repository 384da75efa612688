"""Runs the outbox's service until nothing is due."""

from __future__ import annotations

from cenergyd.jobs.messages.sender import OutboxService


async def send_due(service: OutboxService) -> None:
    """Send all that is due, and wait until it was sent."""
    while await service.tick():
        await service.idle()
    await service.idle()
