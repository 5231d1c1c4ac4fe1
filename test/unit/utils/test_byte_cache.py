"""What was not used for the longest time goes first; the newest always stays."""

import pytest

from musetalk_service.utils.byte_cache import ByteCache


@pytest.mark.parametrize("grow", [True, False])
def test_the_least_recently_used_goes(grow: bool) -> None:
    cache: ByteCache[str, bytes] = ByteCache(9, len, grow=grow)
    for name in "abc":
        cache.put(name, b"123")
    assert list(cache) == ["a", "b", "c"]
    assert cache.get("a") == b"123"
    cache.put("d", b"1234")
    assert list(cache) == ["a", "d"]
    assert cache.get("b") is None and "b" not in cache
    cache.put("d", b"12")  # in the place of the larger one
    cache.put("e", b"1234")
    assert list(cache) == ["a", "d", "e"]
    cache.drop("a")
    cache.put("f", b"123")
    assert list(cache) == ["d", "e", "f"]


def test_one_that_is_too_large_alone_stays_till_the_next() -> None:
    cache: ByteCache[str, bytes] = ByteCache(10, len)
    cache.put("small", b"1")
    cache.put("large", bytes(100))
    assert list(cache) == ["large"]
    cache.put("small", b"1")
    assert list(cache) == ["small"]


def test_values_that_grow_are_measured_anew() -> None:
    cache: ByteCache[str, list[int]] = ByteCache(10, len)
    first = [0]
    cache.put("first", first)
    first.extend(range(20))
    cache.put("second", [0])
    assert list(cache) == ["second"] and len(cache) == 1


def test_drop_twice_is_fine() -> None:
    cache: ByteCache[str, bytes] = ByteCache(10, len)
    cache.put("a", b"1")
    cache.drop("a")
    cache.drop("a")
    assert len(cache) == 0
