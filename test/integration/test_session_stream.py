"""A whole session on the manual clock: what a client sees from INIT to CLOSE_ACK."""

from pathlib import Path

import numpy as np
from support.engines import tone
from support.in_process import gaps, started_service
from support.video import decode, greys


async def test_frames_come_one_a_tick_without_holes(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(10.0)
        stamps = [frame.data.frame_timestamp for frame in client.frames]
        assert stamps == [40 * n for n in range(250)]
        assert [frame.data.sequence_number for frame in client.frames] == list(range(250))
        arrivals = [at for at, text in client.texts if '"VIDEO_FRAME"' in text]
        assert np.allclose(gaps(arrivals), 0.04)
        assert [n for n, frame in enumerate(client.frames) if frame.data.is_keyframe] == list(range(0, 250, 25))
        assert len(decode(client.units)) == 250


async def test_a_burst_plays_at_normal_speed(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.5)
        client.speak(np.concatenate([tone(40, 3.0), tone(200, 3.0)]))
        await service.run(9.0)
        spoken = [frame for frame in client.frames if frame.data.audio_timestamp is not None]
        assert [frame.data.audio_timestamp for frame in spoken] == [40 * n for n in range(150)]
        assert set(gaps([frame.data.frame_timestamp for frame in spoken])) == {40}
        shown = dict(zip([f.data.audio_timestamp for f in client.frames], greys(client.units), strict=True))
        assert {round(shown[40 * n] / 8) * 8 for n in range(70)} == {40}
        assert {round(shown[40 * n] / 8) * 8 for n in range(80, 150)} == {200}
        assert not client.errors
