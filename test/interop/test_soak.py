"""A short form of `make soak`: trouble for a live server leaves nothing behind."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"
TOLERANCE = 0.15
"""A short run still fills caches that a long one has filled before it is measured."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture(scope="module")
def server(cache_dir: Path) -> Iterator[Any]:
    """Of its own: pings are short here, and nobody is refused for being fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        import soak
        from soak_state import SoakServer

        for name, value in (soak.SETTINGS | soak.SHORT_PINGS | {"workers": 1, "ping_timeout_s": 1}).items():
            patch.setenv(name.upper(), str(value))
        with SoakServer(cache_dir, {}) as server:
            server.wait_until_ready()
            yield server
            assert not server.errors


def test_fuzz(server: Any) -> None:
    from soak_fuzz import fuzz

    assert not fuzz(server, seed=7, count=1_000, tolerance=TOLERANCE).problems


def test_bad_ends(server: Any) -> None:
    from soak_abrupt import abrupt

    assert not abrupt(server, seed=7, count=20, tolerance=TOLERANCE).problems


def test_damaged_uploads(
    landmarker_model: Path, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    from soak_state import SoakServer
    from soak_uploads import UPLOADERS, uploads

    avatars = tmp_path / "avatars"
    settings = {"workers": 1, "avatars_dir": avatars, "preparation_jobs": UPLOADERS}
    for name, value in settings.items():
        monkeypatch.setenv(name.upper(), str(value))
    with SoakServer(cache_dir, {}) as server:
        server.wait_until_ready()
        finding = uploads(server, seed=7, count=30, folders=[avatars / ".staging", cache_dir / "uploads"])
        assert not finding.problems and not server.errors, finding.figures


def test_a_silent_peer_is_found(server: Any) -> None:
    import soak
    from soak_slow import silent

    assert not silent(server, soak.FOUND_WITHIN_S, [("acknowledges nothing", True)]).problems
