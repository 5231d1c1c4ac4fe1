"""Which pages may open a socket."""

import pytest

from musetalk_service.errors import ForbiddenOriginError
from musetalk_service.handlers.connection_handler import check_origin


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "h", []),
        ("https://any.example", "h", ["*"]),
        ("https://app.example", "h", ["https://app.example"]),
        ("http://h:8000", "h:8000", []),
        ("https://h", "h", []),
    ],
)
def test_let_in(origin: str | None, host: str | None, allowed: list[str]) -> None:
    check_origin(origin, host, allowed)


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("https://evil.example", "h", ["https://app.example"]),
        ("https://app.example.evil.example", "h", ["https://app.example"]),
        ("http://app.example", "h", ["https://app.example"]),
        ("http://h:8001", "h:8000", []),
        ("null", "h", []),
        ("null", None, []),
        ("http://[bad", "h", []),
        ("file://", "h", []),
    ],
)
def test_refused(origin: str | None, host: str | None, allowed: list[str]) -> None:
    with pytest.raises(ForbiddenOriginError) as refusal:
        check_origin(origin, host, allowed)
    assert refusal.value.http_status == 403
