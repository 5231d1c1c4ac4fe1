"""Landmarks of faces by MediaPipe. The only module that imports it: it loads OpenGL libraries and may be missing."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.preparation.errors import LandmarkerError

Picture = NDArray[np.uint8]

_MAX_FACES: Final = 4
_MAX_SIDE: Final = 1920
"""Larger pictures are made smaller first: the detector looks at 128 pixels, the landmarks come from 256."""
_LEAST_OVERLAP: Final = 0.5
"""Two finds are one face when their boxes share this much of the smaller one."""

HOW_TO_INSTALL: Final = (
    "make avatars, or: "
    f"{sys.executable} -m pip install 'musetalk-service[avatars]' && "
    f"{sys.executable} -m pip install --no-deps 'mediapipe>=1.0,<2'"
)


@dataclass(frozen=True)
class FoundFace:
    """One face in a picture."""

    landmarks: NDArray[np.float32]
    """(478, 3) pixels; depth is in pixels too, smaller is nearer."""
    yaw: float
    """Degrees, positive when the face turns to the right of the picture."""
    pitch: float
    """Degrees, positive when it looks down."""
    roll: float
    """Degrees, positive when it leans clockwise in the picture."""

    @property
    def eye_distance(self) -> float:
        """Between the iris centres, in pixels."""
        return float(np.hypot(*(self.landmarks[468, :2] - self.landmarks[473, :2])))

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the landmarks."""
        left, top = self.landmarks[:, :2].min(axis=0)
        right, bottom = self.landmarks[:, :2].max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    @property
    def height(self) -> float:
        """Hairline to chin tip, in pixels."""
        return float(np.hypot(*(self.landmarks[10, :2] - self.landmarks[152, :2])))


class FaceLandmarker:
    """Finds faces in single pictures. A context manager: MediaPipe cannot clean up when Python ends."""

    def __init__(self, model: Path) -> None:
        """Load MediaPipe and the model.

        Raises:
            LandmarkerError: MediaPipe or an OpenGL library is missing, or the model does not load.
        """
        try:
            from mediapipe.tasks.python.core.base_options import BaseOptions
            from mediapipe.tasks.python.vision import face_landmarker
            from mediapipe.tasks.python.vision.core.image import Image, ImageFormat
        except ImportError as error:
            raise LandmarkerError(f"MediaPipe cannot be loaded ({error}); to install it: {HOW_TO_INSTALL}") from error
        self._image: Any = Image
        self._format: Any = ImageFormat.SRGB

        class Unreported(BaseOptions):  # type: ignore[misc, unused-ignore]
            """MediaPipe tells its makers over TLS that it is used; without certificates it trusts nobody there."""

            def to_ctypes(self) -> Any:
                options = super().to_ctypes()
                options.ca_bundle_path = b"/dev/null"
                return options

        options = face_landmarker.FaceLandmarkerOptions(
            base_options=Unreported(model_asset_path=str(model)),
            num_faces=_MAX_FACES,
            output_facial_transformation_matrixes=True,
        )
        try:
            self._tool: Any = face_landmarker.FaceLandmarker.create_from_options(options)
        except OSError as error:
            raise LandmarkerError(
                f"MediaPipe lacks a system library ({error}); on Debian and Ubuntu: apt install libegl1 libgles2"
            ) from error
        except (RuntimeError, ValueError) as error:
            raise LandmarkerError(f"the face landmarker does not take its model {model} ({error})") from error

    def __enter__(self) -> "FaceLandmarker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free what MediaPipe holds; more than once does no harm."""
        tool, self._tool = self._tool, None
        if tool is not None:
            tool.close()

    def find(self, picture: Picture) -> list[FoundFace]:
        """All faces of a (h, w, 3) BGR picture, the largest first, at most four."""
        height, width = picture.shape[:2]
        scale = min(1.0, _MAX_SIDE / max(height, width))
        if scale < 1.0:
            size = (round(width * scale), round(height * scale))
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        return [_enlarged(face, 1.0 / scale) for face in self._detect(picture)]

    def search(self, picture: Picture) -> list[FoundFace]:
        """As `find`, and where it finds none also in overlapping parts: small faces escape it in a large picture."""
        found = self.find(picture)
        height, width = picture.shape[:2]
        side = max(height, width)
        for _ in range(2):
            if found or side < 256:
                break
            side //= 2
            tops = _starts(height, side)
            for top in tops:
                for left in _starts(width, side):
                    part = np.ascontiguousarray(picture[top : top + side, left : left + side])
                    for face in self.find(part):
                        moved = _moved(face, left, top)
                        if not any(_same(moved, other) for other in found):
                            found.append(moved)
        return sorted(found, key=lambda face: -face.height)

    def _detect(self, picture: Picture) -> list[FoundFace]:
        height, width = picture.shape[:2]
        result = self._tool.detect(self._image(self._format, np.ascontiguousarray(picture[..., ::-1])))
        faces = []
        for points, matrix in zip(result.face_landmarks, result.facial_transformation_matrixes, strict=True):
            landmarks = np.array([(point.x, point.y, point.z) for point in points], np.float32)
            landmarks *= np.array([width, height, width], np.float32)
            faces.append(FoundFace(landmarks, *_angles(np.asarray(matrix, np.float64))))
        return sorted(faces, key=lambda face: -face.height)


def _angles(matrix: NDArray[np.float64]) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of a (4, 4) pose in a space with y up and z towards the camera."""
    forward, right = matrix[:3, 2], matrix[:3, 0]
    yaw = np.arctan2(forward[0], forward[2])
    pitch = np.arctan2(-forward[1], np.hypot(forward[0], forward[2]))
    roll = np.arctan2(-right[1], right[0])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def _enlarged(face: FoundFace, factor: float) -> FoundFace:
    return FoundFace(face.landmarks * np.float32(factor), face.yaw, face.pitch, face.roll)


def _moved(face: FoundFace, left: int, top: int) -> FoundFace:
    return FoundFace(face.landmarks + np.array([left, top, 0], np.float32), face.yaw, face.pitch, face.roll)


def _starts(length: int, side: int) -> list[int]:
    """Where parts of a side begin that overlap by half and reach both ends."""
    last = max(0, length - side)
    count = -(-last // max(1, side // 2)) + 1
    return sorted({round(last * i / max(1, count - 1)) for i in range(count)})


def _same(a: FoundFace, b: FoundFace) -> bool:
    (left, top, right, bottom), other = a.box, b.box
    shared = max(0.0, min(right, other[2]) - max(left, other[0])) * max(0.0, min(bottom, other[3]) - max(top, other[1]))
    smaller = min((right - left) * (bottom - top), (other[2] - other[0]) * (other[3] - other[1]))
    return shared >= _LEAST_OVERLAP * smaller
