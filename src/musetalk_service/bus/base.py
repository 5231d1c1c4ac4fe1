"""The two ends of the bus. The front's end never blocks; the host's end is synchronous.

Each link is one ordered stream both ways. Its end (``BusClosedError``) means that the other process
is gone; nothing else does.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from musetalk_service.bus.messages import DownMessage, UpMessage


class FrontLink(Protocol):
    """The front's end of a link to one host."""

    def send(self, message: UpMessage) -> None:
        """Queue a message; never blocks. Raises :class:`BusClosedError` when the host is gone."""
        ...

    def messages(self) -> AsyncIterator[DownMessage]:
        """What the host sends, until it is gone."""
        ...

    def close(self) -> None:
        """Give the link up; the host sees its end and stops. Twice is fine."""
        ...


class HostLink(Protocol):
    """The host's end."""

    def receive(self, *, wait: bool = True, others: Sequence[int] = ()) -> Sequence[UpMessage]:
        """All messages that have come, oldest first; with ``wait`` at least one, or one of ``others`` is readable.

        Raises :class:`BusClosedError` when the front is gone.
        """
        ...

    def send(self, messages: Sequence[DownMessage]) -> None:
        """Send in order. Raises :class:`BusClosedError` when the front is gone."""
        ...
