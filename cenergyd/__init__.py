"""cenergyd: receive AcquiSuite meter logs, store them, and compute the meter that is not there."""

__version__ = "0.1.0"
