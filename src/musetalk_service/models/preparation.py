"""What an avatar is to be made of, and how far that has come: for the server, its preparation process and clients."""

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from musetalk_service import __version__
from musetalk_service.models.avatar_manifest import REF_ID_PATTERN, VERSION_PATTERN, Consent, Manifest, Source

PREPARE_COMMAND: Final = (sys.executable, "-m", "musetalk_service", "prepare")
"""Starts the preparation process: an `Order` goes to its standard input, lines come from its standard output."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class PreparationLimits(_Model):
    """What an upload may be, and what reading it may cost."""

    max_pixels: Annotated[int, Field(gt=0, description="Of a picture or a frame.")]
    max_seconds: Annotated[float, Field(gt=0, description="Of a video.")]
    min_eye_distance: Annotated[float, Field(gt=0, description="Pixels between the eyes of a face.")] = 40.0
    clip_seconds: Annotated[float, Field(ge=2, description="Of a video, kept for each clip.")] = 10.0
    video_clips: Annotated[int, Field(ge=1, le=6, description="Of each kind, that are cut from a video.")] = 3
    max_memory_mb: Annotated[int, Field(gt=0, description="Of the process that reads it.")]
    max_cpu_s: Annotated[int, Field(gt=0, description="Of the process that reads it.")]


class PreparationModels(_Model):
    """Where the models are that avatars are made with."""

    landmarker: Path | None = None
    """FACE_LANDMARKER_PATH; without it the other places are searched."""
    segmenter: Path | None = None
    """PERSON_SEGMENTER_PATH; likewise."""
    layers: bool = True
    """Whether the segmenter is used at all."""
    folder: Path
    """MODEL_PATH."""
    cache_dir: Path
    """What is fetched is kept here."""


class Crop(_Model):
    """The square of a picture or video that becomes the portrait, as its owner has chosen it."""

    x: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False, description="Left edge, part of the width.")]
    y: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False, description="Top edge, part of the height.")]
    size: Annotated[float, Field(ge=0.05, le=1, allow_inf_nan=False, description="Side, part of the shorter side.")]

    def pixels(self, width: int, height: int) -> tuple[int, int, int] | None:
        """(left, top, side) in a picture of this size; None where it lies outside."""
        side = round(self.size * min(width, height))
        left, top = round(self.x * width), round(self.y * height)
        if left + side > width + 1 or top + side > height + 1:  # a pixel, for rounding
            return None
        return min(left, width - side), min(top, height - side), side

    @classmethod
    def parse(cls, text: str) -> "Crop":
        """From ``x,y,size``. Raises ``ValueError``."""
        x, y, size = (float(part) for part in text.split(","))
        return cls(x=x, y=y, size=size)


class Order(_Model):
    """One job for the preparation process, as JSON on its standard input."""

    source: Path
    actions: dict[str, Path] = {}
    """Videos for action clips, by the clips' names."""
    crop: Crop | None = None
    official: str | None = None
    """The source is a folder of the published MuseTalk scripts, whose files this tells from later ones."""
    needs_face: bool = False
    """Of such a folder: no avatar without landmarks is wanted, since there is one."""
    staged: Path
    """An empty folder that the avatar's files go into."""
    avatar_id: Annotated[str, Field(pattern=REF_ID_PATTERN)]
    version: Annotated[str, Field(pattern=VERSION_PATTERN)]
    consent: Consent | None
    limits: PreparationLimits
    models: PreparationModels

    def manifest(self, finished: "Finished") -> Manifest:
        """What is published with the staged files. Raises ``ValidationError`` for fields that no manifest has."""
        return Manifest(
            avatar_id=self.avatar_id,
            version=self.version,
            created=datetime.now(timezone.utc),
            generator=f"musetalk-service {__version__}",
            source=finished.source,
            consent=self.consent,
            **finished.extra,
        )


class Refusal(_Model):
    """Why no avatar came of it."""

    code: Annotated[str, Field(description="For programs, for example no_face, several_faces, too_long, cancelled.")]
    message: Annotated[str, Field(description="What is wrong.")]
    advice: Annotated[str, Field(description="What to do about it.")]


class Progress(_Model):
    """A line that the preparation process writes while it works, as JSON."""

    kind: Literal["progress"] = "progress"
    stage: str
    percent: Annotated[float, Field(ge=0, le=100, description="Of the whole job.")]


class Finished(_Model):
    """Its last line when the staged folder is complete."""

    kind: Literal["finished"] = "finished"
    source: Source
    extra: dict[str, Any] = {}
    """Fields of the manifest beyond those that every avatar has."""


class Refused(_Model):
    """Its last line when no avatar can be made of the file."""

    kind: Literal["refused"] = "refused"
    reason: Refusal


class JobStatus(_Model):
    """How far a user's newest preparation has come."""

    status: Literal["processing", "completed", "failed"]
    user_id: str
    job_id: str
    stage: Annotated[str, Field(description="queued, upload, face, ...; the last one reached when it failed.")]
    percent: Annotated[int, Field(ge=0, le=100)]
    reason: Annotated[Refusal | None, Field(description="With failed: why.")] = None

    @property
    def ended(self) -> bool:
        return self.status != "processing"


Line = Progress | Finished | Refused
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


def parse_line(line: bytes) -> Line:
    """What the preparation process has said. Raises ``ValidationError``."""
    return _LINE.validate_json(line)
