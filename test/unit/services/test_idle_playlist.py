"""The walk through the idle clips: seamless, on a grid of key frames, and never the same for minutes."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musetalk_service.models.media import ClipPosition
from musetalk_service.services.idle_playlist import LISTENING_CLIP, IdlePlaylist

CLIPS = {f"idle_{n}": 100 + 25 * n for n in range(7)}


def _walk(playlist: IdlePlaylist, frames: int, start: int = 0) -> list[ClipPosition]:
    return [playlist.place(frame) for frame in range(start, start + frames)]


def _check(places: list[ClipPosition]) -> None:
    """Clips change at their ends only, and run on in between."""
    for before, place in itertools.pairwise(places):
        if place.index:
            assert place == ClipPosition(before.clip, before.index + 1)
        else:
            assert before.index == CLIPS[before.clip] - 1


def test_one_clip_alone_loops() -> None:
    places = _walk(IdlePlaylist(CLIPS, {"idle_0"}, 1), 1000)
    _check(places)
    assert {place.clip for place in places} == {"idle_0"}


@pytest.mark.parametrize("seed", range(5))
def test_clips_follow_one_another_without_a_seam(seed: int) -> None:
    places = _walk(IdlePlaylist(CLIPS, set(CLIPS), seed), 25 * 600)
    _check(places)
    played = [place.clip for place in places if place.index == 0]
    counted = Counter(played)
    assert played[0] == "idle_0"
    assert LISTENING_CLIP not in counted
    assert set(counted) == set(CLIPS) - {LISTENING_CLIP}
    assert all(before != after for before, after in itertools.pairwise(played))


def test_sessions_differ_and_one_session_repeats_itself() -> None:
    walks = [_walk(IdlePlaylist(CLIPS, set(CLIPS), seed), 5000) for seed in (1, 1, 2)]
    assert walks[0] == walks[1] != walks[2]


def test_clips_join_in_as_they_become_ready() -> None:
    ready = {"idle_0"}
    playlist = IdlePlaylist(CLIPS, ready, 1)
    assert {place.clip for place in _walk(playlist, 200)} == {"idle_0"}
    ready.add("idle_2")
    assert {place.clip for place in _walk(playlist, 1000, 200)} == {"idle_0", "idle_2"}


def test_pinned_clip_plays_till_it_is_let_go() -> None:
    playlist = IdlePlaylist(CLIPS, set(CLIPS), 1)
    _walk(playlist, 33)
    assert playlist.pin("idle_4", 33)
    assert not playlist.pin("idle_4", 34)
    assert {place.clip for place in _walk(playlist, 2000, 34)} == {"idle_4"}
    assert not playlist.pin(None, 2034)
    assert len({place.clip for place in _walk(playlist, 3000, 2034)}) > 1


steps = st.lists(
    st.one_of(
        st.integers(1, 300),
        st.just("enter"),
        st.sampled_from([None, *CLIPS]).map(lambda clip: ("pin", clip)),
    ),
    max_size=30,
)


@given(steps=steps, ready=st.sets(st.sampled_from(sorted(CLIPS))).map(lambda clips: clips | {"idle_0"}))
def test_key_frames_stay_on_a_grid(steps: list[object], ready: set[str]) -> None:
    """Wherever packets are entered there is a key frame, and never more than a second to the next."""
    playlist = IdlePlaylist(CLIPS, ready, 7)
    frame, keys = 0, [0]
    for step in steps:
        if isinstance(step, int):
            for _ in range(step):
                place = playlist.place(frame)
                assert place.clip in ready and 0 <= place.index < CLIPS[place.clip]
                assert playlist.is_idr(frame) == (place.index % 25 == 0)
                if place.index % 25 == 0:
                    keys.append(frame)
                frame += 1
        elif step == "enter":
            before = playlist.place(frame)
            playlist.enter(frame)
            after = playlist.place(frame)
            assert after.index % 25 == 0
            if after.clip == before.clip and after.index:
                assert 0 <= after.index - before.index < 25
        else:
            assert isinstance(step, tuple)
            before = playlist.place(frame)
            jumped = playlist.pin(step[1], frame)
            after = playlist.place(frame)
            assert jumped or after == before
            assert after.index % 25 == before.index % 25
    assert all(later - earlier <= 25 for earlier, later in itertools.pairwise(keys))
