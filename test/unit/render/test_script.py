"""What each frame of a film shows: clips, places in the sound, and what the host is given to hear."""

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.bus import messages as bus
from musetalk_service.render.script import frame_count, write_script

CLIPS: Mapping[str, int] = {"idle_0": 25, "idle_1": 50, "speaking_0": 50, "speaking_1": 50}
LOOK_AHEAD = 2120


def noise(seconds: float) -> NDArray[np.int16]:
    """Loud, with the pauses of speech."""
    samples = np.arange(round(16_000 * seconds))
    return ((samples // 640 % 10 != 9) * (samples * 7919 % 8000 - 4000)).astype(np.int16)


def script(pcm: NDArray[np.int16], clips: Mapping[str, int] = CLIPS, look_ahead: int = LOOK_AHEAD) -> list[bus.Render]:
    return list(write_script(pcm, clips, look_ahead, speech_end_s=0.2, silence_hold_s=1.5))


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 2120, 16_000, 48_001])
@pytest.mark.parametrize("look_ahead", [760, 2120, 4680])
def test_frame_i_follows_the_sound_at_i(samples: int, look_ahead: int) -> None:
    pcm = noise(4)[:samples]
    orders = script(pcm, look_ahead=look_ahead)
    spoken = -(-samples // 640)
    assert len(orders) == frame_count(pcm) == spoken + 12
    assert [order.frame for order in orders] == list(range(len(orders)))
    assert [order.audio_position for order in orders[:spoken]] == list(range(0, samples, 640))
    assert {order.audio_position for order in orders[spoken:]} == {None}
    assert [order.frame for order in orders if order.force_idr] == list(range(0, len(orders), 25))


def test_the_host_hears_everything_once_and_never_more_than_it_needs() -> None:
    pcm = noise(2)
    end = 0
    heard = b""
    for order in script(pcm):
        assert order.pcm_position == end
        heard += order.pcm
        end += len(order.pcm) // 2
        assert end == min(len(pcm), (order.frame + 1) * 640 + LOOK_AHEAD)
    assert heard == pcm.tobytes()


def test_it_speaks_while_there_is_a_voice_and_idles_in_long_pauses_and_at_the_end() -> None:
    pcm = np.concatenate([noise(2), np.zeros(5 * 16_000, np.int16), noise(1)])
    clips = [order.pose.clip for order in script(pcm)]
    assert set(clips[:50]) == {"speaking_0"}
    pause = clips[50 + 38 : 175 - 4]
    assert pause and all(clip.startswith("idle_") for clip in pause)
    assert set(clips[175:200]) == {"speaking_0"}
    assert clips[-1].startswith("idle_")
    mute = [order.frame for order in script(pcm) if order.audio_position is None]
    assert set(range(50 + 38, 175 - 4)) <= set(mute)


def test_clips_run_on_frame_by_frame() -> None:
    places = [order.pose for order in script(noise(3))][:75]
    assert [place.index for place in places] == [n % 50 for n in range(75)]


def test_an_avatar_without_a_clip_to_speak_on_idles() -> None:
    assert {order.pose.clip for order in script(noise(1), {"idle_0": 100})} == {"idle_0"}


def test_the_same_sound_makes_the_same_film() -> None:
    silence = np.zeros(20 * 16_000, np.int16)
    assert script(silence) == script(silence)
    assert {order.pose.clip for order in script(silence)} >= {"idle_0", "idle_1"}
