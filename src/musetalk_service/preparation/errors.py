"""Why no avatar can be made of a file, and what its owner can do about it."""

from typing import ClassVar


class PreparationError(Exception):
    """Base of all refusals. ``code`` is for programs, the message and ``advice`` are for people."""

    code: ClassVar[str] = "failed"
    advice: ClassVar[str] = "Try another picture or video."

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"{self.message}. {self.advice}"


class NotMediaError(PreparationError):
    """Neither a picture nor a video, or damaged."""

    code = "not_media"
    advice = "Use a JPEG, PNG or WebP picture or an MP4, WebM or MOV video that other programs can show."


class TooLargeError(PreparationError):
    """More pixels or bytes than the operator allows."""

    code = "too_large"
    advice = "Make it smaller, or cut out the part around the head."


class TooLongError(PreparationError):
    """More seconds of video than the operator allows."""

    code = "too_long"
    advice = "Cut the video; ten seconds to two minutes are enough."


class TooShortError(PreparationError):
    """Too little video to move in."""

    code = "too_short"
    advice = "Use a longer video, ten seconds or more, or a photo."


class NoFaceError(PreparationError):
    """No face can be found."""

    code = "no_face"
    advice = "Use a picture in which a face looks into the camera, well lit and not covered."


class SeveralFacesError(PreparationError):
    """More than one face of similar size."""

    code = "several_faces"
    advice = "Cut the picture so that it shows one person."


class FaceTooSmallError(PreparationError):
    """Too few pixels between the eyes."""

    code = "face_too_small"
    advice = "Use a picture of higher resolution, or one taken from nearer."


class FaceCutError(PreparationError):
    """A part of the face is outside the picture."""

    code = "face_cut"
    advice = "Use a picture that shows the whole face, from the hair to below the chin."


class TurnedAwayError(PreparationError):
    """The face looks to the side, up or down."""

    code = "turned_away"
    advice = "Use a picture in which the face looks straight into the camera."


class TiltedError(PreparationError):
    """The head leans further to a shoulder than can be corrected."""

    code = "tilted"
    advice = "Turn the picture so that the face is upright."


class MouthHiddenError(PreparationError):
    """Something is in front of the mouth."""

    code = "mouth_hidden"
    advice = "Use a picture without a mask, a hand or a microphone in front of the mouth."


class SceneCutError(PreparationError):
    """The video jumps from one picture to another."""

    code = "scene_cut"
    advice = "Use a video taken in one go, with a camera that stays where it is."


class FaceLostError(PreparationError):
    """The face is not in every part of the video."""

    code = "face_lost"
    advice = "Cut the video to the part in which the face is always seen."


class CropError(PreparationError):
    """The square that was chosen is no portrait."""

    code = "crop"
    advice = "Move or zoom the square so that it shows the whole face, about half as high as the square."


class FaceDiffersError(PreparationError):
    """An action's video does not go with the avatar."""

    code = "face_differs"
    advice = "Film it as the first file was: the same camera, the same distance, the head in the same place."


class CancelledError(PreparationError):
    """Whoever asked for the avatar does not want it any more."""

    code = "cancelled"
    advice = "Start again when you like."


class LandmarkerError(PreparationError):
    """The face landmarker or its model is missing: the operator's business, not the user's."""

    code = "unavailable"
    advice = "The operator of this service can install what is missing."


class SegmenterError(PreparationError):
    """The person segmenter's model is missing: avatars are made without layers."""

    code = "unavailable"
    advice = "The operator of this service can install what is missing."


class NotOfficialError(PreparationError):
    """The folder is no avatar of the published MuseTalk scripts, or not a whole one."""

    code = "not_official"
    advice = "Prepare the avatar again with the scripts that made it, or make one of its video here."
