"""What the command-line client writes and when it says that something is wrong."""

import wave
from pathlib import Path

import av
import numpy as np
import pytest

import test_client as program
from musetalk_service.client import CloseAck, ReceivedFrame, ServerError

RATE = 16_000


def frame(
    timestamp_ms: int, audio_timestamp_ms: int | None = None, access_unit: bytes = b"\0\0\0\1e", key: bool = True
) -> ReceivedFrame:
    return ReceivedFrame(
        access_unit=access_unit,
        timestamp_ms=timestamp_ms,
        sequence_number=timestamp_ms // 40,
        is_keyframe=key,
        state="speaking",
        audio_timestamp_ms=audio_timestamp_ms,
        action_progress=None,
        received_at=100.0 + timestamp_ms / 1000,
    )


def encoded(count: int) -> list[bytes]:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = 64, 64, "yuv420p", 25
    encoder.options = {"tune": "zerolatency", "preset": "ultrafast"}
    picture = av.VideoFrame.from_ndarray(np.full((96, 64), 128, np.uint8), "yuv420p")
    units = []
    for index in range(count):
        picture.pts = index
        units += [bytes(packet) for packet in encoder.encode(picture)]
    return units + [bytes(packet) for packet in encoder.encode(None)]


def noise(seconds: float) -> program.Recording:
    samples = np.random.default_rng(0).integers(-8000, 8000, round(seconds * RATE))
    return program.Recording(samples.astype("<i2").tobytes(), RATE)


def test_speech_is_placed_where_the_mouth_follows_it_pauses_included() -> None:
    recording = noise(0.1)
    frames = [frame(400), frame(440, 0), frame(480), frame(520, 40), frame(560, 80), frame(600)]
    track = program.placed_audio(frames, recording)
    speech = np.frombuffer(recording.pcm, "<i2")
    silence = np.zeros(640, np.int16)
    rest = np.zeros(320 + 640, np.int16)
    np.testing.assert_array_equal(
        track, np.concatenate([silence, speech[:640], silence, speech[640:1280], speech[1280:], rest])
    )


def test_the_saved_file_keeps_every_frame_and_the_sound_in_its_place(tmp_path: Path) -> None:
    recording = noise(1.0)
    units = encoded(40)
    frames = [
        frame(4000 + 40 * n, 40 * (n - 5) if 5 <= n < 30 else None, unit, key=n == 0)
        for n, unit in enumerate(units)
    ]
    program.save(tmp_path / "out.mp4", frames, recording, (64, 64))
    with av.open(str(tmp_path / "out.mp4")) as container:
        pictures = [picture.time for picture in container.decode(video=0)]
    assert pictures == pytest.approx([n / 25 for n in range(40)])
    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0) if f.pts >= 0])
    speech = np.frombuffer(recording.pcm, "<i2") / 32768
    correlation = np.correlate(sound[: 2 * RATE], speech[: RATE // 2], "valid")
    assert abs(int(np.argmax(correlation)) - RATE // 5) <= 1


def test_a_hole_in_the_stream_is_counted() -> None:
    report = program.Report(frames=[frame(0), frame(40), frame(160), frame(200)])
    assert "4 in 0.20 s" in report.lines()[0]
    assert "2 dropped" in report.lines()[0]


def test_problems_of_a_session() -> None:
    good = program.Report(frames=[frame(0, 0)], speech_began_at=99.9, close_ack=CloseAck("client_request"))
    assert good.problems() == []
    assert good.first_lip_frame_ms() == pytest.approx(100)
    bad = program.Report(
        frames=[frame(0, key=False)], speech_began_at=1.0, errors=[ServerError("INTERNAL_ERROR", "oh", {})]
    )
    assert bad.problems() == [
        "INTERNAL_ERROR: oh",
        "the first frame is no key frame",
        "speech was sent, but no frame follows it",
        "no CLOSE_ACK came",
    ]
    assert program.Report(close_ack=CloseAck("timeout")).problems() == ["no frame came"]


def test_an_unfit_recording_is_refused_with_advice(tmp_path: Path) -> None:
    stereo = tmp_path / "stereo.wav"
    with wave.open(str(stereo), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(400))
    with pytest.raises(ValueError, match="-ac 1 -ar 16000"):
        program.read_recording(stereo)
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    with pytest.raises(ValueError, match=r"no PCM WAV file"):
        program.read_recording(text)


@pytest.mark.parametrize(
    ("name", "seconds"), [("speech_like_2s", 2.0), ("speech_6s", 6.0), ("silence_1s", 1.0), ("tone_1s", 1.0)]
)
def test_the_fixtures_are_what_their_names_say(name: str, seconds: float) -> None:
    path = Path(__file__).parents[2] / "fixtures" / f"{name}.wav"
    recording = program.read_recording(path)
    assert (recording.sample_rate, recording.seconds) == (RATE, seconds)


def test_a_server_that_is_not_there_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--server", "ws://127.0.0.1:1", "--timeout", "5"]) == 1
    assert "FAILED" in capsys.readouterr().err
