"""Which engine renders: the preferred one, its stand-in while it fails, and back again."""

from collections.abc import Sequence

import pytest

from musetalk_service.engines.base import FrameRequest, Picture
from musetalk_service.errors import EngineError, ModelNotFoundError
from musetalk_service.models.face import NEUTRAL, REST
from musetalk_service.models.media import BASE_SIZE, ClipPosition
from musetalk_service.services.engine_scheduler import EngineScheduler, ScheduledRequest, ScheduledStream
from support.engines import SHUT, GreyEngine, ShutEngine, flat, grey_of, tone
from support.in_process import default_avatar


class Setup:
    def __init__(self) -> None:
        self.now = 0.0
        self.grey, self.shut = GreyEngine(), ShutEngine()
        self.scheduler = EngineScheduler({"builtin": self.grey, "static": self.shut}, lambda: self.now, retry_s=10.0)

    def open(self, grey: int) -> ScheduledStream:
        stream = self.scheduler.open(default_avatar(), "builtin", BASE_SIZE)
        self.scheduler.push(stream, tone(grey, 0.04), 0)
        return stream

    def render(self, *streams: ScheduledStream) -> list[int | EngineError]:
        requests = [ScheduledRequest(stream, ClipPosition("idle_0", 0), NEUTRAL, REST, 0) for stream in streams]
        results = self.scheduler.render(requests)
        return [result if isinstance(result, EngineError) else grey_of(result) for result in results]


def test_sessions_share_one_batch_and_keep_their_order() -> None:
    setup = Setup()
    streams = [setup.open(grey) for grey in (10, 20, 30)]
    assert setup.render(*reversed(streams)) == [30, 20, 10]
    assert setup.grey.batches == [3]


def test_failing_engine_is_replaced_in_the_same_call_and_tried_again() -> None:
    setup = Setup()
    stream = setup.open(50)
    setup.grey.all_broken = True
    assert setup.render(stream) == [SHUT]
    assert stream.engine == "static"
    assert stream.read_changes() == [("static", "builtin failed")]
    assert stream.read_changes() == []
    setup.grey.all_broken = False
    setup.now = 9.9
    assert setup.render(stream) == [SHUT]
    setup.now = 10.1
    assert setup.render(stream) == [50]
    assert stream.engine == "builtin"
    setup.grey.all_broken = True
    assert setup.render(stream) == [SHUT]
    setup.now = 15.0
    assert setup.render(stream) == [SHUT]


def test_an_engine_that_knows_why_it_failed_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup()
    stream = setup.open(50)

    def fail(_: object) -> None:
        raise EngineError("the painter has ended")

    monkeypatch.setattr(setup.grey, "render", fail)
    assert setup.render(stream) == [SHUT]
    assert stream.read_changes() == [("static", "builtin failed: the painter has ended")]


def test_only_the_culprit_falls() -> None:
    setup = Setup()
    streams = [setup.open(grey) for grey in (10, 20, 30)]
    setup.grey.broken.append(setup.grey.streams[1])
    assert setup.render(*streams) == [10, SHUT, 30]
    assert [stream.engine for stream in streams] == ["builtin", "static", "builtin"]


def test_whole_chain_failing_is_told_for_its_stream_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup()
    good, bad = setup.open(10), setup.open(20)
    setup.grey.broken.append(setup.grey.streams[1])

    def fail(_: Sequence[FrameRequest]) -> list[Picture]:
        raise MemoryError

    monkeypatch.setattr(setup.shut, "render", fail)
    results = setup.render(good, bad)
    assert results[0] == 10 and isinstance(results[1], EngineError)


def test_engine_that_returns_too_few_pictures_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup()
    streams = [setup.open(10), setup.open(20)]
    picture = flat(0)
    monkeypatch.setattr(setup.grey, "render", lambda batch: [picture] * (len(batch) - 1))
    assert setup.render(*streams) == [SHUT, SHUT]


def test_engine_that_cannot_take_audio_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup()
    stream = setup.open(10)

    def fail(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(setup.grey.streams[0], "push", fail)
    setup.scheduler.push(stream, tone(10, 0.04), 640)
    assert setup.render(stream) == [SHUT]


def test_engine_that_an_avatar_does_not_suit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup()

    def fail(_: object) -> None:
        raise EngineError("no face")

    monkeypatch.setattr(setup.grey, "open", fail)
    assert setup.render(setup.open(10)) == [SHUT]
    monkeypatch.setattr(setup.shut, "open", fail)
    with pytest.raises(EngineError):
        setup.open(10)


def test_unknown_engine_is_no_model() -> None:
    with pytest.raises(ModelNotFoundError):
        Setup().scheduler.open(default_avatar(), "nonsense", BASE_SIZE)
