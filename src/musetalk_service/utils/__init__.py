"""Small tools without knowledge of sessions: codecs, clocks, base64, asyncio helpers."""
