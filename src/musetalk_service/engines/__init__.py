"""Lip-sync engines: synchronous, and unaware of sockets, sessions and asyncio."""
