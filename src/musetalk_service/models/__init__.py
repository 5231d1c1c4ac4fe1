"""Frozen data types that every layer shares; no I/O, no clock, no third-party runtime."""
