"""Rate limits: what passes, what does not, and what is remembered."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from musetalk_service.config import default_settings
from musetalk_service.errors import RateLimitError
from musetalk_service.services.rate_limits import RateLimiter, RateLimits, TokenBuckets

DEFAULTS = default_settings()


def default_limits() -> RateLimits:
    return RateLimits(
        user_messages_per_s=DEFAULTS.rate_user_messages_per_s,
        user_bytes_per_s=DEFAULTS.rate_user_bytes_per_s,
        address_handshakes_per_min=DEFAULTS.rate_address_handshakes_per_min,
        audio_backlog_s=DEFAULTS.audio_backlog_s,
        max_message_bytes=DEFAULTS.max_message_bytes,
    )


@given(
    rate=st.floats(0.1, 1000),
    burst=st.floats(1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1)), max_size=200),
)
def test_never_more_than_rate_times_time_and_burst(
    rate: float, burst: float, steps: Sequence[tuple[float, float]]
) -> None:
    buckets = TokenBuckets(rate, burst, max_buckets=10)
    now, passed = 0.0, [(0.0, 0.0)]
    for pause, share in steps:
        now += pause
        cost = share * burst
        if buckets.wait_s("a", cost, now) == 0:
            buckets.take("a", cost, now)
            passed.append((now, cost))
    # in every span, not only from the start
    for first in range(len(passed)):
        total = 0.0
        for moment, cost in passed[first:]:
            total += cost
            assert total <= rate * (moment - passed[first][0]) + burst + 1e-3


@given(rate=st.floats(0.1, 1e6), cost=st.integers(1, 300_000), start=st.floats(0, 1e9))
@example(rate=25.0, cost=43_842, start=536_870_877.0)
def test_who_waits_as_told_passes(rate: float, cost: int, start: float) -> None:
    limits = RateLimits(user_bytes_per_s=rate, audio_backlog_s=1.0)
    limiter = RateLimiter(limits)
    now = start
    for _ in range(20):
        try:
            limiter.check_message("alice", None, cost, now)
        except RateLimitError as error:
            wait_ms = error.details["retry_after_ms"]
            assert isinstance(wait_ms, int)
            assert wait_ms > 0
            now += wait_ms / 1000
            limiter.check_message("alice", None, cost, now)


@pytest.mark.parametrize(
    ("sample_rate", "chunk_bytes"), [(16_000, 640), (16_000, 1280), (16_000, 2048), (48_000, 3840), (48_000, 96_000)]
)
def test_a_minute_of_speech_at_once_passes(sample_rate: int, chunk_bytes: int) -> None:
    """What a TTS sends, with all limits on and even when the rates are tiny."""
    size = math.ceil(chunk_bytes / 3) * 4 + 300
    count = math.ceil(DEFAULTS.audio_backlog_s * sample_rate * 2 / chunk_bytes)
    tiny = RateLimits(1, 1, 0, 1, 1, audio_backlog_s=DEFAULTS.audio_backlog_s)
    for limits in (default_limits(), tiny):
        limiter = RateLimiter(limits)
        for index in range(count):
            limiter.check_message("alice", "192.0.2.1", size, 100 + index / count)


def test_bursts_as_fast_as_they_are_played_pass_for_ever() -> None:
    limiter = RateLimiter(default_limits())
    for minute in range(10):
        for _ in range(3000):
            limiter.check_message("alice", "192.0.2.1", 1200, minute * 60.0)


def test_flood_is_refused_and_says_which_limit() -> None:
    limiter = RateLimiter(default_limits())
    with pytest.raises(RateLimitError) as caught:
        for _ in range(100_000):
            limiter.check_message("alice", "192.0.2.1", 100, 5.0)
    assert caught.value.details["limit"] == "user_messages_per_s"
    limiter.check_message("bob", "192.0.2.1", 100, 5.0)  # nobody else is hit
    with pytest.raises(RateLimitError) as big:
        for _ in range(1000):
            limiter.check_message("carol", "192.0.2.1", 200_000, 5.0)
    assert big.value.details["limit"] == "user_bytes_per_s"


def test_address_limits_count_all_users_behind_it() -> None:
    limiter = RateLimiter(RateLimits(address_messages_per_s=1, audio_backlog_s=0.1))  # 5 and 1 of slack
    for index in range(6):
        limiter.check_message(f"user-{index}", "192.0.2.1", 10, 1.0)
    with pytest.raises(RateLimitError) as caught:
        limiter.check_message("user-9", "192.0.2.1", 10, 1.0)
    assert caught.value.details == {"retry_after_ms": 1000, "limit": "address_messages_per_s"}
    limiter.check_message("user-9", "192.0.2.2", 10, 1.0)


def test_refused_message_takes_nothing_from_any_bucket() -> None:
    limits = RateLimits(user_messages_per_s=1, address_bytes_per_s=1, audio_backlog_s=0.02, max_message_bytes=1000)
    limiter = RateLimiter(limits)
    limiter.check_message("alice", "192.0.2.1", 2961, 1.0)  # all of the address's bytes
    for _ in range(50):
        with pytest.raises(RateLimitError) as caught:
            limiter.check_message("bob", "192.0.2.1", 100, 1.0)
        assert caught.value.details["limit"] == "address_bytes_per_s"
    limiter.check_message("bob", "192.0.2.2", 100, 1.0)


def test_biggest_message_passes_whatever_the_rate() -> None:
    limiter = RateLimiter(RateLimits(user_bytes_per_s=1, audio_backlog_s=0.1, max_message_bytes=262_144))
    limiter.check_message("alice", None, 262_144, 0.0)


def test_handshakes_of_an_address() -> None:
    limiter = RateLimiter(RateLimits(address_handshakes_per_min=6))
    for _ in range(6):
        limiter.check_handshake("192.0.2.1", 0.0)
    with pytest.raises(RateLimitError) as caught:
        limiter.check_handshake("192.0.2.1", 0.0)
    assert caught.value.details == {"retry_after_ms": 10_000, "limit": "address_handshakes_per_min"}
    limiter.check_handshake("192.0.2.2", 0.0)
    limiter.check_handshake("192.0.2.1", 10.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        (None, None, True),
        ("testclient", "another", False),
    ],
)
def test_what_is_one_address(one: str | None, other: str | None, same: bool) -> None:
    limiter = RateLimiter(RateLimits(address_handshakes_per_min=1))
    limiter.check_handshake(one, 0.0)
    if same:
        with pytest.raises(RateLimitError):
            limiter.check_handshake(other, 0.0)
    else:
        limiter.check_handshake(other, 0.0)


def test_sessions() -> None:
    limiter = RateLimiter(RateLimits(user_sessions=1, address_sessions=2))
    give_back = limiter.open_session("alice", "192.0.2.1")
    with pytest.raises(RateLimitError) as user:
        limiter.open_session("alice", "192.0.2.9")
    assert user.value.details["limit"] == "user_sessions"
    limiter.open_session("bob", "192.0.2.1")
    with pytest.raises(RateLimitError) as address:
        limiter.open_session("carol", "192.0.2.1")
    assert address.value.details["limit"] == "address_sessions"
    give_back()
    give_back()
    limiter.open_session("carol", "192.0.2.1")
    with pytest.raises(RateLimitError):
        limiter.open_session("alice", "192.0.2.1")  # the second giving back gave nothing


def test_zero_is_no_limit_and_remembers_nobody() -> None:
    buckets = TokenBuckets(0, 10, max_buckets=10)
    for index in range(100):
        assert buckets.wait_s(str(index), 1e9, 0.0) == 0
        buckets.take(str(index), 1e9, 0.0)
    assert len(buckets) == 0
    limiter = RateLimiter(RateLimits())
    for _ in range(10_000):
        limiter.check_message("alice", "192.0.2.1", 10**6, 0.0)
        limiter.check_handshake("192.0.2.1", 0.0)
        limiter.open_session("alice", "192.0.2.1")


def test_full_buckets_are_forgotten() -> None:
    buckets = TokenBuckets(rate=1, burst=10, max_buckets=1_000_000)
    for index in range(1000):
        buckets.take(str(index), 5, now=float(index))  # full again after 5 s
    assert len(buckets) < 10


def test_memory_is_bounded_in_a_flood_of_addresses() -> None:
    buckets = TokenBuckets(rate=1, burst=10, max_buckets=100)
    for index in range(5000):
        buckets.take(str(index), 5, now=1.0)
        assert len(buckets) <= 101
    assert buckets.wait_s("4999", 10, 1.0) == pytest.approx(5)  # the newest are those that stay


def test_clock_that_steps_back_gives_nothing() -> None:
    buckets = TokenBuckets(rate=1, burst=10, max_buckets=10)
    buckets.take("a", 10, now=100.0)
    assert buckets.wait_s("a", 1, now=50.0) == 1
    assert buckets.wait_s("a", 1, now=101.0) == 0
