import itertools

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

import torch

from musetalk_service.engines.musetalk.batching import PatchRunner
from musetalk_service.engines.musetalk.networks import NetworkPainter, load_painter, sustained_sessions
from musetalk_service.engines.musetalk.options import LATENT_SHAPE, Listening, MuseTalkOptions
from musetalk_service.engines.musetalk.painter import PaintJob, Window
from musetalk_service.engines.musetalk.weights import load_whisper
from musetalk_service.errors import EngineError

CPU = torch.device("cpu")
RNG = np.random.default_rng(31)
LISTENING = Listening(window_s=1.0, hop_frames=2)
LATENT_BYTES = 4 * int(np.prod(LATENT_SHAPE))


class Counting(torch.nn.Module):
    """Counts calls by batch size, and has memory for so many rows."""

    def __init__(self, inner, room=99):
        super().__init__()
        self.inner, self.room, self.batches = inner, room, []

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.inner, name)

    def forward(self, first, *args, **kwargs):
        self.batches.append(len(first))
        if len(first) > self.room:
            raise torch.OutOfMemoryError("too large")
        return self.inner(first, *args, **kwargs)


class Sum(torch.nn.Module):
    """Pixels that say what came in."""

    def forward(self, latents, audio):
        level = latents[:, 0, 0, 0] + audio.abs().sum(dim=(1, 2)).round()
        return (level % 256).to(torch.uint8)[:, None, None, None].expand(-1, 256, 256, 3)


@pytest.fixture(scope="module")
def encoder(model_path):
    return load_whisper(model_path)


def make(encoder, *, room=99, hears=99, latents_bytes=1 << 20, faces=None):
    whisper, model = Counting(encoder, hears), Counting(Sum(), room)
    runner = PatchRunner(model, CPU, torch.float32, 384, largest=8)
    return NetworkPainter(whisper, faces, runner, LISTENING, "abc", latents_bytes=latents_bytes), whisper, model


def job(stream, *, start=0, frame=0, face="face", level=3):
    pcm = (3000 * np.random.default_rng(len(stream) + start).standard_normal(9000)).astype(np.int16)
    return PaintJob(stream, Window(pcm, 10, start), frame, face, np.full(LATENT_SHAPE, level, np.float32), 0.0)


def test_a_hop_is_heard_once_and_its_frames_differ(encoder):
    painter, whisper, _ = make(encoder)
    first = painter.paint([job("a"), job("b")])
    second = painter.paint([job("a", frame=1), job("b", frame=1), job("c")])
    assert whisper.batches == [2, 1]
    assert first[0, 0, 0, 0] != second[0, 0, 0, 0]
    painter.paint([job("a", start=1280)])
    assert whisper.batches == [2, 1, 1]


def test_latents_stay_on_the_device_while_there_is_room(encoder):
    painter, _, _ = make(encoder, latents_bytes=2 * LATENT_BYTES)

    def level(face, value):  # what it painted shows which latents it took
        return int(painter.paint([job("a", face=face, level=value)])[0, 0, 0, 0])

    kept = level("one", 1)
    assert level("one", 77) == kept
    level("two", 2)
    level("one", 1)  # the newest again
    level("three", 3)  # pushes two out
    assert level("one", 78) == kept
    assert level("two", 79) == (kept + 78) % 256


def test_out_of_memory_halves_what_is_heard_and_painted(encoder):
    plain, _, _ = make(encoder)
    tight, whisper, model = make(encoder, room=2, hears=1)
    jobs = [job("a" * (1 + n), face=f"{n}", level=n) for n in range(5)]
    np.testing.assert_array_equal(tight.paint(jobs), plain.paint(jobs))
    assert tight.sizes == [1, 2] and max(whisper.batches) == 5 and max(model.batches) == 4
    assert tight.next_batch(9) == 2


@pytest.mark.parametrize("lacking", ["room", "hears"])
def test_too_little_memory_for_one_frame_is_refused_and_forgiven(encoder, lacking):
    painter, whisper, model = make(encoder, **{lacking: 0})
    with pytest.raises(EngineError, match="memory of cpu is too small"):
        painter.paint([job("a")])
    whisper.room = model.room = 99
    assert len(painter.paint([job("a")])) == 1


def test_a_face_that_does_not_fit_is_refused(encoder):
    def refuse(_):
        raise torch.OutOfMemoryError("too large")

    painter, _, _ = make(encoder, faces=refuse)
    with pytest.raises(EngineError, match="too small for a face"):
        painter.encode_face(np.zeros((256, 256, 3), np.uint8))


def test_capacity_is_measured_with_everything_that_a_frame_costs(encoder):
    painter, whisper, model = make(encoder)
    ticks = itertools.count(0.0, 0.1)
    assert painter.measure(lambda: next(ticks)) == pytest.approx({1: 10, 2: 20, 4: 40, 8: 80})
    assert set(whisper.batches) == set(model.batches) == {1, 2, 4, 8}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_nothing_waits_for_the_device_before_the_patches_are_fetched(model_path, tmp_path):
    options = MuseTalkOptions(model_path, tmp_path, listening=LISTENING, largest_batch=4)
    painter = load_painter(options)
    painter.paint([job("a"), job("b")])  # makes what is made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = [painter.start([job("a", start=1280 * n, face=f"{n}"), job("b", frame=1)]) for n in range(1, 4)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [batch.wait().shape[0] for batch in batches] == [2, 2, 2]


@pytest.mark.parametrize(
    ("rates", "sessions"),
    [
        ({1: 200, 2: 300, 4: 400, 8: 420}, 15),
        ({1: 50, 8: 100, 16: 1000}, 36),
        ({4: 40, 8: 300, 16: 300}, 10),  # 16 of them take longer than a frame is shown
        ({1: 3, 2: 4}, 1),
    ],
)
def test_sessions_keep_up_with_a_tenth_to_spare(rates, sessions):
    assert sustained_sessions(rates) == sessions
