"""Which landmark is what, and the measures of a face that everything else is scaled by.

Indices follow the 478-point MediaPipe Face Mesh topology (468 surface points and 2 x 5 iris
points, Kartynnik et al. 2019). Runs of lip and lid points go from the left of the picture to the
right. "Right" and "left" in names are the subject's own, so the right eye is on the picture's left.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from musetalk_service.models.media import BASE_SIZE, FrameSize

FloatArray = NDArray[np.float64]
Picture = NDArray[np.uint8]

_USUAL_EYE_DISTANCE: Final = 80.4
"""Between the default avatar's irises at 512x512."""
POINTS: Final = 478

# Lip contours, corner to corner: both outer runs share their ends, and so do both inner runs.
UPPER_OUTER: Final = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LOWER_OUTER: Final = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
UPPER_INNER: Final = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER: Final = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
CORNERS: Final = (61, 291, 78, 308)

JAW_LINE: Final = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152,
                   377, 400, 378, 379, 365, 397, 288, 361, 323, 454)  # fmt: skip
CHIN: Final = (18, 200, 199, 175, 83, 313, 201, 421, 194, 418, 32, 262, 208, 428, 140, 369, 171, 396)
NOSE: Final = (2, 98, 327, 1, 4, 97, 326, 6, 197, 195, 48, 278, 115, 344)
CHEEKS: Final = (205, 425, 50, 280, 187, 411, 207, 427, 216, 436, 206, 426, 203, 423, 212, 432, 214, 434,
                 192, 416, 57, 287, 43, 273, 106, 335, 204, 424, 202, 422, 210, 430, 135, 364, 138, 367,
                 147, 376, 123, 352, 164, 165, 391, 167, 393, 92, 322, 186, 410)  # fmt: skip
UPPER_FACE: Final = (145, 374, 23, 253, 230, 450, 119, 348, 101, 330, 36, 266, 100, 329, 33, 263,
                     133, 362, 168, 9)  # fmt: skip
BROWS: Final = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285)

FOREHEAD, NOSE_BASE, CHIN_TIP, EYE_LEVEL = 10, 2, 152, 168
RIGHT_EAR, LEFT_EAR = 234, 454


@dataclass(frozen=True)
class EyeIndices:
    """Contours of one eye, left to right in the picture."""

    upper_lid: tuple[int, ...]
    lower_lid: tuple[int, ...]
    brow_edge: tuple[int, ...]
    """Lower edge of the eyebrow."""
    iris: int
    """Centre of the iris; the next four points lie on its rim."""


EYES: Final = (
    EyeIndices(
        (33, 246, 161, 160, 159, 158, 157, 173, 133),
        (33, 7, 163, 144, 145, 153, 154, 155, 133),
        (46, 53, 52, 65, 55),
        468,
    ),
    EyeIndices(
        (362, 398, 384, 385, 386, 387, 388, 466, 263),
        (362, 382, 381, 380, 374, 373, 390, 249, 263),
        (285, 295, 282, 283, 276),
        473,
    ),
)


@dataclass(frozen=True)
class Face:
    """Landmarks of a portrait with the lengths that features are scaled by, all in pixels."""

    points: FloatArray
    """(478, 2) x right, y down."""
    depth: FloatArray
    """(478,) distance from the camera, relative; smaller is nearer."""
    mouth_width: float
    lower_height: float
    """Nose base to chin tip."""
    eye_distance: float
    """Between the iris centres."""
    half_width: float
    """Half the distance between the ears."""
    half_height: float
    """Half the distance from the hairline to the chin tip."""
    size: FrameSize
    """Of the portrait."""

    @property
    def unit(self) -> float:
        """Pixels of this portrait for one of the default avatar's at 512x512: poses are in those."""
        return self.eye_distance / _USUAL_EYE_DISTANCE

    @classmethod
    def measure(cls, landmarks: NDArray[np.float32], size: FrameSize = BASE_SIZE) -> "Face":
        """Check landmarks and measure them.

        Args:
            landmarks: (478, 3) pixels.
            size: of the portrait.

        Raises:
            ValueError: wrong shape, not finite, or not an upright frontal face of usable size.
        """
        if landmarks.shape != (POINTS, 3):
            raise ValueError(f"landmarks must have the shape ({POINTS}, 3), not {landmarks.shape}")
        if not np.isfinite(landmarks).all():
            raise ValueError("landmarks must be finite")
        points = landmarks[:, :2].astype(np.float64)

        def span(a: int, b: int) -> float:
            return float(np.hypot(*(points[a] - points[b])))

        face = cls(
            points=points,
            depth=landmarks[:, 2].astype(np.float64),
            mouth_width=span(61, 291),
            lower_height=span(NOSE_BASE, CHIN_TIP),
            eye_distance=span(EYES[0].iris, EYES[1].iris),
            half_width=span(RIGHT_EAR, LEFT_EAR) / 2,
            half_height=span(FOREHEAD, CHIN_TIP) / 2,
            size=size,
        )
        upright = points[FOREHEAD, 1] < points[NOSE_BASE, 1] < points[CHIN_TIP, 1]
        if not (upright and points[61, 0] < points[291, 0] and points[33, 0] < points[263, 0]):
            raise ValueError("landmarks must be those of an upright face, not turned or mirrored")
        if face.eye_distance < 30 or face.mouth_width < 20:
            raise ValueError("the face is too small: at least 30 px between the eyes are needed")
        if points.min() < 0 or (points > size).any():
            raise ValueError(f"landmarks must lie inside the {size} picture")
        return face
