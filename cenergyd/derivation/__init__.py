"""Derivation: align two present meters by time and compute the third."""
