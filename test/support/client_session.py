"""A session of the command-line client: frames are read in one task while commands and speech go out in another."""

import asyncio
from collections.abc import Callable

from musetalk_service.client import CloseAck, Event, MuseTalkClient, ReceivedFrame, ServerError, SessionStarted
from support.client_report import Report
from support.client_speech import Recording

CHUNK_S = 0.04


def _unseen(_: float) -> None:
    """Progress that nobody watches."""


class Talk:
    """One open session, its report, and what is being said in it."""

    def __init__(self, client: MuseTalkClient, report: Report, say: Callable[[str], None]) -> None:
        self.client = client
        self.report = report
        self.say = say
        """Where lines for people go."""
        self._speaking = asyncio.Lock()
        self._speeches: set[asyncio.Task[None]] = set()

    async def read(self) -> None:
        """Takes everything that comes until the session has ended."""
        async for message in self.client:
            match message:
                case ReceivedFrame():
                    self.report.frames.append(message)
                case ServerError():
                    self.say(f"ERROR      {message} {dict(message.details) or ''}")
                    self.report.errors.append(message)
                case Event():
                    self.say(f"EVENT      {message.name}")
                    self.report.events.append(message.name)
                case SessionStarted():
                    self.say("           the connection was lost; the session goes on")
                    self.report.resumptions += 1
                case CloseAck():
                    pass
                case _:
                    self.say(f"           {message}")

    async def speak(
        self, recording: Recording, *, burst: bool = False, progress: Callable[[float], None] = _unseen
    ) -> None:
        """Sends a recording, in real time unless ``burst``, after whatever is being said.

        ``progress`` hears how many seconds of it have been sent.
        """
        async with self._speaking:
            utterance = self.report.spoken.begin(recording.sample_rate, paced=not burst)
            size = recording.sample_rate // 25 * 2
            loop = asyncio.get_running_loop()
            start = loop.time()
            for index, offset in enumerate(range(0, len(recording.pcm), size)):
                # Absolute deadlines: what one wake is late does not add up.
                delay = start + index * CHUNK_S - loop.time()
                if not burst and delay > 0:
                    await asyncio.sleep(delay)
                chunk = recording.pcm[offset : offset + size]
                utterance.add(chunk)
                await self.client.send_audio(chunk, sample_rate=recording.sample_rate)
                progress((index + 1) * CHUNK_S)
            await self.client.end_of_speech()

    def speak_later(self, recording: Recording) -> None:
        """The same in a task of its own."""
        task = asyncio.create_task(self.speak(recording))
        self._speeches.add(task)
        task.add_done_callback(self._spoken)

    def _spoken(self, speech: asyncio.Task[None]) -> None:
        self._speeches.discard(speech)
        if not speech.cancelled() and (problem := speech.exception()) is not None:
            self.say(f"not said: {problem}")

    @property
    def is_speaking(self) -> bool:
        """Whether speech is being sent, or waits to be."""
        return bool(self._speeches)

    async def hush(self) -> None:
        """Sends no more of what is being said."""
        speeches = tuple(self._speeches)
        for speech in speeches:
            speech.cancel()
        await asyncio.gather(*speeches, return_exceptions=True)

    def status(self) -> str:
        """The stream of the last second in one line."""
        frames = self.report.frames[-26:]
        if len(frames) < 2:
            return "no frames yet"
        seconds = max(frames[-1].received_at - frames[0].received_at, 1e-3)
        kilobits = sum(len(frame.access_unit) for frame in frames[1:]) * 8 / 1000
        at = frames[-1].audio_timestamp_ms
        words = [
            frames[-1].state,
            f"{frames[-1].timestamp_ms / 1000:.1f} s",
            f"{(len(frames) - 1) / seconds:.1f} fps",
            f"{kilobits / seconds:.0f} kbit/s",
            "no audio" if at is None else f"audio at {at / 1000:.1f} s",
        ]
        return " | ".join(words + [f"{len(self.report.errors)} errors"] * bool(self.report.errors))
