"""Joins pictures that do not belong together: a base video's jumps, and changes between video and portrait."""

import cv2
import numpy as np

from musetalk_service.engines.avatar import Avatar
from musetalk_service.engines.base import Picture
from musetalk_service.models.clips import IDLE, kind_of
from musetalk_service.models.face import REST
from musetalk_service.models.media import ClipPosition, FrameSize

_FRAMES = 8
"""A third of a second: shorter than the eye takes for a cut, longer than it takes for a flicker."""


class Dissolve:
    """One session's. What was seen last fades out over what comes; portraits alone are never touched."""

    def __init__(self, avatar: Avatar, size: FrameSize, shown: ClipPosition) -> None:
        self._avatar, self._size = avatar, size
        self._place = shown
        self._seen: Picture | None = None
        self._fading: Picture | None = None
        self._left = 0
        self._clip, self._ahead = shown.clip, 0
        self._followed = shown

    def follow(self, asked: ClipPosition) -> ClipPosition:
        """The place to draw for the one that is asked for: speech that begins goes on in the video that is seen."""
        if asked.clip != self._clip:
            video = self._avatar.base_video
            runs_on = kind_of(asked.clip) != IDLE and video is not None and video.alike(self._clip, asked.clip)
            self._clip, self._ahead = asked.clip, self._followed.index + 1 - asked.index if runs_on else 0
        self._followed = ClipPosition(asked.clip, asked.index + self._ahead)
        return self._followed

    def show(self, place: ClipPosition, picture: Picture) -> Picture:
        """What is to be seen at a place in a clip, where a picture was drawn."""
        if not self._avatar.joins(self._size, self._place, place):
            self._fading = self._seen if self._seen is not None else self._draw(self._place)
            self._left = _FRAMES
        self._place = place
        if self._left and self._fading is not None:
            share = self._left / (_FRAMES + 1)
            picture = np.asarray(cv2.addWeighted(self._fading, share, picture, 1.0 - share, 0.0), np.uint8)
            self._left -= 1
        self._seen = picture
        return picture

    def _draw(self, place: ClipPosition) -> Picture:
        return self._avatar.draw(self._size, place, self._avatar.pose(place), REST)
