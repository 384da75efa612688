"""cenergyd: receive AcquiSuite meter logs, store them, and compute the meter that is not installed."""

__version__ = "0.1.0"
