"""The wire protocol: every client and server message as one frozen, typed model.

``parse_client_message`` is the only way in. Unknown fields are ignored, so that newer clients are
served; what is known is checked.
"""

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from musetalk_service.errors import InvalidMessageError

PROTOCOL_VERSION = "1.1"
USER_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
"""Alphanumeric with hyphens and underscores, 1 to 64 characters."""

StateName = Literal["idle", "speaking", "action"]
EventName = Literal["speech_started", "speech_ended", "engine_changed", "degraded", "recovered", "blendshapes"]
ActionIndex = Literal[1, 2]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


# --- what a client sends ------------------------------------------------------------------------


class VideoConfig(_Model):
    """What INIT may ask of the video."""

    resolution: Annotated[
        str | None,
        Field(
            pattern=r"^[1-9][0-9]{2,3}x[1-9][0-9]{2,3}$",
            description="<width>x<height>, one of GET /health's resolutions; the first of them when absent.",
        ),
    ] = None
    fps: Literal[25] = 25
    max_kbps: Annotated[int | None, Field(ge=50, description="Peak rate that the client can take.")] = None


class InitData(_Model):
    user_id: Annotated[str | None, Field(description="Must equal the user_id of the path when given.")] = None
    auth_token: Annotated[
        str | None, Field(description="JSON Web Token; needed where authentication is on, else not looked at.")
    ] = None
    video_config: VideoConfig = VideoConfig()
    events: Annotated[bool, Field(description="Whether EVENT messages are wanted.")] = False
    blendshapes: Annotated[
        bool, Field(description="Whether an EVENT says how the speaking mouth of each frame moves, by ARKit's names.")
    ] = False
    engine: Annotated[
        str | None, Field(max_length=32, description="One of GET /health's engines; that of the server when absent.")
    ] = None
    resume_token: Annotated[
        str | None, Field(description="From the INIT_SUCCESS of a session whose connection was lost: take it up again.")
    ] = None
    face_image: Annotated[
        str | None,
        Field(description="Base64 of a JPEG, PNG or WebP picture: an avatar for this session alone, gone with it."),
    ] = None
    frames: Annotated[
        Literal["json", "binary"], Field(description="Form of the frames; answers are JSON text in any case.")
    ] = "json"

    def face(self) -> bytes | None:
        """The decoded picture; raises :class:`InvalidMessageError` when it is no base64."""
        if self.face_image is None:
            return None
        try:
            return base64.b64decode(self.face_image.rpartition(",")[2], validate=True)  # a data: URL is fine, too
        except (binascii.Error, ValueError):
            raise InvalidMessageError("face_image is not valid base64", field="data.face_image") from None


class AudioChunk(_Model):
    """Mono 16-bit little-endian PCM. The bytes are the truth; ``duration_ms`` is a hint."""

    format: Literal["pcm_s16le"] = "pcm_s16le"
    sample_rate: int = Field(16_000, ge=8_000, le=48_000, description="Hz; resampled to 16 kHz.")
    channels: Literal[1] = 1
    duration_ms: float | None = Field(None, description="A hint, not checked: 40 ms are 640 samples, 1,280 bytes.")
    data: str = Field(description="Base64; an even number of bytes, at most one second.")

    def pcm(self) -> bytes:
        """The decoded bytes; raises :class:`InvalidMessageError` when they are no whole samples."""
        try:
            pcm = base64.b64decode(self.data, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidMessageError("audio_chunk.data is not valid base64", field="data.audio_chunk.data") from None
        if len(pcm) % 2:
            raise InvalidMessageError(
                f"audio_chunk.data has {len(pcm)} bytes; 16-bit samples need an even number",
                field="data.audio_chunk.data",
            )
        return pcm


class VideoState(_Model):
    type: StateName = "speaking"
    base_video: str | None = None


class GenerateData(_Model):
    audio_chunk: AudioChunk
    video_state: VideoState = VideoState()


class StateChangeData(_Model):
    target_state: StateName
    base_video: str | None = None


class ActionData(_Model):
    """Protocol 1.1 names ``action_index``; 1.0 names ``action_type`` and may bring audio to lip-sync."""

    action_index: ActionIndex | None = None
    action_type: Literal["action_1", "action_2"] | None = None
    audio_chunk: AudioChunk | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "ActionData":
        if self.action_index is None and self.action_type is None:
            raise ValueError("action_index (1 or 2) or action_type (action_1 or action_2) is required")
        return self

    @property
    def index(self) -> int:
        """1 or 2, whichever form was used."""
        if self.action_index is not None:
            return self.action_index
        return 1 if self.action_type == "action_1" else 2


class SwitchEngineData(_Model):
    engine: Annotated[str, Field(max_length=32, description="One of GET /health's engines.")]


class _Envelope(_Model):
    session_id: str | None = None


class Empty(_Model):
    """No fields."""


class Init(_Envelope):
    type: Literal["INIT"]
    data: InitData = InitData()


class Generate(_Envelope):
    type: Literal["GENERATE"]
    data: GenerateData


class StateChange(_Envelope):
    type: Literal["STATE_CHANGE"]
    data: StateChangeData


class Action(_Envelope):
    type: Literal["ACTION"]
    data: ActionData


class EndOfSpeech(_Envelope):
    type: Literal["END_OF_SPEECH"]
    data: Empty = Empty()


class Interrupt(_Envelope):
    type: Literal["INTERRUPT"]
    data: Empty = Empty()


class SwitchEngine(_Envelope):
    type: Literal["SWITCH_ENGINE"]
    data: SwitchEngineData


class Close(_Envelope):
    type: Literal["CLOSE"]
    data: Empty = Empty()


ClientMessage = Init | Generate | StateChange | Action | EndOfSpeech | Interrupt | SwitchEngine | Close
CLIENT_MESSAGES: tuple[type[_Envelope], ...] = (
    Init,
    Generate,
    StateChange,
    Action,
    EndOfSpeech,
    Interrupt,
    SwitchEngine,
    Close,
)
_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(Annotated[ClientMessage, Field(discriminator="type")])


def parse_client_message(text: str | bytes) -> ClientMessage:
    """One typed message from JSON text.

    Raises :class:`InvalidMessageError`; ``details.errors`` lists each wrong field and what is allowed.
    The input itself is never echoed, since it may be audio or a token.
    """
    try:
        return _CLIENT.validate_json(text)
    except ValidationError as error:
        # The second part of loc is the discriminator's value, which is no field.
        problems = [
            {"field": ".".join(str(part) for part in item["loc"][1:]) or "message", "problem": item["msg"][:200]}
            for item in error.errors(include_input=False, include_url=False, include_context=False)[:8]
        ]
        first = problems[0]
        raise InvalidMessageError(f"{first['field']}: {first['problem']}", errors=problems) from None


# --- what the server sends ----------------------------------------------------------------------


class InitSuccessData(_Model):
    model_loaded: bool
    available_videos: list[str]
    default_video: str
    streaming_started: Literal[True] = True
    engine: str
    codec: str = Field(description="As WebCodecs wants it, for example avc1.42C01F.")
    width: int
    height: int
    fps: int
    resolutions: Annotated[list[str], Field(description="What video_config.resolution may ask for.")] = []
    max_kbps: Annotated[int | None, Field(description="Peak rate of the video, without the base64's third.")] = None
    delay_ms: int = Field(
        description="From a chunk's arrival to the frame that shows it: look-ahead, one tick, jitter setting."
    )
    protocol_version: str = PROTOCOL_VERSION
    synthetic: Literal[True] = True
    resume_token: Annotated[
        str | None, Field(description="Takes the session up again after a lost connection, within resume_grace_s.")
    ] = None
    resume_grace_s: float | None = None
    resumed: bool = False
    audio_received_ms: Annotated[
        int, Field(ge=0, description="Audio accepted so far: 0 for a new session, where to go on for a resumed one.")
    ] = 0


class VideoFrameData(_Model):
    frame_data: str = Field(description="Base64; one H.264 access unit, Annex-B.")
    frame_timestamp: int = Field(ge=0, description="40 x n ms from the session's first frame.")
    sequence_number: int = Field(ge=0, description="Counts frames sent.")
    is_keyframe: bool
    state: StateName
    audio_timestamp: int | None = Field(
        description="ms of audio accepted since INIT; null where the mouth follows no audio."
    )


class ActionFrameData(VideoFrameData):
    action_progress: float = Field(ge=0, le=1)


class StateChangedData(_Model):
    current_state: StateName
    current_video: str


class ActionTriggeredData(_Model):
    action_index: ActionIndex
    inserted: Literal[True] = True


class InterruptedData(_Model):
    audio_played_ms: int
    audio_dropped_ms: int


class EngineSwitchedData(_Model):
    engine: str
    delay_ms: Annotated[int, Field(description="As in INIT_SUCCESS; engines hear differently far ahead.")]


class EventData(_Model):
    event: EventName
    audio_timestamp: Annotated[
        int | None, Field(description="Where in the audio it happened; null where no audio is played.")
    ] = None
    engine: Annotated[str | None, Field(description="With engine_changed: the engine that renders now.")] = None
    reason: Annotated[str | None, Field(description="With degraded: why.")] = None
    frame_timestamp: Annotated[
        int | None, Field(description="With blendshapes: the frame that shows this mouth, in ms.")
    ] = None
    blendshapes: Annotated[
        dict[str, float] | None, Field(description="With blendshapes: coefficients in 0..1 by ARKit's names.")
    ] = None


class CloseAckData(_Model):
    reason: Literal["client_request", "server_shutdown", "timeout", "error"]


class ErrorData(_Model):
    code: Literal[
        "INVALID_MESSAGE",
        "INVALID_SESSION",
        "MODEL_NOT_FOUND",
        "PROCESSING_ERROR",
        "RATE_LIMIT_EXCEEDED",
        "INTERNAL_ERROR",
    ]
    message: str
    details: dict[str, Any] | None = None


class _ServerEnvelope(_Model):
    session_id: str


class InitSuccess(_ServerEnvelope):
    type: Literal["INIT_SUCCESS"] = "INIT_SUCCESS"
    data: InitSuccessData


class VideoFrame(_ServerEnvelope):
    type: Literal["VIDEO_FRAME"] = "VIDEO_FRAME"
    data: VideoFrameData


class ActionFrame(_ServerEnvelope):
    type: Literal["ACTION_FRAME"] = "ACTION_FRAME"
    data: ActionFrameData


class StateChanged(_ServerEnvelope):
    type: Literal["STATE_CHANGED"] = "STATE_CHANGED"
    data: StateChangedData


class ActionTriggered(_ServerEnvelope):
    type: Literal["ACTION_TRIGGERED"] = "ACTION_TRIGGERED"
    data: ActionTriggeredData


class Interrupted(_ServerEnvelope):
    type: Literal["INTERRUPTED"] = "INTERRUPTED"
    data: InterruptedData


class EngineSwitched(_ServerEnvelope):
    type: Literal["ENGINE_SWITCHED"] = "ENGINE_SWITCHED"
    data: EngineSwitchedData


class Event(_ServerEnvelope):
    type: Literal["EVENT"] = "EVENT"
    data: EventData


class CloseAck(_ServerEnvelope):
    type: Literal["CLOSE_ACK"] = "CLOSE_ACK"
    data: CloseAckData


class Error(_ServerEnvelope):
    type: Literal["ERROR"] = "ERROR"
    data: ErrorData


ServerMessage = (
    InitSuccess
    | VideoFrame
    | ActionFrame
    | StateChanged
    | ActionTriggered
    | Interrupted
    | EngineSwitched
    | Event
    | CloseAck
    | Error
)
SERVER_MESSAGES: tuple[type[_ServerEnvelope], ...] = (
    InitSuccess,
    VideoFrame,
    ActionFrame,
    StateChanged,
    ActionTriggered,
    Interrupted,
    EngineSwitched,
    Event,
    CloseAck,
    Error,
)
_SERVER: TypeAdapter[ServerMessage] = TypeAdapter(Annotated[ServerMessage, Field(discriminator="type")])


def parse_server_message(text: str | bytes) -> ServerMessage:
    """One typed server message; raises :class:`InvalidMessageError`. For clients and tests."""
    try:
        return _SERVER.validate_json(text)
    except ValidationError as error:
        raise InvalidMessageError(str(error)) from None
