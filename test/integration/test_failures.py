"""Hosts that die, hang or lag, engines that raise, clients that do not read: the stream goes on."""

from pathlib import Path

import pytest

from support.engines import tone
from support.in_process import Client, Service, gaps, started_service
from support.video import decode, greys


def _check_stream(client: Client, *, holes: bool = False) -> None:
    """Decodes without a complaint, and a decoder can begin at least once a second."""
    units, frames = client.units, client.frames
    assert len(decode(units)) == len(units)
    keys = [frame.data.frame_timestamp for frame in frames if frame.data.is_keyframe]
    assert keys[0] == 0 and max(gaps(keys)) <= 1000
    steps = gaps([frame.data.frame_timestamp for frame in frames])
    assert min(steps) == 40
    if not holes:
        assert max(steps) == 40
    assert [frame.data.sequence_number for frame in frames] == list(range(len(frames)))


def _audio(client: Client) -> list[int]:
    return [f.data.audio_timestamp for f in client.frames if f.data.audio_timestamp is not None]


@pytest.mark.parametrize("owing", [0, 1, 3])
async def test_host_dies_in_mid_speech_and_another_goes_on(cache_dir: Path, owing: int) -> None:
    async with started_service(cache_dir, hosts=2) as service:
        client = await service.session()
        await service.run(0.5)
        client.speak(tone(40, 4.0))
        await service.run(1.0)
        busy, spare = sorted(service.hosts, key=lambda host: -len(host.received))
        assert busy.received and not spare.received
        busy.hung = owing > 0
        await service.run(0.04 * owing)
        service.pool.kill(busy)
        await service.run(8.0)
        _check_stream(client)
        assert spare.received
        assert service.count("filled") == owing
        assert len(_audio(client)) >= 100 - owing
        spoken = [n for n, frame in enumerate(client.frames) if frame.data.audio_timestamp is not None]
        assert {grey for n, grey in enumerate(greys(client.units)) if n in spoken[:20] + spoken[-20:]} == {40}
        assert not client.errors and not client.connection.done()


async def test_lost_host_is_counted_once(cache_dir: Path) -> None:
    async with started_service(cache_dir, hosts=2) as service:
        client = await service.session()
        await service.run(0.5)
        client.speak(tone(40, 2.0))
        await service.run(1.0)
        service.pool.kill(max(service.hosts, key=lambda host: len(host.received)))
        await service.run(0.5)
        assert service.front.metrics.failovers.labels("lost")._value.get() == 1
        assert _speaking(service) == 1
        await service.run(4.0)
        assert _speaking(service) == 0


async def test_no_host_left_shows_idle_packets_until_one_is_back(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.5)
        client.speak(tone(40, 6.0))
        await service.run(1.5)
        service.pool.kill(service.hosts[0])
        await service.run(1.3)
        alone = client.frames[-25:]
        assert all(frame.data.audio_timestamp is None for frame in alone)
        assert {frame.data.state for frame in alone} == {"speaking"}
        service.pool.revive(service.hosts[0])
        await service.run(7.0)
        _check_stream(client)
        assert 5960 in _audio(client)


@pytest.mark.parametrize("moment", range(5))
async def test_host_dies_when_idle_returns(cache_dir: Path, moment: int) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.5)
        client.speak(tone(40, 0.4))
        await service.run(0.8 + moment * 0.28)
        service.pool.kill(service.hosts[0])
        await service.run(3.0)
        _check_stream(client)


async def test_hung_host_is_left_for_one_that_answers(cache_dir: Path) -> None:
    async with started_service(cache_dir, hosts=2) as service:
        client = await service.session()
        await service.run(0.5)
        client.speak(tone(40, 6.0))
        await service.run(1.0)
        busy = max(service.hosts, key=lambda host: len(host.received))
        busy.hung = True
        before = len(client.frames)
        await service.run(3.0)
        # One second may go by until the hang is noticed, no more.
        assert len(client.frames) - before >= 50
        await service.run(4.0)
        assert 5960 in _audio(client)
        _check_stream(client, holes=True)


async def test_late_frames_are_sent_when_they_come(cache_dir: Path) -> None:
    """A busy host answers 5 ms after each tick: every frame is still shown, the way back to idle included."""
    async with started_service(cache_dir) as service:
        host = service.hosts[0]
        host.lagging = True
        client = await service.session()
        await service.run(0.5)
        client.speak(tone(40, 1.0))
        for _ in range(100):
            await service.run(0.035)
            await service.run(0.015)
            host.flush()
            await service.run(0.03)
        _check_stream(client)
        assert _audio(client) == [40 * n for n in range(25)]


async def test_engine_that_raises_falls_to_static_and_climbs_back(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.5)
        client.speak(tone(40, 20.0))
        await service.run(1.0)
        engine = service.hosts[0].engine
        engine.all_broken = True
        await service.run(3.0)
        engine.all_broken = False
        await service.run(11.0)
        _check_stream(client)
        assert _audio(client)[-1] > 14_000
        shown = greys(client.units)
        assert shown[60] == pytest.approx(128, abs=3)
        assert shown[-1] == pytest.approx(40, abs=3)


async def test_one_broken_stream_does_not_pull_down_its_neighbour(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        good, bad = await service.session("good"), await service.session("bad")
        await service.run(0.5)
        for client in (good, bad):
            client.speak(tone(40, 5.0))
        await service.run(1.0)
        engine = service.hosts[0].engine
        engine.broken.append(engine.streams[1])
        await service.run(2.0)
        shown = sorted(greys(client.units)[-1] for client in (good, bad))
        assert shown == [pytest.approx(40, abs=3), pytest.approx(128, abs=3)]


async def test_slow_reader_loses_whole_runs_up_to_a_key_frame(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        slow, other = await service.session("slow"), await service.session("other")
        await service.run(0.5)
        for client in (slow, other):
            client.speak(tone(40, 8.0))
        await service.run(1.0)
        slow.stop_reading()
        slow.send("ACTION", {"action_index": 1})
        await service.run(2.0)
        slow.go_on_reading()
        await service.run(4.0)
        _check_stream(other)
        assert len(decode(slow.units)) == len(slow.frames)
        stamps = [frame.data.frame_timestamp for frame in slow.frames]
        holes = [n for n, step in enumerate(gaps(stamps)) if step != 40]
        assert len(holes) in (1, 2)
        assert all(slow.frames[n + 1].data.is_keyframe for n in holes)
        assert [frame.data.sequence_number for frame in slow.frames] == list(range(len(stamps)))
        assert len(slow.answers("ACTION_TRIGGERED")) == 1
        assert service.count("dropped") + service.count("skipped") > 0


async def test_slow_reader_can_still_be_told_goodbye(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.2)
        client.stop_reading()
        await service.run(2.0)
        client.send("CLOSE")
        await service.run(0.1)
        client.go_on_reading()
        await service.run(0.1)
        assert client.messages[-1].type == "CLOSE_ACK"
        assert client.connection.done()


def _speaking(service: Service) -> float:
    return float(service.front.metrics.sessions_speaking._value.get())


async def test_nothing_leaks_when_sessions_go_in_mid_speech(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        clients = [await service.session(f"user{n}") for n in range(6)]
        await service.run(0.5)
        for client in clients:
            client.speak(tone(40, 10.0))
        await service.run(1.0)
        assert _speaking(service) == 6
        for client in clients[:3]:
            client.disconnect()
        for client in clients[3:]:
            client.connection.cancel()
        await service.run(0.1)
        assert len(service.front.sessions) == 0
        assert _speaking(service) == 0
        assert not service.hosts[0].host.inboxes
        assert not service.hosts[0].engine_host._speakers
        assert not any(service.front.frame_clock._slots)
