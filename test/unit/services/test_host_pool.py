"""What comes from a host is sorted to its session; the least loaded answering host is chosen."""

import asyncio

import pytest

from musetalk_service.bus import messages as bus
from musetalk_service.errors import BusClosedError
from musetalk_service.models.media import ClipPosition
from musetalk_service.services.host_pool import Host, HostPool, Inbox
from musetalk_service.services.metrics import Metrics
from support.in_process import InProcessHost, InProcessPool, grey_engines
from support.manual_clock import ManualClock


class Link:
    """A link that takes everything until it is closed."""

    def __init__(self) -> None:
        self.sent: list[bus.UpMessage] = []
        self.closed = False

    def send(self, message: bus.UpMessage) -> None:
        if self.closed:
            raise BusClosedError
        self.sent.append(message)

    def close(self) -> None:
        self.closed = True


def _host(link: Link | None = None) -> Host:
    return Host(link or Link(), bus.HostReady(1, [bus.EngineStatus("builtin", "1", "cpu", 99)]), 0.0)  # type: ignore[arg-type]


def _frame(session: str, epoch: int, frame: int = 0) -> bus.Frame:
    return bus.Frame(session, epoch, frame, True, b"x", "builtin", False, 1.0, 1.0)


def _render() -> bus.Render:
    return bus.Render("s", 1, 0, ClipPosition("idle_0", 0), True, None)


def test_frames_go_to_the_session_and_epoch_they_were_made_for() -> None:
    host, metrics = _host(), Metrics()
    host.inboxes = {"a": Inbox(1), "b": Inbox(2)}
    for message in (_frame("a", 1), _frame("b", 1), _frame("b", 2), _frame("c", 1), _frame("a", 1, 1)):
        host.receive(message, metrics)
    assert [frame.frame for frame in host.inboxes["a"].frames] == [0, 1]
    assert [frame.epoch for frame in host.inboxes["b"].frames] == [2]


def test_failure_is_noted_for_its_epoch_alone() -> None:
    host, metrics = _host(), Metrics()
    host.inboxes["a"] = Inbox(2)
    host.receive(bus.SessionFailed("a", 1, "old"), metrics)
    assert host.inboxes["a"].failure is None
    host.receive(bus.SessionFailed("a", 2, "no face"), metrics)
    assert host.inboxes["a"].failure == "no face"


def test_engine_status_is_what_the_host_said() -> None:
    status = _host().engine_status("builtin")
    assert status is not None and status.look_ahead_samples == 99


def test_broken_link_marks_the_host() -> None:
    link = Link()
    host = _host(link)
    link.close()
    host.send(_render(), 0.0)
    assert not host.alive


async def test_clip_goes_to_who_waits_and_a_lost_host_tells_them() -> None:
    host, metrics = _host(), Metrics()
    loop = asyncio.get_running_loop()
    first: asyncio.Future[list[bytes]] = loop.create_future()
    second: asyncio.Future[list[bytes]] = loop.create_future()
    host.clips = {("a", "idle_0", "512"): first, ("b", "idle_0", "512"): second}
    host.receive(bus.ClipPackets("a", "idle_0", "512", [b"1"]), metrics)
    host.receive(bus.ClipPackets("nobody", "idle_0", "512", [b"2"]), metrics)
    assert await first == [b"1"]
    host.lose()
    with pytest.raises(BusClosedError):
        await second


def test_least_loaded_living_host_is_assigned() -> None:
    clock = ManualClock()
    pool = HostPool(0, "{}", clock, Metrics())
    assert pool.assign() is None and not pool.available
    one, two, dead = _host(), _host(), _host()
    one.inboxes = {"a": Inbox(1), "b": Inbox(1)}
    two.inboxes = {"c": Inbox(1)}
    dead.alive = False
    for host in (one, two, dead):
        pool.add(host)
    assert pool.assign() is two and pool.available
    pool.remove(two)
    assert pool.assign() is one
    pool.remove(one)
    pool.remove(one)
    assert pool.assign() is None and not pool.available


def test_host_that_does_not_answer_comes_last() -> None:
    clock = ManualClock()
    pool = HostPool(0, "{}", clock, Metrics())
    hung, busy = _host(), _host()
    busy.inboxes = {"a": Inbox(1), "b": Inbox(1)}
    pool.add(hung)
    pool.add(busy)
    hung.send(_render(), clock.now() - 1.0)
    assert pool.assign() is busy
    hung.receive(_frame("nobody", 0), Metrics())
    assert pool.assign() is hung


async def test_first_waits_for_a_host() -> None:
    clock = ManualClock()
    metrics = Metrics()
    pool = InProcessPool([InProcessHost(grey_engines(), clock)], clock, metrics)
    waiting = asyncio.ensure_future(pool.first())
    await asyncio.sleep(0)
    assert not waiting.done()
    await pool.start()
    assert await waiting is pool.hosts[0]
    assert b'avatar_worker_slots{state="ready"} 1.0' in metrics.text()
    await pool.close()
    await pool.close()


def test_a_host_answers_for_the_stand_in_of_an_engine_that_it_could_not_load() -> None:
    found = bus.HostReady(1, [bus.EngineStatus("builtin", "1", "cpu", 99), bus.EngineStatus("static", "1", "cpu", 0)])
    host = Host(Link(), found, 0.0)  # type: ignore[arg-type]
    for name, look_ahead in (("static", 0), ("builtin", 99), ("musetalk", 99)):
        status = host.engine_status(name)
        assert status is not None and status.look_ahead_samples == look_ahead
