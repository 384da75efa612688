"""Group commit is tested on the reading stores of the contract suite."""

from tests.storage.readings.conftest import serial, store

__all__ = ["serial", "store"]
