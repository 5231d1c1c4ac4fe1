"""FFmpeg's own program decodes a recorded session, and has nothing to complain about."""

import asyncio
import itertools
import shutil
import subprocess
from collections.abc import Sequence

import pytest

from musetalk_service.client import MuseTalkClient, ReceivedFrame
from musetalk_service.utils import h264

ffmpeg = shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(ffmpeg is None, reason="the ffmpeg program is not installed")


@pytest.fixture(scope="module")
def recording(live_server: str, speech: bytes) -> list[ReceivedFrame]:
    """Idle, two seconds of speech, an action, idle again."""
    return asyncio.run(_record(live_server, speech))


async def _record(live_server: str, speech: bytes) -> list[ReceivedFrame]:
    frames: list[ReceivedFrame] = []
    async with MuseTalkClient.connect(live_server, "recorder") as client:
        spoken = False
        async for frame in client.frames():
            frames.append(frame)
            if len(frames) == 10:
                await client.send_audio(speech)
                await client.end_of_speech()
            if spoken and frame.state == "idle":
                break
            if len(frames) == 70:
                await client.action(1)
            spoken = frame.state == "action"
        async for frame in client.frames():
            frames.append(frame)
            if len(frames) >= 190:
                break
    return frames


def _run(program: str, arguments: Sequence[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *arguments], input=data, capture_output=True, timeout=60, check=True)


def test_recording_has_speech_and_action(recording: list[ReceivedFrame]) -> None:
    assert {frame.state for frame in recording} == {"idle", "speaking", "action"}
    spoken = [frame.audio_timestamp_ms for frame in recording if frame.audio_timestamp_ms is not None]
    assert spoken == [40 * n for n in range(50)]


@needs_ffmpeg
def test_ffmpeg_decodes_it_without_a_word(recording: list[ReceivedFrame]) -> None:
    assert ffmpeg is not None
    stream = b"".join(frame.access_unit for frame in recording)
    done = _run(ffmpeg, ["-v", "warning", "-f", "h264", "-i", "-", "-f", "null", "-"], stream)
    assert done.stderr == b""
    counted = _run(ffmpeg, ["-v", "error", "-f", "h264", "-i", "-", "-f", "framecrc", "-"], stream).stdout
    pictures = [line for line in counted.splitlines() if not line.startswith(b"#")]
    assert len(pictures) == len(recording)


@needs_ffmpeg
def test_ffmpeg_can_begin_at_each_key_frame(recording: list[ReceivedFrame]) -> None:
    assert ffmpeg is not None
    for start, frame in enumerate(recording):
        if frame.is_keyframe:
            stream = b"".join(later.access_unit for later in recording[start : start + 30])
            assert _run(ffmpeg, ["-v", "warning", "-f", "h264", "-i", "-", "-f", "null", "-"], stream).stderr == b""


def test_key_frames_come_each_second_with_headers_and_label(recording: list[ReceivedFrame]) -> None:
    stamps = [frame.timestamp_ms for frame in recording if frame.is_keyframe]
    assert stamps[0] == 0
    assert max(later - earlier for earlier, later in itertools.pairwise(stamps)) <= 1000
    for frame in recording:
        types = [h264.nal_type(nal) for nal in h264.nal_units(frame.access_unit)]
        assert frame.is_keyframe == (h264.NAL_IDR in types)
        label = h264.read_user_data(frame.access_unit, h264.SYNTHETIC_UUID)
        if frame.is_keyframe:
            assert {h264.NAL_SPS, h264.NAL_PPS} <= set(types)
            assert label is not None and label.startswith("synthetic; generator=musetalk-service")
        else:
            assert label is None


def test_one_codec_string_fits_the_whole_stream(recording: list[ReceivedFrame]) -> None:
    assert len({h264.codec_string(frame.access_unit) for frame in recording if frame.is_keyframe}) == 1
