"""Command-line test client: opens a session, speaks a recording, and reports on the stream that comes back.

    python test/test_client.py --user-id test_user_123
    python test/test_client.py --audio-file fixtures/speech_like_2s.wav --save out.mp4
    python test/test_client.py --help

Exit code 0 when the stream is as it should be, else 1. Named as the project's description names it; pytest
finds no test in here.
"""

import argparse
import asyncio
import sys
import time
import wave
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from websockets.exceptions import WebSocketException

from musetalk_service.client import CloseAck, MuseTalkClient, ReceivedFrame, ServerError

FRAME_MS = 40


@dataclass(frozen=True)
class Recording:
    """Mono 16-bit PCM."""

    pcm: bytes
    sample_rate: int

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / self.sample_rate


@dataclass
class Report:
    """What one session brought."""

    frames: list[ReceivedFrame] = field(default_factory=list)
    errors: list[ServerError] = field(default_factory=list)
    speech_began_at: float | None = None
    close_ack: CloseAck | None = None
    size: tuple[int, int] = (512, 512)

    def first_lip_frame_ms(self) -> float | None:
        """From the first chunk sent to the first frame whose mouth follows it."""
        for frame in self.frames:
            if frame.audio_timestamp_ms is not None and self.speech_began_at is not None:
                return (frame.received_at - self.speech_began_at) * 1000
        return None

    def problems(self) -> list[str]:
        """Why the session was not as it should be; empty when it was."""
        found = [str(error) for error in self.errors]
        if not self.frames:
            found.append("no frame came")
        elif not self.frames[0].is_keyframe:
            found.append("the first frame is no key frame")
        if self.speech_began_at is not None and self.first_lip_frame_ms() is None:
            found.append("speech was sent, but no frame follows it")
        if self.close_ack is None:
            found.append("no CLOSE_ACK came")
        return found

    def lines(self) -> list[str]:
        """The report for people."""
        if len(self.frames) < 2:
            return [f"frames     {len(self.frames)}"]
        times = np.array([frame.received_at for frame in self.frames])
        stamps = np.array([frame.timestamp_ms for frame in self.frames])
        seconds = times[-1] - times[0]
        keys = sum(frame.is_keyframe for frame in self.frames)
        kilobits = sum(len(frame.access_unit) for frame in self.frames) * 8 / 1000
        dropped = int((stamps[-1] - stamps[0]) // FRAME_MS + 1 - len(stamps))
        # Lateness of each frame against a steady 25 fps from the punctual ones on.
        late = times * 1000 - stamps
        late -= np.percentile(late, 5)
        states = Counter(frame.state for frame in self.frames)
        lips = sum(frame.audio_timestamp_ms is not None for frame in self.frames)
        first = self.first_lip_frame_ms()
        return [
            f"frames     {len(self.frames)} in {seconds:.2f} s: {(len(times) - 1) / seconds:.2f} fps, "
            f"{keys} key frames, {dropped} dropped, {kilobits / seconds:.0f} kbit/s",
            "jitter     " + ", ".join(f"p{p} {np.percentile(late, p):.1f} ms" for p in (50, 95, 99, 100)),
            "states     " + ", ".join(f"{state} {count}" for state, count in sorted(states.items())),
            f"lip sync   {lips} frames follow speech"
            + ("" if first is None else f", the first {first:.0f} ms after the first chunk"),
        ]


def read_recording(path: Path) -> Recording:
    """A WAV file that the service takes. Raises ValueError that says what to do about another one."""
    try:
        with wave.open(str(path), "rb") as file:
            parameters = file.getparams()
            pcm = file.readframes(parameters.nframes)
    except (wave.Error, EOFError) as cause:
        raise ValueError(f"{path} is no PCM WAV file: {cause}") from cause
    if (parameters.nchannels, parameters.sampwidth) != (1, 2) or not 8_000 <= parameters.framerate <= 48_000:
        raise ValueError(
            f"{path} is not mono, 16 bit, 8 to 48 kHz; try: ffmpeg -i {path} -ac 1 -ar 16000 -c:a pcm_s16le new.wav"
        )
    return Recording(pcm, parameters.framerate)


async def run(options: argparse.Namespace, recording: Recording | None) -> Report:
    """One session: frames are read in one task while speech goes out in another."""
    report = Report()
    async with MuseTalkClient.connect(
        options.server, options.user_id, auth_token=options.auth_token, timeout=options.timeout
    ) as client:
        print(f"INIT_SUCCESS session {client.session_id}")
        print(
            f"           engine {client.engine or '?'}, codec {client.codec or '?'}, {client.width}x{client.height}"
            f" at {client.fps} fps, delay {client.delay_ms} ms"
        )
        print(f"           videos {', '.join(client.available_videos)}; default {client.default_video}")
        report.size = (client.width, client.height)
        started = time.monotonic()
        reading = asyncio.create_task(read(client, report))
        try:
            await speak(client, report, options, recording)
            wanted = options.duration or (recording.seconds + client.delay_ms / 1000 + 1 if recording else 3)
            # The reading ends early only when the server ends the session.
            await asyncio.wait([reading], timeout=max(0.0, started + wanted - time.monotonic()))
        finally:
            report.close_ack = await client.close()
            await reading
    return report


async def read(client: MuseTalkClient, report: Report) -> None:
    async for message in client:
        if isinstance(message, ReceivedFrame):
            report.frames.append(message)
        elif isinstance(message, ServerError):
            print(f"ERROR      {message} {dict(message.details) or ''}")
            report.errors.append(message)
        elif not isinstance(message, CloseAck):
            print(f"           {message}")


async def speak(
    client: MuseTalkClient, report: Report, options: argparse.Namespace, recording: Recording | None
) -> None:
    if options.action:
        await client.action(options.action)
    if recording is not None:
        send = client.send_audio if options.burst else client.send_paced
        report.speech_began_at = time.monotonic()
        await send(recording.pcm, sample_rate=recording.sample_rate)
        await client.end_of_speech()


def save(path: Path, frames: list[ReceivedFrame], recording: Recording | None, size: tuple[int, int]) -> None:
    """Writes an MP4: the H.264 stream as it came, and the speech where the mouth speaks it."""
    origin = frames[0].timestamp_ms
    with av.open(str(path), "w") as container:
        video = container.add_mux_stream("h264", rate=25, width=size[0], height=size[1])
        audio = container.add_stream("aac", rate=recording.sample_rate, layout="mono") if recording else None
        for frame in frames:
            packet = av.Packet(frame.access_unit)
            packet.stream = video
            packet.pts = packet.dts = frame.timestamp_ms - origin
            packet.duration = FRAME_MS
            packet.time_base = Fraction(1, 1000)
            packet.is_keyframe = frame.is_keyframe
            container.mux(packet)
        if recording is not None and audio is not None:
            sound = av.AudioFrame.from_ndarray(placed_audio(frames, recording)[None, :], "s16", "mono")
            sound.sample_rate = recording.sample_rate
            sound.pts, sound.time_base = 0, Fraction(1, recording.sample_rate)
            container.mux(audio.encode(sound))
            container.mux(audio.encode(None))


def placed_audio(frames: list[ReceivedFrame], recording: Recording) -> npt.NDArray[np.int16]:
    """The recording on the video's time line: each frame's own 40 ms of it, silence elsewhere."""
    speech = np.frombuffer(recording.pcm, "<i2")
    per_ms = recording.sample_rate / 1000
    origin = frames[0].timestamp_ms
    track = np.zeros(round((frames[-1].timestamp_ms - origin + FRAME_MS) * per_ms), np.int16)
    for frame in frames:
        if frame.audio_timestamp_ms is None:
            continue
        begin = round(frame.audio_timestamp_ms * per_ms)
        piece = speech[begin : begin + round(FRAME_MS * per_ms)]
        start = round((frame.timestamp_ms - origin) * per_ms)
        track[start : start + len(piece)] = piece[: len(track) - start]
    return track


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Opens a session and reports on the stream that comes back.")
    parser.add_argument("--server", default="ws://localhost:8000", help="address of the server (%(default)s)")
    parser.add_argument("--user-id", default="test_user", help="letters, digits, - and _ (%(default)s)")
    parser.add_argument("--auth-token", help="JWT, where the server asks for one")
    parser.add_argument("--audio-file", type=Path, metavar="WAV", help="speech to send: mono, 16 bit")
    parser.add_argument("--burst", action="store_true", help="send the speech at once, not in real time")
    parser.add_argument("--action", type=int, choices=(1, 2), help="play this action first")
    parser.add_argument("--duration", type=float, metavar="S", help="seconds of stream (speech and 1 s more, or 3)")
    parser.add_argument("--save", type=Path, metavar="MP4", help="write the stream, with the speech, to this file")
    parser.add_argument("--timeout", type=float, default=15.0, metavar="S", help="for INIT_SUCCESS (%(default)s s)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    options = parse_arguments(arguments)
    try:
        recording = read_recording(options.audio_file) if options.audio_file else None
        report = asyncio.run(run(options, recording))
    except (asyncio.TimeoutError, OSError, ValueError, WebSocketException, ServerError) as problem:
        print(f"FAILED     {str(problem) or 'the server did not answer in time'}", file=sys.stderr)
        return 1
    print("\n".join(report.lines()))
    print(f"CLOSE_ACK  {report.close_ack.reason if report.close_ack else 'none'}")
    if options.save and report.frames:
        save(options.save, report.frames, recording, report.size)
        print(f"saved      {options.save}")
    problems = report.problems()
    print("\n".join(f"FAILED     {problem}" for problem in problems) or "OK")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
