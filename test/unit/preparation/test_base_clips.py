"""Clips of a video: quiet ones to idle on, spoken ones to speak on, circles without a seam where there are any."""

import wave
from pathlib import Path

import numpy as np

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.preparation.base_clips import ChosenClip, as_ranges, choose_clips, fade_plan, speaking_frames

FACE = load_default_avatar().landmarks


def _path(sway: np.ndarray) -> np.ndarray:
    """Landmarks of a face that is moved sideways, in pixels."""
    points = np.repeat(FACE[None], len(sway), axis=0)
    points[:, :, 0] += sway[:, None]
    return points.astype(np.float32)


def test_a_circle_is_found_where_the_head_comes_back() -> None:
    sway = 12.0 * np.sin(2 * np.pi * np.arange(230) / 100)
    clips = choose_clips(_path(sway), np.zeros(230, bool), 250, 1)
    idle = clips[0]
    assert (idle.name, idle.frames, idle.ping_pong) == ("idle_0", 200, False)
    assert abs(sway[idle.first] - sway[idle.first + idle.frames]) < 0.5
    assert (clips[1].name, clips[1].first, clips[1].frames) == ("speaking_0", idle.first, idle.frames)


def test_to_and_fro_where_the_head_never_comes_back() -> None:
    idle = choose_clips(_path(np.linspace(0, 120, 160)), np.zeros(160, bool), 250, 3)[0]
    assert idle.ping_pong and idle.frames == 150


def test_quiet_and_spoken_stretches_are_told_apart() -> None:
    speaking = np.zeros(300, bool)
    speaking[120:260] = True
    idle, spoken = choose_clips(_path(np.zeros(300)), speaking, 100, 1)
    assert idle.first + idle.frames <= 120 and idle.frames == 100
    assert spoken.name == "speaking_0" and spoken.first >= 120 and spoken.first + spoken.frames <= 260
    kept, ranges = as_ranges((idle, spoken))
    assert len(kept) == idle.frames + spoken.frames + min(8, idle.first) + min(8, spoken.first)
    assert kept[ranges["speaking_0"].first] == spoken.first


def test_short_stretches_are_no_clips() -> None:
    speaking = np.zeros(200, bool)
    speaking[50:80] = True
    idle, _, spoken = choose_clips(_path(np.zeros(200)), speaking, 250, 3)
    assert (spoken.first, spoken.frames) == (idle.first, idle.frames)


def test_each_kind_gets_several_clips_that_share_no_frame() -> None:
    speaking = np.zeros(1000, bool)
    speaking[300:520] = speaking[700:760] = True
    clips = choose_clips(_path(np.zeros(1000)), speaking, 150, 3)
    assert [clip.name for clip in clips] == ["idle_0", "idle_1", "idle_2", "speaking_0", "speaking_1", "speaking_2"]
    taken = [set(range(clip.first, clip.first + clip.frames)) for clip in clips]
    assert len(set.union(*taken)) == sum(map(len, taken))
    for clip, frames in zip(clips, taken, strict=True):
        assert speaking[sorted(frames)].all() == clip.name.startswith("speaking")
        assert speaking[sorted(frames)].any() == clip.name.startswith("speaking")


def test_the_setting_bounds_their_number() -> None:
    assert len(choose_clips(_path(np.zeros(1000)), np.zeros(1000, bool), 100, 2)) == 3  # the third speaks on the first


def test_a_video_that_speaks_throughout_idles_on_it() -> None:
    clips = choose_clips(_path(np.zeros(400)), np.ones(400, bool), 100, 2)
    assert [clip.name for clip in clips] == ["idle_0", "idle_1", "speaking_0"]


def test_later_idle_clips_begin_where_the_first_does() -> None:
    still, sway = np.zeros(160), 30.0 * np.sin(2 * np.pi * np.arange(200) / 100)
    first, second = choose_clips(_path(np.concatenate([still, [90.0] * 20, sway])), np.zeros(380, bool), 150, 2)[:2]
    assert first.frames == 150 and first.first < 10
    assert not second.ping_pong
    at = second.first - 180
    assert abs(sway[at]) < 3 and abs(sway[at + second.frames]) < 3


def _fades(*clips: ChosenClip) -> dict[tuple[int, int], float]:
    """Of frames of the video: (frame, other) and the other's share."""
    kept, _ = as_ranges(clips)
    return {(int(kept[frame]), int(kept[other])): share for frame, other, share in fade_plan(clips, kept)}


def _fades(*clips: ChosenClip) -> dict[tuple[int, int], float]:
    """Of frames of the video: (frame, other) and the other's share."""
    kept, _ = as_ranges(clips)
    return {(int(kept[frame]), int(kept[other])): share for frame, other, share in fade_plan(clips, kept)}


def test_idle_clips_fade_from_and_to_the_first_ones_ends() -> None:
    circle, other = ChosenClip("idle_0", 0, 50, False), ChosenClip("idle_1", 60, 75, False)
    fades = _fades(circle, other, ChosenClip("idle_2", 200, 50, True))
    assert fades[60, 0] == fades[134, 49] == fades[200, 0] > 0.8
    assert fades[67, 7] == fades[127, 42] == fades[207, 7] < 0.2
    assert len(fades) == 24 and all(frame >= 60 and onto < 50 for frame, onto in fades)


def test_circles_end_in_the_frames_before_them() -> None:
    circle = ChosenClip("idle_0", 100, 50, False)
    fades = _fades(circle, ChosenClip("speaking_0", 100, 50, False), ChosenClip("speaking_1", 203, 50, False))
    assert len(fades) == 16
    assert fades[149, 99] > 0.8 and fades[142, 92] < 0.2
    assert fades[252, 202] > 0.8
    assert len(_fades(ChosenClip("idle_0", 3, 50, False))) == 3  # as many as there are
    assert not _fades(ChosenClip("idle_0", 100, 50, True))


def test_they_end_as_a_first_one_ends_that_goes_to_and_fro() -> None:
    fades = _fades(ChosenClip("idle_0", 0, 50, True), ChosenClip("idle_1", 50, 50, False))
    assert {onto for frame, onto in fades if frame >= 90} == set(range(8))
    assert fades[99, 0] > 0.8


def test_without_sound_the_mouth_tells(tmp_path: Path) -> None:
    silent = tmp_path / "none.mp4"
    silent.write_bytes(b"")
    aperture = np.full(200, 0.01, np.float32)
    aperture[100:] += 0.05 * (np.sin(np.arange(100)) > 0)
    speaks = speaking_frames(silent, aperture)
    assert not speaks[:90].any() and speaks[110:].all()


def test_sound_goes_before_the_mouth(tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    rng = np.random.default_rng(1)
    pcm = np.concatenate([np.zeros(64_000), 6000 * rng.standard_normal(64_000)]).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(pcm.tobytes())
    speaks = speaking_frames(path, np.zeros(200, np.float32))
    assert not speaks[:90].any() and speaks[110:].all()
