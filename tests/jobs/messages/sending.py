"""Letting the outbox's service work until nothing is left to do now."""

from __future__ import annotations

from cenergyd.jobs.messages.sender import OutboxService


async def send_due(service: OutboxService) -> None:
    """Send all that is due, and wait until it was sent."""
    while await service.tick():
        await service.idle()
    await service.idle()
