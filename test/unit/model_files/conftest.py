"""The hub's client library as these tests need it."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def library_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[float]]:
    """The seconds that huggingface_hub would have waited; it does not, and knows no login of this machine."""
    library: Any = pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        monkeypatch.setattr(constants, name, False)
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "DOWNLOAD_CHUNK_SIZE", "HF_HUB_DISABLE_TELEMETRY"):  # which ours sets
        monkeypatch.setattr(constants, name, getattr(constants, name))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "login" / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "login" / "stored_tokens"))
    waits: list[float] = []
    for module in (file_download, _http):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=waits.append))
    library.close_session()  # the next one reads proxies and certificates anew
    yield waits
    library.close_session()
