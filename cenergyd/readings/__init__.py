"""Readings: the values of a meter over time, and the stores that keep them."""
