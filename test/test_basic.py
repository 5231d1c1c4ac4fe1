"""The service at its simplest: it is there, it says so, and it streams a face."""

import json
import urllib.request

from musetalk_service.client import MuseTalkClient


def test_health_says_that_the_service_is_ready(live_server: str) -> None:
    with urllib.request.urlopen(f"{live_server}/health") as response:
        health = json.load(response)
    assert health["status"] == "ok"
    assert health["model_loaded"] is True
    assert "builtin" in [engine["name"] for engine in health["engines"]]


def test_the_root_is_a_web_page(live_server: str) -> None:
    with urllib.request.urlopen(live_server) as response:
        page = response.read().decode()
    assert response.headers.get_content_type() == "text/html"
    assert "<title>" in page


async def test_a_session_streams_without_being_asked(live_server: str) -> None:
    async with MuseTalkClient.connect(live_server, "demo_user") as client:
        stamps = []
        async for frame in client.frames():
            stamps.append(frame.timestamp_ms)
            if len(stamps) == 10:
                break
    assert stamps == [40 * n for n in range(10)]
