"""Rate limits: token buckets for each user and each address, in an injected time.

A bucket holds ``burst`` tokens and gains ``rate`` a second; what finds too few is refused and takes
none. In any span of t seconds at most ``rate * t + burst`` pass.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

from musetalk_service.errors import RateLimitError

AUDIO_MESSAGES_PER_S = 50
"""Of real-time audio in the smallest chunks that are usual: 640 bytes, 20 ms."""
AUDIO_BYTES_PER_S = 148_000
"""Of real-time audio at its biggest: 48 kHz in base64, and an envelope of 400 bytes around each chunk."""
_SLACK_S = 1.0
_SESSION_RETRY_S = 5.0
_ROUNDING = 1e-6  # tokens that binary fractions may lack
_IPV6_SITE_BITS = 64  # what one subscriber has at least (RFC 6177): any of its addresses is the same sender


@dataclass(frozen=True, slots=True)
class RateLimits:
    """All limits; 0 is no limit. ``audio_backlog_s``: audio that may come in one burst, at any rate."""

    user_messages_per_s: float = 0
    user_bytes_per_s: float = 0
    user_sessions: int = 0
    address_messages_per_s: float = 0
    address_bytes_per_s: float = 0
    address_sessions: int = 0
    address_handshakes_per_min: float = 0
    audio_backlog_s: float = 60.0
    max_message_bytes: int = 262_144
    max_buckets: int = 20_000
    """Senders remembered for each limit; beyond it those silent for longest are forgotten."""


class TokenBuckets:
    """One bucket for each key. ``rate``: tokens a second; 0 is no limit.

    A full bucket is as good as none, so that only senders of the last ``burst / rate`` seconds need
    one; at most ``max_buckets`` are kept.
    """

    def __init__(self, rate: float, burst: float, max_buckets: int) -> None:
        self._rate = rate
        self._burst = burst
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tokens and the time at which there were that many; longest unused first."""

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, key: str, cost: float, now: float) -> float:
        """Seconds until ``cost`` tokens are there; 0 when they are. Takes none.

        A cost above the burst waits for a full bucket, and leaves a debt.
        """
        if not self._rate:
            return 0.0
        lacking = min(cost, self._burst) - self._tokens(key, now)
        # The longer a clock has run, the coarser are its steps.
        unseen = max(_ROUNDING, 4.0 * math.ulp(now) * self._rate)
        return lacking / self._rate if lacking > unseen else 0.0

    def take(self, key: str, cost: float, now: float) -> None:
        """Take tokens that :meth:`wait_s` has found to be there."""
        if not self._rate:
            return
        self._buckets[key] = (self._tokens(key, now) - cost, now)
        self._buckets.move_to_end(key)
        self._forget(now)

    def _tokens(self, key: str, now: float) -> float:
        tokens, since = self._buckets.get(key, (self._burst, now))
        # A clock that steps back gives nothing, and takes nothing.
        return min(self._burst, tokens + max(0.0, now - since) * self._rate)

    def _forget(self, now: float) -> None:
        """Drop what is full again from the old end (two for each one made), and what is too much."""
        for _ in range(2):
            oldest = next(iter(self._buckets))
            if len(self._buckets) <= self._max_buckets and self._tokens(oldest, now) < self._burst:
                return
            if len(self._buckets) == 1:
                return
            del self._buckets[oldest]


class RateLimiter:
    """Asks and takes. A refusal is a :class:`RateLimitError` with ``retry_after_ms`` and ``limit``."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        burst_messages = AUDIO_MESSAGES_PER_S * limits.audio_backlog_s
        # A message as big as is allowed must be able to pass at some time.
        burst_bytes = max(AUDIO_BYTES_PER_S * limits.audio_backlog_s, limits.max_message_bytes)

        def buckets(rate: float, burst: float) -> TokenBuckets:
            return TokenBuckets(rate, burst + rate * _SLACK_S, limits.max_buckets)

        self._user_messages = buckets(limits.user_messages_per_s, burst_messages)
        self._user_bytes = buckets(limits.user_bytes_per_s, burst_bytes)
        self._address_messages = buckets(limits.address_messages_per_s, burst_messages)
        self._address_bytes = buckets(limits.address_bytes_per_s, burst_bytes)
        per_minute = limits.address_handshakes_per_min
        self._handshakes = TokenBuckets(per_minute / 60, max(1.0, per_minute), limits.max_buckets)
        self._user_sessions: Counter[str] = Counter()
        self._address_sessions: Counter[str] = Counter()

    def check_handshake(self, address: str | None, now: float) -> None:
        """One more handshake from an address (None: unknown, all unknown ones count as one)."""
        sender = _sender(address)
        wait = self._handshakes.wait_s(sender, 1, now)
        if wait > 0:
            raise _refusal("address_handshakes_per_min", wait)
        self._handshakes.take(sender, 1, now)

    def check_message(self, user_id: str, address: str | None, size: int, now: float) -> None:
        """One more message of ``size`` bytes. It counts against all limits, or, when refused, none."""
        sender = _sender(address)
        charges = (
            ("user_messages_per_s", self._user_messages, user_id, 1),
            ("user_bytes_per_s", self._user_bytes, user_id, size),
            ("address_messages_per_s", self._address_messages, sender, 1),
            ("address_bytes_per_s", self._address_bytes, sender, size),
        )
        wait, limit = max((buckets.wait_s(key, cost, now), name) for name, buckets, key, cost in charges)
        if wait > 0:
            raise _refusal(limit, wait)
        for _, buckets, key, cost in charges:
            buckets.take(key, cost, now)

    def open_session(self, user_id: str, address: str | None) -> Callable[[], None]:
        """Count a session; returns what gives it back (calling that twice is fine)."""
        sender = _sender(address)
        limits = self._limits
        if limits.user_sessions and self._user_sessions[user_id] >= limits.user_sessions:
            raise _refusal("user_sessions", _SESSION_RETRY_S)
        if limits.address_sessions and self._address_sessions[sender] >= limits.address_sessions:
            raise _refusal("address_sessions", _SESSION_RETRY_S)
        held = [(self._user_sessions, user_id), (self._address_sessions, sender)]
        for counter, key in held:
            counter[key] += 1

        def give_back() -> None:
            while held:
                counter, key = held.pop()
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]

        return give_back


def _refusal(limit: str, wait_s: float) -> RateLimitError:
    # Rounded up: who waits for that long finds the tokens there.
    return RateLimitError("too much at once", retry_after_ms=math.ceil(wait_s * 1000), limit=limit)


@lru_cache(maxsize=4096)
def _sender(address: str | None) -> str:
    """What counts as one sender: an IPv4 address, or a /64 of IPv6."""
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or ""
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed, _IPV6_SITE_BITS), strict=False))
