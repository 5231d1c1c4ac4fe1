"""Handlers: one per way into the server."""
