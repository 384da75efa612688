"""The AcquiSuite's language: pure functions from bytes to values and back, no I/O."""
