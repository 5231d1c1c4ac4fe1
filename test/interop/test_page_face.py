"""The page's way to a face of one's own: drop, consent, progress, what was found, talk, delete."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from support.browser import assert_shows_a_face
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request, Route

ASSETS = resources.files("musetalk_service") / "assets" / "default_avatar"
PICTURE = {"name": "me.png", "mimeType": "image/png", "buffer": (ASSETS / "portrait.png").read_bytes()}

DROP = """(bytes) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], "me.png", { type: "image/png" }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


@pytest.fixture
def own_server(tmp_path: Path, cache_dir: Path, landmarker_model: Path) -> Iterator[str]:
    server = ServerProcess(tmp_path, cache_dir, avatars_dir=tmp_path / "avatars", face_landmarker_path=landmarker_model)
    yield server.url
    server.stop()


class Routes:
    """Answers the page's requests about avatars in the server's place."""

    def __init__(self, page: Page, *statuses: dict[str, Any]) -> None:
        self.statuses = list(statuses)
        self.requests: list[Request] = []
        for pattern in ("**/prepare_avatar/*", "**/processing_status/**", "**/avatars/*"):
            page.route(pattern, self._answer)

    def _answer(self, route: Route) -> None:
        request = route.request
        self.requests.append(request)
        if request.url.endswith("/events"):
            lines = "".join(f"data: {json.dumps(status)}\n\n" for status in self.statuses)
            route.fulfill(content_type="text/event-stream", body=lines)
        elif request.url.endswith("/portrait"):
            route.fulfill(content_type="application/json", body="null")
        elif request.method == "GET":
            route.fulfill(json=self.statuses[-1])
        else:
            route.fulfill(status=202 if request.method == "POST" else 200, json=self.statuses[0])


def _status(status: str, stage: str, percent: int, **reason: str) -> dict[str, Any]:
    return {"status": status, "stage": stage, "percent": percent, "reason": reason or None}


def _agree(page: Page) -> None:
    page.fill("#maker-by", "Ada Example")
    page.check("#maker-agreed")
    page.click("#maker-form .primary")


def _open(page: Page, server: str) -> None:
    page.goto(server)
    page.wait_for_function("musetalk.connected")
    page.set_input_files("#face-file", PICTURE)  # type: ignore[arg-type]
    page.wait_for_selector("#maker[open]")


def test_picture_becomes_a_face_that_talks_and_is_deleted(page: Page, own_server: str, tmp_path: Path) -> None:
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda answer: complaints.append(answer.url) if answer.status >= 400 else None)
    _open(page, own_server)
    _agree(page)
    page.wait_for_selector("#maker[data-at=done]")
    page.locator("#maker-mesh").screenshot(path=tmp_path / "found.png")
    assert_shows_a_face(tmp_path / "found.png")
    page.click("#maker-talk")
    page.wait_for_selector("[data-face=own][aria-pressed=true]")
    page.wait_for_function("musetalk.state === 'idle'")
    user = page.evaluate("musetalk.userId")
    sessions = page.request.get(f"{own_server}/sessions").json()["sessions"]
    assert [session["avatar"] for session in sessions if session["user_id"] == user] == [user]
    info = page.request.get(f"{own_server}/avatars/{user}").json()
    assert info["consent"]["by"] == "Ada Example"

    page.reload()  # the face is remembered
    page.wait_for_selector("#own-face:not([hidden])")
    assert page.evaluate("musetalk.userId") == user
    page.click("[data-face=default]")
    page.wait_for_selector("[data-face=default][aria-pressed=true]")
    assert page.evaluate("musetalk.userId") != user
    page.click("#face-delete")
    page.wait_for_selector("#own-face", state="hidden")
    assert page.request.get(f"{own_server}/avatars").json() == {"avatars": []}
    assert complaints == []


def test_chosen_part_becomes_the_face(page: Page, own_server: str) -> None:
    _open(page, own_server)
    page.check("#maker-choose")
    page.locator("#maker-zoom").fill("0.1")
    _agree(page)
    page.wait_for_selector("#maker[data-at=done]")
    assert page.is_hidden("#maker-square")
    page.click("[data-step=done] [data-adjust]")
    page.wait_for_selector("#maker-square")
    page.locator("#maker-zoom").fill("0.7")
    page.click("#maker-form .primary")
    page.wait_for_selector("#maker[data-at=failed]")
    assert page.inner_text("#maker-advice").startswith("Move or zoom the square")


def test_refusal_says_why_and_what_to_do(page: Page, live_server: str) -> None:
    reason = {"code": "no_face", "message": "there is no face in the picture", "advice": "Use a portrait."}
    Routes(page, _status("processing", "face", 30), _status("failed", "face", 30, **reason))
    _open(page, live_server)
    _agree(page)
    page.wait_for_selector("#maker[data-at=failed]")
    assert page.inner_text("#maker-error") == "There is no face in the picture."
    assert page.inner_text("#maker-advice") == "Use a portrait."
    with page.expect_file_chooser():
        page.click("[data-step=failed] [data-choose]")
    assert page.query_selector("#maker[open]") is None


def test_nothing_is_sent_without_consent(page: Page, live_server: str) -> None:
    routes = Routes(page, _status("processing", "face", 30))
    page.goto(live_server)
    page.wait_for_function("musetalk.connected")
    page.evaluate(DROP, np.frombuffer(PICTURE["buffer"], np.uint8).tolist())  # type: ignore[arg-type]
    page.wait_for_selector("#maker[open]")
    page.click("#maker-form .primary")
    page.fill("#maker-by", "Ada Example")
    page.click("#maker-form .primary")
    assert page.get_attribute("#maker", "data-at") == "ask"
    page.keyboard.press("Escape")
    page.wait_for_selector("#maker", state="hidden")
    assert routes.requests == []


def test_stop_ends_the_work_at_the_server(page: Page, live_server: str) -> None:
    routes = Routes(page, _status("processing", "mouth", 60))
    _open(page, live_server)
    _agree(page)
    page.wait_for_function("document.getElementById('maker-stage').textContent === 'Closing the mouth in each frame'")
    assert page.evaluate("document.getElementById('maker-bar').value") == 64
    with page.expect_request(lambda request: request.method == "DELETE"):
        page.click("[data-step=work] [data-close]")
    posted = next(request for request in routes.requests if request.method == "POST")
    assert "Ada Example" in (posted.post_data_buffer or b"").decode("latin-1")


def _crop_sent(routes: Routes) -> list[float]:
    """The square of the newest upload, as fractions."""
    body = [request.post_data_buffer or b"" for request in routes.requests if request.method == "POST"][-1]
    found = re.search(rb'name="crop"\r\n\r\n([0-9.,]+)\r\n', body)
    return [] if found is None else [float(part) for part in found[1].split(b",")]


def test_square_is_dragged_and_zoomed_before_it_is_sent(page: Page, live_server: str) -> None:
    routes = Routes(page, _status("processing", "mouth", 60))
    _open(page, live_server)
    page.check("#maker-choose")
    square = page.locator("#maker-square")
    before = square.bounding_box()
    view = page.locator(".maker-view").bounding_box()
    assert before is not None and view is not None
    page.mouse.move(before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
    page.mouse.wheel(0, -200)
    zoomed = square.bounding_box()
    assert zoomed is not None and 0.6 < zoomed["width"] / before["width"] < 0.9
    page.mouse.down()
    page.mouse.move(view["x"], view["y"] + view["height"] / 2)  # beyond the left edge
    page.mouse.up()
    square.press("ArrowDown")
    moved = square.bounding_box()
    assert moved is not None and abs(moved["x"] - view["x"]) < 1
    _agree(page)
    page.wait_for_selector("#maker[data-at=work]")
    page.wait_for_function("document.getElementById('maker-bar').value === 64")
    x, y, size = _crop_sent(routes)
    assert x == 0
    assert abs(y - (moved["y"] - view["y"]) / view["height"]) < 0.01
    assert abs(size - moved["width"] / view["width"]) < 0.01


def test_server_chooses_the_square_unless_asked(page: Page, live_server: str) -> None:
    reason = {"code": "several_faces", "message": "2 faces are found", "advice": "Cut the picture."}
    routes = Routes(page, _status("processing", "face", 30), _status("failed", "face", 30, **reason))
    _open(page, live_server)
    assert page.is_hidden("#maker-square") and page.is_hidden("#maker-zoom")
    _agree(page)
    page.wait_for_selector("#maker[data-at=failed]")
    assert _crop_sent(routes) == []
    page.click("[data-step=failed] [data-adjust]")
    page.wait_for_selector("#maker-square:focus")
    page.locator("#maker-zoom").press("End")  # the smallest
    assert page.input_value("#maker-by") == "Ada Example"
    page.click("#maker-form .primary")
    page.wait_for_selector("#maker[data-at=failed]")
    assert abs(_crop_sent(routes)[2] - 0.05) < 0.01
