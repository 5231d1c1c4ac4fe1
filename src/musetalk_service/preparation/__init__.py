"""Avatars out of photos and videos: synchronous, for a process of its own, since it reads what strangers upload."""
