"""A conformance suite of the AcquiSuite upload protocol: what a device sends, and what a server must answer, against any URL."""
