"""What the command-line client writes, obeys and measures, and when it says that something is wrong."""

import asyncio
import io
import json
import ssl
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

import test_client as program
from musetalk_service.client import CloseAck, ReceivedFrame, ServerError
from musetalk_service.client_lipsync import Utterance, engine_track, loudness_track, measure_lag, mouth_opening
from musetalk_service.utils.certificates import make_self_signed
from support.client_progress import Progress
from support.client_report import Report, table
from support.client_save import placed_audio, save
from support.client_speech import Recording, SpokenAudio, read_recording

RATE = 16_000
SPEECH_6S = Path(__file__).parents[2] / "fixtures" / "speech_6s.wav"
SPEECH_2S = SPEECH_6S.with_name("speech_like_2s.wav")


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


def noise(seconds: float) -> Recording:
    samples = np.random.default_rng(0).integers(-8000, 8000, round(seconds * RATE))
    return Recording(samples.astype("<i2").tobytes(), RATE)


def test_speech_is_placed_where_the_mouth_follows_it_pauses_included() -> None:
    recording = noise(0.1)
    frames = [frame(400), frame(440, 0), frame(480), frame(520, 40), frame(560, 80), frame(600)]
    track = placed_audio(frames, recording)
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
        frame(4000 + 40 * n, 40 * (n - 5) if 5 <= n < 30 else None, unit, key=n == 0) for n, unit in enumerate(units)
    ]
    save(tmp_path / "out.mp4", frames, recording, (64, 64))
    with av.open(str(tmp_path / "out.mp4")) as container:
        pictures = [picture.time for picture in container.decode(video=0)]
    assert pictures == pytest.approx([n / 25 for n in range(40)])
    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0) if f.pts >= 0])
    speech = np.frombuffer(recording.pcm, "<i2") / 32768
    correlation = np.correlate(sound[: 2 * RATE], speech[: RATE // 2], "valid")
    assert abs(int(np.argmax(correlation)) - RATE // 5) <= 1


def spoken_audio(seconds: float, paced: bool = True, rate: int = RATE) -> SpokenAudio:
    spoken = SpokenAudio()
    utterance = spoken.begin(rate, paced)
    size = rate // 25 * 2
    for _ in range(round(seconds * 25)):
        utterance.add(bytes(size))
    return spoken


def test_figures_of_a_stream_with_a_hole() -> None:
    spoken = spoken_audio(0.12)
    began = spoken.utterances[0].chunks[0].at
    frames = [frame(0), frame(40, 0, b"12345678"), frame(160, 80), frame(1000)]
    frames = [ReceivedFrame(**{**vars(f), "received_at": began + 0.1 + f.timestamp_ms / 1000}) for f in frames]
    figures = Report(frames=frames, spoken=spoken, events=["speech_started"]).figures()
    assert (figures["frames"], figures["seconds"], figures["fps"], figures["holes"]) == (4, 1.0, 3.0, 22)
    assert (figures["bytes"], figures["kbit_per_s"], figures["key_frames"]) == (23, 0.2, 4)
    assert figures["key_frame_interval_ms"] == {"count": 3, "p50": 120.0, "max": 840.0}
    assert figures["jitter_ms"]["max"] == pytest.approx(0, abs=1e-6)
    assert figures["first_lip_frame_ms"] == {"count": 1, "p50": 140.0, "p95": 140.0}
    assert figures["chunk_to_frame_ms"]["count"] == 2
    assert figures["states"] == {"speaking": 4} and figures["lip_frames"] == 2
    assert "key frame interval ms  count 3, p50 120.0, max 840.0" in table(figures)
    json.dumps(figures)


def test_figures_of_next_to_nothing() -> None:
    assert Report(frames=[frame(0)]).figures(with_sync=True) == {"frames": 1}
    silent = Report(frames=[frame(0), frame(40)], spoken=spoken_audio(0.12, paced=False)).figures()
    assert silent["first_lip_frame_ms"] is silent["chunk_to_frame_ms"] is None


def test_audio_of_several_rates_is_one_track() -> None:
    spoken = spoken_audio(1.0, rate=48_000)
    for _ in range(2):
        spoken.begin(RATE, True).add(bytes(1280))
    assert [utterance.start_ms for utterance in spoken.utterances] == [0, 1000, 1040]
    recording = spoken.recording(RATE)
    assert recording is not None and recording.seconds == pytest.approx(1.08)
    native = spoken.recording()
    assert native is not None and native.sample_rate == 48_000
    assert SpokenAudio().recording() is None


def test_problems_of_a_session() -> None:
    good = Report(frames=[frame(0, 0)], spoken=spoken_audio(0.04), close_ack=CloseAck("client_request"))
    assert good.problems() == []
    bad = Report(
        frames=[frame(0, key=False)], spoken=spoken_audio(0.04), errors=[ServerError("INTERNAL_ERROR", "oh", {})]
    )
    assert bad.problems() == [
        "INTERNAL_ERROR: oh",
        "the first frame is no key frame",
        "speech was sent, but no frame follows it",
        "no CLOSE_ACK came",
    ]
    assert Report(close_ack=CloseAck("timeout")).problems() == ["no frame came"]


def moving(lag_ms: float) -> Utterance:
    track = engine_track(read_recording(SPEECH_6S).samples(RATE))
    at_ms = np.arange(0.0, 6000.0, 40.0)
    return Utterance(at_ms, 100 + 40 * np.interp(at_ms - lag_ms, track.at_ms, track.opening))


@pytest.mark.parametrize("lag_ms", [-90.0, 0.0, 13.0, 60.0])
def test_a_known_lag_is_found(lag_ms: float) -> None:
    samples = read_recording(SPEECH_6S).samples(RATE)
    lag = measure_lag([moving(lag_ms - 5), moving(lag_ms), moving(lag_ms + 5)], engine_track(samples))
    assert lag.ms == pytest.approx(lag_ms, abs=3) and lag.low_ms < lag_ms < lag.high_ms
    assert lag.within(40) == (abs(lag_ms) < 35)
    assert measure_lag([moving(lag_ms)], loudness_track(samples)).ms == pytest.approx(lag_ms, abs=25)


def test_a_still_mouth_is_no_lip_sync() -> None:
    track = engine_track(read_recording(SPEECH_6S).samples(RATE))
    with pytest.raises(ValueError, match="does not move"):
        measure_lag([Utterance(np.arange(0.0, 400.0, 40.0), np.full(10, 7.0))], track)
    with pytest.raises(ValueError, match="no frame follows"):
        measure_lag([], track)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_for_terminals() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        progress = Progress("saving", 4, stream)
        progress.show(2)
        progress.show(2)
        progress.clear()
    assert file.getvalue() == ""
    assert terminal.getvalue().count("saving") == 1
    assert f"[{'#' * 15}{' ' * 15}]  50%" in terminal.getvalue()
    assert terminal.getvalue().endswith(" \r")


async def test_insecure_trusts_any_certificate_and_plain_text_stays_plain(tmp_path: Path) -> None:
    for name, pem in zip(("certificate", "key"), make_self_signed(["elsewhere"], 1), strict=True):
        (tmp_path / name).write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=program.insecure_context("wss://x"))
        writer.close()
    assert program.insecure_context("ws://localhost:8000") is None


def test_an_unfit_recording_is_refused_with_advice(tmp_path: Path) -> None:
    stereo = tmp_path / "stereo.wav"
    with wave.open(str(stereo), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(400))
    with pytest.raises(ValueError, match="-ac 1 -ar 16000"):
        read_recording(stereo)
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    with pytest.raises(ValueError, match=r"no PCM WAV file"):
        read_recording(text)


@pytest.mark.parametrize(
    ("name", "seconds"), [("speech_like_2s", 2.0), ("speech_6s", 6.0), ("silence_1s", 1.0), ("tone_1s", 1.0)]
)
def test_the_fixtures_are_what_their_names_say(name: str, seconds: float) -> None:
    path = Path(__file__).parents[2] / "fixtures" / f"{name}.wav"
    recording = read_recording(path)
    assert (recording.sample_rate, recording.seconds) == (RATE, seconds)


def test_a_server_that_is_not_there_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--server", "ws://127.0.0.1:1", "--timeout", "5"]) == 1
    assert "FAILED" in capsys.readouterr().err


def test_a_saved_session_speaks_in_time(live_server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.mp4"
    command = ["--server", live_server, "--audio-file", str(SPEECH_2S), "--binary", "--save", str(out)]
    assert program.main([*command, "--report", "json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["lip_frames"] == 50 and figures["errors"] == []
    assert abs(figures["sync"]["lag_ms"]) <= 40

    # The file on its own: where its sound sets in, and whether its lips move with its sound.
    pictures, sound = [], []
    with av.open(str(out)) as container:
        for decoded in container.decode():
            if isinstance(decoded, av.VideoFrame):
                pictures.append((float(decoded.time or 0) * 1000, mouth_opening(decoded)))
            elif isinstance(decoded, av.AudioFrame) and (decoded.pts or 0) >= 0:
                sound.append(decoded.to_ndarray()[0])
    samples = (np.concatenate(sound) * 32767).astype(np.int16)
    at_ms, openings = (np.array(column) for column in zip(*pictures, strict=True))
    track = engine_track(samples)
    heard = (at_ms >= track.at_ms[0]) & (at_ms <= track.at_ms[-1])
    assert abs(measure_lag([Utterance(at_ms[heard], openings[heard])], track).ms) <= 40
    # The first word: the mouth opens within a frame of it; one more where the head's movement hides the first.
    heard_ms = 1000 * int(np.flatnonzero(np.abs(samples) > 1000)[0]) / RATE
    quiet = openings[at_ms < heard_ms - 200]
    opened_ms = at_ms[np.flatnonzero(openings > quiet.max() + 3)[0]]
    assert -40 <= opened_ms - heard_ms <= 80


def test_commands_are_obeyed_while_frames_come(live_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["help", "", "state speaking speaking_1", "state flying", "action 3", "sing", "say nothing.wav", "action 1"]
    lines += [f"say {SPEECH_2S}", "interrupt", f"say {SPEECH_2S}", "status"]
    command = ["--server", live_server, "--interactive", "--events", "--resolution", "256x256"]
    assert program.main(command, [f"{line}\n" for line in lines]) == 0
    said = capsys.readouterr().out
    assert "StateChanged(state='speaking', video='speaking_1')" in said
    assert "ActionTriggered(index=1)" in said and "Interrupted(audio_played_ms=" in said
    assert "states are idle, speaking" in said and "'sing' is no command" in said and "'action 3' is no" in said
    assert "nothing.wav" in said and "EVENT      speech_started" in said and "say FILE" in said
    assert said.rstrip().endswith("OK")


def test_quit_ends_the_session_at_once(live_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    def typed() -> Iterator[str]:
        yield f"say {SPEECH_6S}\n"
        time.sleep(1.0)
        yield "quit\n"
        yield "sing\n"

    assert program.main(["--server", live_server, "--interactive"], typed()) == 0
    said = capsys.readouterr().out
    assert "CLOSE_ACK  client_request" in said and "sing" not in said
