"""A WebSocket service that makes a face speak, live."""

__version__ = "0.1.0"
