"""A conformance suite for the AcquiSuite upload protocol, which sends requests as a device does to any URL and checks the responses."""
