"""One portrait, any pose, any mouth: a picture.

Head and mouth together are one warp of the portrait, so no pixel is interpolated twice; the opening
between the lips is painted onto the moved head, and the eyes are laid over it. What is neutral is
skipped, so a neutral face is the portrait itself, converted to I420 bit for bit.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.closed_mouth import close_mouth
from musetalk_service.engines.face.eyes import Eyes
from musetalk_service.engines.face.folds import Folds
from musetalk_service.engines.face.frame import Frame, Texture, WarpMaps
from musetalk_service.engines.face.head import Head
from musetalk_service.engines.face.inner_mouth import InnerMouth
from musetalk_service.engines.face.landmarks import Face
from musetalk_service.engines.face.layers import Layers
from musetalk_service.engines.face.mouth_shape import LipShape, MouthShaper
from musetalk_service.engines.face.mouth_warp import MouthWarp, Shift, carry
from musetalk_service.models.face import REST, Mouth, Pose
from musetalk_service.models.media import LEAST_SIDE, FrameSize

_LEAST_STRETCH: Final = 0.15
"""Smallest allowed Jacobian determinant of the warp; at 0 skin would fold over."""
_EXTREMES: Final = (
    (Mouth(jaw=1.0, lower_drop=1.0, upper_raise=1.0), 0.0),
    (Mouth(jaw=1.0, wide=1.0, lower_drop=1.0, upper_raise=1.0), 1.0),
    (Mouth(jaw=1.0, round=1.0, lower_drop=1.0, upper_raise=1.0), 0.0),
    (Mouth(jaw=1.0, round=1.0), 1.0),
    (Mouth(round=1.0), 1.0),
    (Mouth(press=1.0, round=1.0), 0.0),
    (Mouth(press=1.0, wide=1.0), 1.0),
    (Mouth(jaw=1.0, press=1.0), 0.0),
    (Mouth(jaw=1.0, tuck=1.0, upper_raise=1.0), 0.0),
    (Mouth(tuck=1.0, press=1.0, wide=1.0), 1.0),
    (Mouth(wide=1.0, upper_raise=1.0, lower_drop=1.0), 1.0),
)
"""Mouths and smiles that bend the skin the most."""


class FaceRenderer:
    """Draws one portrait.

    Rendering changes nothing in the renderer: the same pose and mouth give the same picture, and
    threads may share it.
    """

    def __init__(
        self, portrait: NDArray[np.uint8], landmarks: NDArray[np.float32], matte: NDArray[np.uint8] | None = None
    ) -> None:
        """Prepare a portrait, which takes a few tenths of a second.

        Args:
            portrait: (height, width, 3) BGR, both even and at least 128, with an upright, frontal face.
            landmarks: (478, 3) pixels, MediaPipe Face Mesh order; the third is depth, nearer is less.

            matte: (height, width) how much of each pixel is the person, 255 all of it: with it the background
                stays still behind a head that moves.

        Raises:
            ValueError: wrong shape or type, or landmarks that are not those of such a face.
        """
        shape = portrait.shape
        if portrait.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or shape[0] % 2 or shape[1] % 2:
            raise ValueError(
                f"the portrait must be (height, width, 3) uint8 with even sides, not {shape} {portrait.dtype}"
            )
        if min(shape[:2]) < LEAST_SIDE:
            raise ValueError(f"the portrait must be at least {LEAST_SIDE} pixels wide and high, not {shape}")
        face = Face.measure(landmarks, FrameSize(shape[1], shape[0]))
        closed = close_mouth(portrait, face)
        if matte is not None and (matte.shape != shape[:2] or matte.dtype != np.uint8):
            raise ValueError(f"the matte must be {shape[:2]} uint8, not {matte.shape} {matte.dtype}")
        self.landmarks = landmarks
        """(478, 3) pixels of the portrait, as given."""
        self._shaper = MouthShaper(face, closed)
        self._warp = MouthWarp(face, closed, self._shaper)
        self._head = Head(face)
        self._layers = None
        if matte is not None:
            self._layers = Layers(closed.texture, matte, face.unit, self._head, self._warp.box)
        self._texture = Texture(closed.texture, self._layers.person if self._layers is not None else None)
        self.folds = Folds(face, closed, self._shaper)
        """Shades the cheeks when lips are spread."""
        self.inner = InnerMouth(portrait, face, closed, self._shaper.centre)
        """Paints what is seen between the lips."""
        self._eyes = Eyes(self._texture.portrait, face)
        self._always_warped = closed.is_open
        self._gain = self._bearable_gain()

    def render(self, pose: Pose, mouth: Mouth) -> NDArray[np.uint8]:
        """Draw a frame.

        Args:
            pose: head, eyes, shoulders and smile; out-of-range values are limited.
            mouth: the speaking mouth; out-of-range values are limited.

        Returns:
            (height * 3 / 2, width) I420, a new array. A portrait with shut lips comes back unchanged for
            neutral inputs.
        """
        shift = self._head.shift(pose)
        shape = maps = None
        if self._always_warped or pose.smile > 0.0 or mouth != REST:
            shape = self._shaper.shape(mouth, pose.smile, self._gain)
            if shift is not None:
                shape = carry(shape, shift)
            maps = self._warp.maps(shape, shift)
        layers, band, areas = self._layers, None, self._head.areas
        if layers is not None:
            band = layers.band(shift, maps is not None)
            areas = band.areas if band is not None else ()
        frame = Frame(self._texture, shift, areas, maps)
        if layers is not None and band is not None:
            layers.compose(frame.planes, band, shift, maps)
        if shape is not None:
            self.inner.paint(frame, shape, mouth)
        # The upper lid follows the eye down.
        closure = pose.blink + 0.4 * max(pose.gaze_y, 0.0) * (1.0 - pose.blink)
        self._eyes.draw(frame, pose.gaze_x, pose.gaze_y, closure, shift)
        picture = frame.finish()
        if shape is not None:
            self.folds.shade(picture[: self._texture.size.height], shape, pose.smile, mouth)
        return picture

    def speak(self, mouth: Mouth, shift: Shift) -> tuple[LipShape, WarpMaps | None]:
        """The lips of a mouth on a head that has moved, and where the pixels around it come from."""
        shape = carry(self._shaper.shape(mouth, 0.0, self._gain), shift)
        return shape, self._warp.maps(shape, shift)

    @property
    def portrait(self) -> NDArray[np.uint8]:
        """(height, width, 3) BGR: what a neutral pose shows, lips shut. Not to be changed."""
        portrait: NDArray[np.uint8] = self._texture.portrait
        return portrait

    def origins(self, pose: Pose) -> WarpMaps | None:
        """Where each pixel of a posed picture comes from, for what else is to move with the head; None: its place."""
        shift = self._head.shift(pose)
        return shift.part(Box(0, 0, *self._texture.size)) if shift is not None else None

    def smallest_stretch(self, mouth: Mouth, smile: float = 0.0) -> float:
        """Least Jacobian determinant of the skin's warp for a mouth: 1 at rest, negative at a fold."""
        return self._warp.smallest_stretch(self._shaper.shape(mouth, smile, self._gain))

    def _bearable_gain(self) -> float:
        """The largest share of the full movement that folds no skin of this portrait."""
        gain = 1.0
        for mouth, smile in _EXTREMES:
            while gain > 0.3:
                if self._warp.smallest_stretch(self._shaper.shape(mouth, smile, gain)) > _LEAST_STRETCH:
                    break
                gain -= 0.05
        return gain
