"""What is written beside a prepared avatar: where it came from, what it consists of, who agreed to it."""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT: Final = 1
"""Goes up when an older service could not read the files any more."""
AVATAR_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
"""As a user_id: an avatar is its user's."""
FRAMES_FILE: Final = "frames.npy"
TRANSFORMS_FILE: Final = "transforms.npy"
LATENTS_FILE: Final = "musetalk_latents.npy"
MASKS_FILE: Final = "musetalk_masks.npy"
PLACES_FILE: Final = "musetalk_places.npy"
ENGINES_FOLDER: Final = "engines"
"""What engines have computed of an avatar, each in a folder named after itself and its weights: a cache."""
CLIP_PATTERN = r"^(idle_[0-6]|speaking_[0-7]|action_[12])$"
REF_ID_PATTERN = r"^~?[A-Za-z0-9_-]{1,64}$"
"""With ~, the avatar of one session alone: no user_id finds it."""
VERSION_PATTERN = r"^[0-9a-f]{16}$"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Source(_Model):
    """The upload that the avatar was made of; its name is not kept, since names come from strangers."""

    kind: Literal["photo", "video"]
    width: int
    height: int
    seconds: Annotated[float, Field(ge=0, description="0 for a photo.")] = 0.0
    sha256: str


class Consent(_Model):
    """Who agreed that this face may speak words that its owner has not said."""

    by: Annotated[str, Field(min_length=1, max_length=200, description="Name of the person who agreed.")]
    at: datetime
    note: Annotated[str, Field(max_length=1000)] = ""


class ClipRange(_Model):
    """Frames of a base video that are played in a circle or to and fro."""

    first: Annotated[int, Field(ge=0)]
    frames: Annotated[int, Field(ge=1)]
    ping_pong: bool = False


class Official(_Model):
    """What came with an avatar that the published MuseTalk scripts have prepared: its own latents and masks."""

    files: Annotated[str, Field(description="Tells the files it was made of from later ones.")]
    version: Annotated[
        Literal["1.5", "1.0"] | None, Field(description="Of MuseTalk that prepared it; null: it does not say.")
    ] = None
    mask_left: Annotated[int, Field(ge=0, description="Where in the frames the masks' part begins.")]
    mask_top: Annotated[int, Field(ge=0)]
    no_face_code: Annotated[
        str | None, Field(description="Why it has no landmarks, as a refused upload's code; null where it has.")
    ] = None
    no_face: Annotated[str, Field(description="The same for people.")] = ""
    no_face_advice: Annotated[str, Field(description="What to do about it.")] = ""


class Manifest(_Model):
    """``manifest.json`` of one version of one avatar."""

    format: Literal[1] = FORMAT
    avatar_id: Annotated[str, Field(pattern=REF_ID_PATTERN)]
    version: Annotated[str, Field(pattern=VERSION_PATTERN, description="Changes with every preparation.")]
    created: datetime
    generator: Annotated[str, Field(description="Name and version of the program that wrote it.")]
    source: Source
    consent: Consent | None = None
    portrait: Annotated[str, Field(description="512x512 picture, lossless.")] = "portrait.png"
    landmarks: Annotated[
        str | None,
        Field(
            description='{"points": 478 rows of x, y, z in pixels of the portrait}; '
            "null: only MuseTalk can make it speak, with what came with it."
        ),
    ] = "landmarks.json"
    large: Annotated[
        str | None, Field(description="The portrait's square in 1024x1024 pixels, where the upload has as many.")
    ] = None
    matte: Annotated[
        str | None,
        Field(
            description="Grey 512x512 picture: how much of each pixel of the portrait is the person, 255 all of it; "
            "null: not known, and what is behind a moving head bends with it."
        ),
    ] = None
    base_video: Annotated[
        dict[Annotated[str, Field(pattern=CLIP_PATTERN)], ClipRange],
        Field(description="Clips among the frames of frames.npy; all others are drawn from the portrait."),
    ] = {}
    official: Annotated[Official | None, Field(description="Of an avatar of the published MuseTalk scripts.")] = None

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that can make it speak."""
        return ("builtin", "musetalk") if self.landmarks is not None else ("musetalk",)
