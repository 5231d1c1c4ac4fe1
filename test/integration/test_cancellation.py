"""A fault at any await of a session's life leaves nothing behind, and no other stream notices."""

import asyncio
from collections.abc import Coroutine, Generator
from pathlib import Path
from types import coroutine
from typing import Any

import pytest

from support.engines import tone
from support.in_process import Client, Service, gaps, started_service
from support.manual_clock import settle

_GRACE_S = 1.0
_OF_A_CONNECTION = ("ConnectionHandler.serve", "ConnectionHandler._write", "ConnectionHandler._read", "_wait")


class Faults:
    """Raises ``error`` in the ``at``-th await of the tasks that serve connections, counted over all of them."""

    def __init__(self) -> None:
        self.at = -1
        self.error: type[BaseException] = asyncio.CancelledError
        self.awaits = 0
        self.armed = False

    def arm(self, at: int, error: type[BaseException]) -> None:
        """From the next connection on."""
        self.at, self.error, self.awaits, self.armed = at, error, 0, True

    def task(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
        """The task factory."""
        name = getattr(work, "__qualname__", "")
        watched = self.armed and name.endswith(_OF_A_CONNECTION)
        if not watched:
            return asyncio.Task(work, loop=loop, **options)
        task = asyncio.Task(self._interrupted(work), loop=loop, **options)
        task.add_done_callback(lambda _: work.close())  # one that is cancelled before it has begun
        return task

    async def _interrupted(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await self._step(work)

    @coroutine
    def _step(self, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Drives a coroutine by hand, so that a fault can take the place of what it waits for."""
        send: Any = lambda: work.send(None)  # noqa: E731
        while True:
            try:
                waits_for = send()
            except StopIteration as end:
                return end.value
            self.awaits += 1
            if self.awaits - 1 == self.at:
                fault = self.error("injected")
                send = lambda fault=fault: work.throw(fault)  # noqa: E731
                continue
            try:
                yield waits_for
            except BaseException as thrown:  # a real cancellation goes where it was sent
                send = lambda thrown=thrown: work.throw(thrown)  # noqa: E731
            else:
                send = lambda: work.send(None)  # noqa: E731


async def _life(service: Service) -> list[Client]:
    """Connect, INIT, speech, an action, a lost connection, resume, CLOSE: as far as the fault lets it come."""
    first = service.connect("victim")
    first.send("INIT")
    await settle()
    first.speak(tone(40, 0.12), type="speaking")
    first.send("END_OF_SPEECH")
    await service.run(0.2)
    first.send("ACTION", {"action_index": 1})
    await service.run(0.05)
    first.disconnect()
    await settle()
    second = service.connect("victim")
    begun = first.answers("INIT_SUCCESS")
    second.send("INIT", {"resume_token": begun[0].data.resume_token} if begun else {})
    await service.run(0.1)
    second.send("CLOSE")
    await service.run(0.05)
    return [first, second]


async def _end(service: Service, clients: list[Client]) -> None:
    for client in clients:
        client.disconnect(1000)
    await service.run(_GRACE_S + 1.5)
    outcomes = await asyncio.gather(*(client.connection for client in clients), return_exceptions=True)
    assert all(
        outcome is None or isinstance(outcome, asyncio.CancelledError) or "injected" in str(outcome)
        for outcome in outcomes
    ), outcomes


def _left(service: Service) -> dict[str, int]:
    """What a service holds for its sessions."""
    front = service.front
    limiter = front.connections._limiter
    return {
        "sessions": len(front.sessions),
        "active": int(front.metrics.sessions_active._value.get()),
        "speaking": int(front.metrics.sessions_speaking._value.get()),
        "ticked": sum(len(slot) for slot in front.frame_clock._slots),
        "waiting": len(front.frame_clock._waiting),
        "inboxes": sum(len(host.host.inboxes) for host in service.hosts),
        "in hosts": sum(len(host.engine_host._speakers) for host in service.hosts),
        "of users": limiter._user_sessions.total(),
        "of addresses": limiter._address_sessions.total(),
        "tasks": len(asyncio.all_tasks()),
    }


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.mark.parametrize("error", [asyncio.CancelledError, OSError])
async def test_fault_at_any_await(cache_dir: Path, faults: Faults, error: type[BaseException]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(faults.task)
    limits = {"rate_user_sessions": 10, "rate_address_sessions": 10, "rate_address_handshakes_per_min": 0.0}
    try:
        async with started_service(cache_dir, resume_grace_s=_GRACE_S, **limits) as service:
            watcher = await service.session("watcher")
            await service.run(0.1)
            await _end(service, await _life(service))  # what begins with the first life, and ends, is no leak
            before = _left(service)
            leaks: list[str] = []
            for at in range(1000):
                faults.arm(at, error)
                clients = await _life(service)
                faults.armed = False
                await _end(service, clients)
                after = _left(service)
                leaks += [f"await {at}: {name} {after[name]}" for name in after if after[name] != before[name]]
                before = after
                if faults.awaits <= at:  # the whole life has fewer
                    break
            assert 20 < at < 999
            assert not leaks
            assert not watcher.errors
            assert set(gaps([frame.data.frame_timestamp for frame in watcher.frames])) == {40}
    finally:
        loop.set_task_factory(None)
