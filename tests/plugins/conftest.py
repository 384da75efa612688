"""The notifiers are tested with the inside of a small daemon that the jobs' tests have."""

from tests.jobs.conftest import notification, receiver, world

__all__ = ["notification", "receiver", "world"]
