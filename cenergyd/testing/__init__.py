"""Tools for tests of plugins; cenergyd's own tests use them too.

Stores in memory, functions that make readings, a day of a simulated site, a plugin run as the daemon runs it, and a daemon on free ports.
"""

from cenergyd.documents.memory import MemoryDocumentStore
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.testing.customers import SERIAL, MemoryCustomers, make_customer
from cenergyd.testing.daemon import RunningDaemon
from cenergyd.testing.plugins import PluginTest
from cenergyd.testing.ports import free_port
from cenergyd.testing.reactor_thread import wait_for
from cenergyd.testing.readings import NOON, SimulatedDay, aligned, make_readings, simulate_day

__all__ = [
    "NOON",
    "SERIAL",
    "MemoryCustomers",
    "MemoryDocumentStore",
    "MemoryReadingStore",
    "PluginTest",
    "RunningDaemon",
    "SimulatedDay",
    "aligned",
    "free_port",
    "make_customer",
    "make_readings",
    "simulate_day",
    "wait_for",
]
