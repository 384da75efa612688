"""Simulated solar sites whose loggers upload as real ones do: pure models of sites, and an upload client."""
