"""What crosses the bus, both ways. Plain typed structs with a MessagePack form, never pickles.

Up (front to host) is one ordered stream per host; down carries access units. Positions and lengths
of audio are in samples at 16 kHz counted since the session's INIT; frames are counted since the
session's first one.
"""

import msgspec

from musetalk_service.models.media import ClipPosition, Rendition


class Open(msgspec.Struct, frozen=True, tag=True):
    """A session's speech begins on this host: make its engine stream and its encoder."""

    session: str
    epoch: int
    avatar: str
    engine: str
    rendition: Rendition
    shown: ClipPosition
    """What the viewer sees now; the pose is carried over from there."""
    blendshapes: bool = False
    """Whether each frame is to say how far the mouth's blend shapes are."""
    every_frame: bool = False
    """Draw each frame, however late: for a film. Else frames that have piled up repeat the picture before."""


class Render(msgspec.Struct, frozen=True, tag=True):
    """One frame, wanted one tick ahead of its deadline."""

    session: str
    epoch: int
    frame: int
    pose: ClipPosition
    force_idr: bool
    audio_position: int | None
    """Position that the mouth follows, or None: the mouth eases shut."""
    pcm_position: int = 0
    """Position of the first sample of ``pcm``."""
    pcm: bytes = b""
    """New s16le audio, at most up to the look-ahead after the position."""
    due: float = 0.0
    """When the frame is to be shown, on the machine's monotonic clock, in seconds."""


class Switch(msgspec.Struct, frozen=True, tag=True):
    """Another engine for a session that speaks here, from its next frame on."""

    session: str
    epoch: int
    engine: str


class Shut(msgspec.Struct, frozen=True, tag=True):
    """The session's speech is over here; its stream and encoder can go."""

    session: str
    epoch: int


class PrepareClip(msgspec.Struct, frozen=True, tag=True):
    """Encode a whole clip as closed GOPs, for the shared idle packets, while nothing else is to be done."""

    avatar: str
    clip: str
    renditions: list[Rendition]
    urgent: bool = False
    """Somebody waits for it: between the frames of those who speak, not only when nobody does."""


UpMessage = Open | Render | Switch | Shut | PrepareClip


class EngineStatus(msgspec.Struct, frozen=True):
    """One engine of a host."""

    name: str
    version: str
    device: str
    look_ahead_samples: int


class HostReady(msgspec.Struct, frozen=True, tag=True):
    """The host has loaded its engines and takes sessions."""

    pid: int
    engines: list[EngineStatus]


class Frame(msgspec.Struct, frozen=True, tag=True):
    """One encoded frame."""

    session: str
    epoch: int
    frame: int
    is_idr: bool
    access_unit: bytes
    engine: str
    held: bool
    """True when overload made the host repeat the last picture instead of rendering."""
    render_ms: float
    encode_ms: float
    blendshapes: list[float] = []
    """Of the speaking mouth, in the order of ``ARKIT_NAMES``; empty where they were not asked for."""


class ClipPackets(msgspec.Struct, frozen=True, tag=True):
    """A whole clip, one access unit per frame, an IDR at each GOP start; none when it could not be made."""

    avatar: str
    clip: str
    rendition: str
    access_units: list[bytes]


class EngineChanged(msgspec.Struct, frozen=True, tag=True):
    """The scheduler moved a session to another engine."""

    session: str
    epoch: int
    engine: str
    reason: str


class SessionFailed(msgspec.Struct, frozen=True, tag=True):
    """The host cannot serve this session (unknown avatar, encoder failure)."""

    session: str
    epoch: int
    reason: str


DownMessage = HostReady | Frame | ClipPackets | EngineChanged | SessionFailed

_encoder = msgspec.msgpack.Encoder()
_up: msgspec.msgpack.Decoder[UpMessage] = msgspec.msgpack.Decoder(UpMessage)
_down: msgspec.msgpack.Decoder[DownMessage] = msgspec.msgpack.Decoder(DownMessage)


def encode(message: UpMessage | DownMessage) -> bytes:
    """MessagePack, with the type as tag."""
    return _encoder.encode(message)


def decode_up(payload: bytes) -> UpMessage:
    """Raises ``msgspec.DecodeError`` when the payload is no up message."""
    return _up.decode(payload)


def decode_down(payload: bytes) -> DownMessage:
    """Raises ``msgspec.DecodeError`` when the payload is no down message."""
    return _down.decode(payload)
