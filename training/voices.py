"""Two of the synthesisers, espeak-ng and flite, each giving a 16 kHz wave and the mouth class of every instant."""

import ctypes
import re
import subprocess
import tempfile
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
import phones
import soxr
from numpy.typing import NDArray
from sounds import RATE, Wave

from musetalk_service.lip_bench.arpabet import arpabet_classes, shares

_AUDIO_SYNCHRONOUS, _PHONEME_EVENTS, _PHONEME_IPA = 2, 1, 2
_EVENT_END, _EVENT_PHONEME = 0, 7
_UTF8, _RATE_PARAMETER, _PITCH_PARAMETER, _RANGE_PARAMETER = 1, 1, 3, 4
_VOICELESS_LEAD, _VOICED_LEAD = 0.055, 0.020
_SHORTEST = 0.015


class Segment(NamedTuple):
    """A mouth class and when it ends, in seconds; the next one starts there."""

    name: str
    end: float


class Utterance(NamedTuple):
    """Speech at 16 kHz in -1..1, and its segments in order from 0."""

    wave: Wave
    segments: list[Segment]


class Spoken(NamedTuple):
    """What a synthesiser gave: samples in -1..1 at its own rate, and segments."""

    pcm: Wave
    rate: int
    segments: list[Segment]

    def at_speed(self, speed: float) -> Utterance:
        """Played faster and higher by `speed`, at 16 kHz."""
        wave16 = soxr.resample(self.pcm, self.rate * speed, RATE).astype(np.float32)
        return Utterance(wave16, [Segment(name, end / speed) for name, end in self.segments])


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def divide(starts: list[tuple[float, list[str]]], end: float) -> list[Segment]:
    """Turn phones' start times and classes into segments, dividing diphthongs and affricates."""
    segments: list[Segment] = []
    for index, (start, names) in enumerate(starts):
        stop = starts[index + 1][0] if index + 1 < len(starts) else end
        position = start
        for name, share in zip(names, shares(names), strict=True):
            position += share * (stop - start)
            segments.append(Segment(name, position))
    return segments


class Espeak:
    """espeak-ng through its C library; one per process."""

    def __init__(self, library: str = "libespeak-ng.so.1") -> None:
        self._library = ctypes.CDLL(library)
        self._rate = self._library.espeak_Initialize(_AUDIO_SYNCHRONOUS, 200, None, _PHONEME_EVENTS | _PHONEME_IPA)
        if self._rate <= 0:
            raise RuntimeError("espeak-ng did not start")
        self._waves: list[NDArray[np.int16]] = []
        self._events: list[tuple[int, str]] = []
        self._callback = _CALLBACK(self._collect)  # kept: the library holds only a pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: object, count: int, events: object) -> int:
        if count > 0 and samples:
            self._waves.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_END:  # type: ignore[index]
            event = events[index]  # type: ignore[index]
            if event.type == _EVENT_PHONEME:
                text = bytes(event.id.string).decode("utf-8", errors="ignore")
                self._events.append((event.sample, text))
            index += 1
        return 0

    def say(self, text: str, voice: str, words_a_minute: int, pitch: int, spread: int, speed: float) -> Utterance:
        """Speak `text`; `voice` is a language and a variant ("en-us+f3"), `speed` plays it faster and higher."""
        self._waves, self._events = [], []
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        for parameter, value in (
            (_RATE_PARAMETER, words_a_minute),
            (_PITCH_PARAMETER, pitch),
            (_RANGE_PARAMETER, spread),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._waves:
            return Utterance(np.zeros(0, np.float32), [])
        pcm = np.concatenate(self._waves).astype(np.float32) / 32768.0
        starts: list[tuple[float, list[str]]] = [(0.0, ["sil"])]
        for sample, ipa in self._events:
            names = phones.ipa_classes(ipa) or ["sil"]
            base = ipa.lstrip("ˈˌ")[:1]
            lead = _VOICELESS_LEAD if base in phones.VOICELESS_STOPS else 0.0
            lead = _VOICED_LEAD if base in phones.VOICED_STOPS else lead
            # The event is at the burst; the closure is part of what was given to the phone before.
            start = max(sample / self._rate - lead, starts[-1][0] + _SHORTEST)
            starts.append((start, names))
        return Spoken(pcm, self._rate, divide(starts, pcm.size / self._rate)).at_speed(speed)


def flite(text: str, voice: str, stretch: float, pitch: float, speed: float) -> Utterance:
    """Speak English `text` with a flite voice; `pitch` is the mean in Hz."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = ["flite", "-voice", voice, "-psdur", "--setf", f"duration_stretch={stretch:.3f}"]
        command += ["--setf", f"int_f0_target_mean={pitch:.1f}", "-t", text, str(path)]
        output = subprocess.run(command, capture_output=True, check=True, timeout=120).stdout.decode()
        with wave.open(str(path)) as file:
            rate = file.getframerate()
            pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768.0
    starts: list[tuple[float, list[str]]] = []
    begin = 0.0
    for phone, end in re.findall(r"(\w+):([0-9.]+)", output):
        if float(end) < begin:
            # A text of several sentences is several utterances, with times from 0 in each.
            raise ValueError("flite takes one sentence at a time")
        starts.append((begin, arpabet_classes(phone)))
        begin = float(end)
    if not starts:
        return Utterance(np.zeros(0, np.float32), [])
    return Spoken(pcm, rate, divide(starts, begin)).at_speed(speed)
