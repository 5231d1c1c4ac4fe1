"""What engine hosts and the painter process share: slots of memory, and small messages about them on a Unix socket.

A host makes the memory and sends its descriptor over the socket, so nothing of it has a name or outlives both ends.
A slot belongs to the host but between an order and its answer.
"""

import mmap
import os
import tempfile
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.musetalk.options import LATENT_SHAPE, PARSED, PATCH
from musetalk_service.engines.musetalk.painter import Classes, Latents, Patch

SLOTS: Final = 64
"""Frames that one host can have painted at the same time; memory that is never touched costs nothing."""
BEAT_S: Final = 1.0
"""The painter says at least so often that it lives."""
_SLOT: Final = np.dtype(
    [("pcm", "<i2", 30 * 16_000), ("latents", "<f4", LATENT_SHAPE), ("patch", "u1", (PATCH, PATCH, 3))]
)
_PARSING: Final = np.dtype([("picture", "u1", (PARSED, PARSED, 3)), ("classes", "u1", (PARSED, PARSED))])
_SIZE: Final = SLOTS * _SLOT.itemsize + _PARSING.itemsize


class PatchMemory:
    """The slots, as both ends see them."""

    def __init__(self, descriptor: int) -> None:
        """Takes the descriptor over."""
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, _SIZE)
        slots = np.frombuffer(self._map, _SLOT, SLOTS)
        parsing = np.frombuffer(self._map, _PARSING, 1, SLOTS * _SLOT.itemsize)[0]
        self.to_parse: NDArray[np.uint8] = parsing["picture"]
        """(512, 512, 3) BGR, of which BiSeNet tells what it shows."""
        self.classes: Classes = parsing["classes"]
        self._pcm: NDArray[np.int16] = slots["pcm"]
        self._latents: NDArray[np.float32] = slots["latents"]
        self._patches: NDArray[np.uint8] = slots["patch"]

    @classmethod
    def create(cls) -> "PatchMemory":
        """Fresh memory that no other process can find."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("musetalk-patches")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, _SIZE)
        return cls(descriptor)

    def pcm(self, slot: int) -> NDArray[np.int16]:
        """(480000,) samples, of which the order says how many are meant."""
        return np.asarray(self._pcm[slot])

    def latents(self, slot: int) -> Latents:
        return np.asarray(self._latents[slot])

    def patch(self, slot: int) -> Patch:
        """The picture: the painted one, or the face to be encoded."""
        return np.asarray(self._patches[slot])

    def close(self) -> None:
        """Give the descriptor back; the memory goes with the last array that shows it. Twice is fine."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class PaintOrder(msgspec.Struct, frozen=True, tag=True):
    """Paint the frame whose sound and latents are in a slot, and put the patch there."""

    slot: int
    stream: str
    start: int
    samples: int
    centre: int
    frame: int
    face: str
    due: float


class EncodeOrder(msgspec.Struct, frozen=True, tag=True):
    """Encode the face that is in a slot, and put the latents there."""

    slot: int


class ParseOrder(msgspec.Struct, frozen=True, tag=True):
    """Tell what the picture to parse shows, which has a place of its own; the slot only tells the answers apart."""

    slot: int


class PainterReady(msgspec.Struct, frozen=True, tag=True):
    """What the painter says first."""

    checkpoint: str
    device: str
    precision: str
    sessions: int = 0
    """At 25 frames a second, as measured."""


class PainterBeat(msgspec.Struct, frozen=True, tag=True):
    """The painter lives; what it has done since it was ready."""

    frames: int
    batches: int
    late: int
    """Frames that were done after they were due."""


class PainterFailed(msgspec.Struct, frozen=True, tag=True):
    """The painter cannot start, and will not be able to later."""

    reason: str


class Done(msgspec.Struct, frozen=True, tag=True):
    """A slot's order is done, or cannot be."""

    slot: int
    error: str | None = None


Order = PaintOrder | EncodeOrder | ParseOrder
Answer = PainterReady | PainterFailed | PainterBeat | Done

_encoder = msgspec.msgpack.Encoder()
_orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def encode(message: Order | Answer) -> bytes:
    """MessagePack, with the type as tag."""
    return _encoder.encode(message)


def decode_order(payload: bytes) -> Order:
    """Raises ``msgspec.DecodeError`` when the payload is no order."""
    return _orders.decode(payload)


def decode_answer(payload: bytes) -> Answer:
    """Raises ``msgspec.DecodeError`` when the payload is no answer."""
    return _answers.decode(payload)
