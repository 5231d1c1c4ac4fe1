"""What a server takes memory for once and then keeps: done before memory is measured."""

import asyncio

from load_client import SPEECH, WAV_HEADER
from raw_client import cut
from soak_socket import Peer, message, speech

_IDLE_CLIPS = 7
_CLIP_SECONDS = 12.0
"""Longer than any idle clip."""
_CROWD = 16
"""As many speakers at once as chance may bring together later: their host keeps what each one took."""
_CROWD_SECONDS = 2.0


async def _see(port: int, clip: str) -> None:
    """The front keeps the JSON of each packet that has been shown once."""
    peer = await Peer.connect(port, "warm-up")
    await peer.init()
    peer.send(message("STATE_CHANGE", None, {"target_state": "idle", "base_video": clip}))
    await asyncio.sleep(_CLIP_SECONDS)
    await peer.close()


async def _speak(port: int) -> None:
    peer = await Peer.connect(port, "warm-up")
    await peer.init()
    for chunk in cut(SPEECH.read_bytes()[WAV_HEADER:])[:25]:
        peer.send(speech(None, chunk))
    await asyncio.sleep(_CROWD_SECONDS)
    await peer.close()


async def warm_up(port: int) -> None:
    """See every idle clip, let a crowd speak."""
    await asyncio.gather(*(_see(port, f"idle_{index}") for index in range(_IDLE_CLIPS)))
    await asyncio.gather(*(_speak(port) for _ in range(_CROWD)))
