"""What a slow reader loses, and what never."""

import asyncio
import json

import pytest

from musetalk_service.services.outbox import Outbox
from musetalk_service.utils.encoding import FramePayload


def _frame(is_idr: bool = False) -> FramePayload:
    return FramePayload(b"x", is_idr, "idle")


def _outbox(limit: int = 3) -> Outbox:
    outbox = Outbox(limit)
    outbox.name_session("s", binary=False)
    return outbox


async def _drain(outbox: Outbox) -> list[object]:
    """Frame numbers and answers, as far as they are there."""
    out: list[object] = []
    while True:
        try:
            text = await asyncio.wait_for(outbox.next(), 0.01)
        except asyncio.TimeoutError:
            return out
        if text is None:
            return [*out, None]
        assert isinstance(text, str)
        out.append(json.loads(text)["data"]["frame_timestamp"] // 40 if text.startswith("{") else text)


async def test_order_is_kept() -> None:
    outbox = _outbox()
    outbox.put("a")
    outbox.put_frame(0, _frame(True))
    outbox.put("b")
    outbox.put_frame(1, _frame())
    assert await _drain(outbox) == ["a", 0, "b", 1]
    assert (outbox.frames_sent, outbox.frames_dropped) == (2, 0)
    assert outbox.bytes_sent > 0


async def test_overflow_drops_up_to_the_next_idr_and_no_answer() -> None:
    outbox = _outbox(3)
    for n in range(3):
        outbox.put_frame(n, _frame(n == 0))
    outbox.put("answer")
    assert not outbox.wants_idr
    outbox.put_frame(3, _frame())
    assert outbox.wants_idr
    outbox.put_frame(4, _frame())
    outbox.put_frame(5, _frame(True))
    assert not outbox.wants_idr
    outbox.put_frame(6, _frame())
    assert await _drain(outbox) == ["answer", 5, 6]
    assert outbox.frames_dropped == 5
    assert outbox.frames_sent == 2


async def test_an_idr_that_overflows_replaces_what_waits() -> None:
    outbox = _outbox(2)
    outbox.put_frame(0, _frame(True))
    outbox.put_frame(1, _frame())
    outbox.put_frame(2, _frame(True))
    assert not outbox.wants_idr
    assert await _drain(outbox) == [2]


async def test_close_lets_answers_through_and_nothing_after() -> None:
    outbox = _outbox()
    outbox.put_frame(0, _frame(True))
    outbox.put("goodbye")
    outbox.close()
    outbox.close()
    outbox.put("too late")
    outbox.put_frame(1, _frame(True))
    assert await _drain(outbox) == ["goodbye", None]


async def test_abandon_ends_a_writer_that_waits() -> None:
    outbox = _outbox()
    writer = asyncio.create_task(outbox.next())
    await asyncio.sleep(0)
    outbox.put("unsent")
    outbox.abandon()
    assert await writer is None
    outbox.put("too late")
    assert await outbox.next() is None


@pytest.mark.parametrize("wake", ["put", "put_frame", "close"])
async def test_writer_is_woken(wake: str) -> None:
    outbox = _outbox()
    writer = asyncio.create_task(outbox.next())
    await asyncio.sleep(0)
    {"put": lambda: outbox.put("x"), "put_frame": lambda: outbox.put_frame(0, _frame(True)), "close": outbox.close}[
        wake
    ]()
    text = await asyncio.wait_for(writer, 1)
    assert (text is None) == (wake == "close")
