"""What each frame of a film shows: the director of live sessions decides it, and is told a time that never passes."""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from musetalk_service.bus import messages as bus
from musetalk_service.models.clips import DEFAULT_CLIP, DEFAULT_SPEAKING_CLIP, IDLE, kind_of
from musetalk_service.models.media import FPS, FRAME_SECONDS, GOP_FRAMES, SAMPLES_PER_FRAME
from musetalk_service.services.audio_service import AudioTimeline
from musetalk_service.services.director import Director
from musetalk_service.services.idle_playlist import IdlePlaylist

SESSION: Final = "render"
"""The name under which a film's frames are asked for."""
EPOCH: Final = 1
_TAIL_FRAMES: Final = FPS // 2
"""After the sound, in which the mouth shuts and the face comes to rest."""
_SEED: Final = 0
"""Of the order of idle clips: the same sound makes the same film."""


def frame_count(pcm: NDArray[np.int16]) -> int:
    """Frames of the film of a recording (n,) at 16 kHz, half a second of rest after it included."""
    return -(-len(pcm) // SAMPLES_PER_FRAME) + _TAIL_FRAMES


def write_script(
    pcm: NDArray[np.int16],
    clip_frames: Mapping[str, int],
    look_ahead: int,
    *,
    speech_end_s: float,
    silence_hold_s: float,
) -> Iterator[bus.Render]:
    """The orders for a host, frame after frame: frame i follows the sound at i / 25 s.

    Args:
        pcm: (n,) at 16 kHz.
        clip_frames: lengths of the avatar's clips.
        look_ahead: samples that the host hears beyond a frame's begin.
        speech_end_s: without sound for so long the face idles.
        silence_hold_s: and so in silence of this length.
    """
    timeline = AudioTimeline(look_ahead=look_ahead, jitter=0, backlog_limit=len(pcm))
    playlist = IdlePlaylist(clip_frames, [clip for clip in clip_frames if kind_of(clip) == IDLE], _SEED)
    director = Director(timeline, clip_frames, playlist, speech_end_s=speech_end_s, silence_hold_s=silence_hold_s)
    director.set_speech_clip(DEFAULT_SPEAKING_CLIP if DEFAULT_SPEAKING_CLIP in clip_frames else DEFAULT_CLIP)
    for frame in range(frame_count(pcm)):
        now = frame * FRAME_SECONDS
        # Each frame's sound comes when it is planned, as that of a microphone would: nothing waits, nothing is trimmed.
        sent = timeline.accepted
        new = pcm[sent : (frame + 1) * SAMPLES_PER_FRAME + look_ahead]
        timeline.push(new, now)
        if timeline.accepted == len(pcm):
            timeline.end_of_speech()
        plan, _ = director.plan(frame, now, host=True, request_idr=False)
        yield bus.Render(
            session=SESSION,
            epoch=EPOCH,
            frame=frame,
            pose=plan.place,
            force_idr=frame % GOP_FRAMES == 0,
            audio_position=plan.audio_position if plan.speaking else None,
            pcm_position=sent,
            pcm=new.astype("<i2").tobytes(),
        )
