"""A cache that is bounded in bytes: what was not used for the longest time goes first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Keeps values while their sizes add up to a limit; the newest stays whatever its size. Not thread-safe."""

    def __init__(self, limit: int, size_of: Callable[[V], int], *, grow: bool = True) -> None:
        """Empty.

        Args:
            limit: bytes.
            size_of: how many bytes a value takes.
            grow: whether values may become larger; sizes are then asked for at each :meth:`put`, which takes time
                where there are many.
        """
        self._limit = limit
        self._size_of = size_of
        self._grow = grow
        self._total = 0
        """Of values that do not grow."""
        self._values: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """A value, which is now the newest; None where it is not there."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: K, value: V) -> None:
        """Keep a value; older ones go."""
        self.drop(key)
        self._values[key] = value
        self._total += self._size_of(value)
        if self._grow:
            self._total = sum(map(self._size_of, self._values.values()))
        while self._total > self._limit and len(self._values) > 1:
            _, oldest = self._values.popitem(last=False)
            self._total -= self._size_of(oldest)

    def drop(self, key: K) -> None:
        """Forget a value. Without it is fine."""
        if key in self._values:
            self._total -= self._size_of(self._values.pop(key))
