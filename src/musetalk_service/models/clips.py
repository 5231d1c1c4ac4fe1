"""The names of clips: what ``base_video`` and ``available_videos`` may say."""

import re
from typing import Final

IDLE: Final = "idle"
SPEAKING: Final = "speaking"
ACTION: Final = "action"
DEFAULT_CLIP = "idle_0"
DEFAULT_SPEAKING_CLIP = "speaking_0"
ACTIONS = (1, 2)

CLIP_NAME = re.compile(r"(idle_[0-6]|speaking_[0-7]|action_[12])")
"""The names a full avatar has (protocol 1.1)."""


def action_clip(index: int) -> str:
    """The clip of an action index (1 or 2)."""
    return f"action_{index}"


ACTION_CLIPS = tuple(action_clip(index) for index in ACTIONS)


def kind_of(clip: str) -> str:
    """``idle``, ``speaking`` or ``action``."""
    return clip.rpartition("_")[0]
