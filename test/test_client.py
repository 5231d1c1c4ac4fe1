"""Command-line test client: opens a session, speaks a recording, and reports on the stream that comes back.

    python test/test_client.py --user-id test_user_123
    python test/test_client.py --audio-file fixtures/speech_6s.wav --save out.mp4 --report
    python test/test_client.py --interactive
    python test/test_client.py --help

Exit code 0 when the stream is as it should be, else 1. Named as the project's description names it; pytest
finds no test in here.
"""

import argparse
import asyncio
import json
import ssl
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TextIO

from websockets.exceptions import WebSocketException

from musetalk_service.client import MuseTalkClient, ServerError
from support.client_progress import Progress
from support.client_prompt import run_prompt
from support.client_report import Report, table
from support.client_save import save
from support.client_session import Talk
from support.client_speech import Recording, read_recording

PAUSE_S = 1.0
"""Between utterances: the face comes to rest."""


async def run(options: argparse.Namespace, recording: Recording | None, lines: Iterable[str], output: TextIO) -> Report:
    """One session, from INIT to CLOSE_ACK."""
    say = partial(print, file=output, flush=True)
    report = Report()
    async with MuseTalkClient.connect(
        options.server,
        options.user_id,
        auth_token=options.token,
        resolution=options.resolution,
        max_kbps=options.max_kbps,
        frames="binary" if options.binary else "json",
        events=options.events,
        resume=options.resume,
        ssl=insecure_context(options.server) if options.insecure else None,
        timeout=options.timeout,
    ) as client:
        say(f"INIT_SUCCESS session {client.session_id}")
        say(
            f"           engine {client.engine or '?'}, codec {client.codec or '?'}, {client.width}x{client.height}"
            f" at {client.fps} fps, delay {client.delay_ms} ms"
        )
        say(f"           videos {', '.join(client.available_videos)}; default {client.default_video}")
        report.size, report.engine = (client.width, client.height), client.engine
        talk = Talk(client, report, say)
        started = time.monotonic()
        reading = asyncio.create_task(talk.read())
        ended = asyncio.Event()
        reading.add_done_callback(lambda _: ended.set())
        try:
            if options.action:
                await client.action(options.action)
            if recording is not None:
                await say_all(talk, recording, options)
            if options.interactive:
                await run_prompt(talk, lines, ended, output)
            else:
                await linger(options, recording, client, started, reading)
        finally:
            report.close_ack = await client.close()
            await reading
    return report


async def say_all(talk: Talk, recording: Recording, options: argparse.Namespace) -> None:
    """As often as it is wanted, with pauses."""
    progress = Progress("speaking", recording.seconds)
    try:
        for number in range(options.repeat):
            await asyncio.sleep(PAUSE_S if number else 0)
            await talk.speak(recording, burst=options.burst, progress=progress.show)
    finally:
        progress.clear()


async def linger(
    options: argparse.Namespace,
    recording: Recording | None,
    client: MuseTalkClient,
    started: float,
    reading: asyncio.Task[None],
) -> None:
    """Waits till all has been seen; ends early only when the server ends the session."""
    spoken_s = 0.0
    if recording is not None:
        spoken_s = recording.seconds if options.burst else time.monotonic() - started
        spoken_s += client.delay_ms / 1000 + PAUSE_S
    wanted_s = options.duration or spoken_s or 3.0
    progress = Progress("receiving", wanted_s)
    while not reading.done() and (left_s := started + wanted_s - time.monotonic()) > 0:
        progress.show(wanted_s - left_s)
        await asyncio.wait([reading], timeout=min(left_s, 0.2))
    progress.clear()


def insecure_context(server: str) -> ssl.SSLContext | None:
    """One that trusts any certificate, for a server that speaks TLS."""
    if not server.startswith(("wss:", "https:")):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Opens a session and reports on the stream that comes back.")
    parser.add_argument("--server", default="ws://localhost:8000", help="address of the server (%(default)s)")
    parser.add_argument("--user-id", default="test_user", help="letters, digits, - and _ (%(default)s)")
    parser.add_argument("--token", "--auth-token", metavar="JWT", help="where the server asks for one")
    parser.add_argument("--insecure", action="store_true", help="with wss: trust any certificate")
    parser.add_argument("--audio-file", type=Path, metavar="WAV", help="speech to send: mono, 16 bit")
    parser.add_argument("--burst", action="store_true", help="send the speech at once, not in real time")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="say it so many times (%(default)s)")
    parser.add_argument("--action", type=int, choices=(1, 2), help="play this action first")
    parser.add_argument("--duration", type=float, metavar="S", help="seconds of stream (speech and 1 s more, or 3)")
    parser.add_argument("--interactive", action="store_true", help="then take commands; help lists them")
    parser.add_argument("--save", type=Path, metavar="MP4", help="write the stream, with the speech, to this file")
    parser.add_argument(
        "--report",
        nargs="?",
        choices=("table", "json"),
        const="table",
        help="all figures, lip sync too, as a table or as JSON on standard output",
    )
    parser.add_argument("--binary", action="store_true", help="frames as binary messages, not JSON")
    parser.add_argument(
        "--size", "--resolution", dest="resolution", metavar="WxH", help="picture; the server's default"
    )
    parser.add_argument("--max-kbps", type=int, metavar="N", help="peak rate of the video that can be taken")
    parser.add_argument("--events", action="store_true", help="ask for EVENT messages")
    parser.add_argument("--resume", action="store_true", help="take the session up again when the connection breaks")
    parser.add_argument("--timeout", type=float, default=15.0, metavar="S", help="for INIT_SUCCESS (%(default)s s)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None, lines: Iterable[str] | None = None) -> int:
    """Returns the exit code. ``lines`` are the commands of --interactive, from standard input unless given."""
    options = parse_arguments(arguments)
    # With JSON on standard output everything else goes beside it.
    output = sys.stderr if options.report == "json" else sys.stdout
    try:
        recording = read_recording(options.audio_file) if options.audio_file else None
        report = asyncio.run(run(options, recording, lines or sys.stdin, output))
        figures = report.figures(with_sync=options.report is not None)
        if options.save and report.frames:
            write(options.save, report)
            print(f"saved      {options.save}", file=output)
    except KeyboardInterrupt:
        return 130
    except (asyncio.TimeoutError, OSError, ValueError, WebSocketException, ServerError) as problem:
        print(f"FAILED     {str(problem) or 'the server did not answer in time'}", file=sys.stderr)
        return 1
    if options.report == "json":
        print(json.dumps(figures, indent=2))
    else:
        print("\n".join(table(figures)))
    print(f"CLOSE_ACK  {report.close_ack.reason if report.close_ack else 'none'}", file=output)
    problems = report.problems()
    print("\n".join(f"FAILED     {problem}" for problem in problems) or "OK", file=output)
    return 1 if problems else 0


def write(path: Path, report: Report) -> None:
    """Saves the session to a file."""
    progress = Progress("saving", len(report.frames))
    try:
        save(path, report.frames, report.spoken.recording(), report.size, progress.show)
    finally:
        progress.clear()


if __name__ == "__main__":
    sys.exit(main())
