"""Simulated solar sites whose loggers upload as real ones do: pure models, and a client that carries their logs."""
