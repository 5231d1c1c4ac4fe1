"""How processes are ended, and that nobody waits for ever for it."""

import asyncio
import signal

import pytest

from musetalk_service.services import child_process
from musetalk_service.services.child_process import end_process


class Child:
    """Ends when it is told to, by one of the signals that it heeds."""

    def __init__(self, *heeds: signal.Signals) -> None:
        self.heeds, self.heard = heeds, []
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    def send_signal(self, ask: signal.Signals) -> None:
        self.heard.append(ask)
        if ask in self.heeds and not self.ended.done():
            self.ended.set_result(-ask)


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancellation_is_never_forgotten(turns: int) -> None:
    child = Child(signal.SIGKILL)
    ending = asyncio.create_task(end_process(child))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    child.ended.set_result(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    if ending.cancel():
        with pytest.raises(asyncio.CancelledError):
            await ending
    else:
        assert ending.done() and not ending.cancelled()


async def test_who_does_not_end_is_asked_and_then_made_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "_END_S", 0.0)
    polite, deaf = Child(signal.SIGTERM), Child(signal.SIGKILL)
    await end_process(polite)
    await end_process(deaf)
    assert polite.heard == [signal.SIGTERM]
    assert deaf.heard == [signal.SIGTERM, signal.SIGKILL]


async def test_who_is_cancelled_leaves_no_process_behind() -> None:
    child = Child()
    ending = asyncio.create_task(end_process(child))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert child.heard == [signal.SIGKILL]
