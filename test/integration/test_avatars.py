"""Avatars over HTTP: uploads, progress, what there is, and what is refused."""

import asyncio
import base64
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from pydantic import SecretStr

from musetalk_service.server import create_app
from support.avatars import publish
from support.in_process import Client, Service, started_service


class Rest:
    """A service, and a client of its REST routes."""

    def __init__(self, service: Service, client: httpx.AsyncClient, folder: Path) -> None:
        self.service, self.client, self.folder = service, client, folder

    async def upload(self, user_id: str = "alice", does: str = "fine", **form: str) -> httpx.Response:
        files = {"file": ("../../evil.png", does.encode())}
        return await self.client.post(f"/prepare_avatar/{user_id}", files=files, data=form)

    async def events(self, user_id: str) -> list[dict[str, Any]]:
        answer = await self.client.get(f"/processing_status/{user_id}/events")
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]


@asynccontextmanager
async def rest(tmp_path: Path, cache_dir: Path, **settings: Any) -> AsyncIterator[Rest]:
    chosen = {"avatars_dir": tmp_path / "avatars", **settings}
    async with started_service(cache_dir, **chosen) as service:
        await service.lend_packets()
        app = create_app(service.front.settings, service.front)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield Rest(service, client, tmp_path)
        uploads = service.front.settings.cache_dir / "uploads"
        await service.front.preparations.close()
        assert not uploads.is_dir() or not any(uploads.iterdir())


async def test_videos_for_actions_go_with_the_upload(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir) as api:
        files = {"file": b"name the actions", "action_1": b"waves", "action_2": b"nods"}
        parts = {name: (f"{name}.mp4", content) for name, content in files.items()}
        assert (await api.client.post("/prepare_avatar/alice", files=parts)).status_code == 202
        events = await api.events("alice")
        assert events[-1]["reason"]["message"] == "action_1=waves, action_2=nods"
        answer = await api.upload("alice", action_1="waves.mp4")
        assert answer.status_code == 400 and answer.json()["message"] == "action_1 must be a video file"
        parts["one_more"] = ("more.mp4", b"more")
        assert (await api.client.post("/prepare_avatar/alice", files=parts)).status_code == 400


@pytest.mark.parametrize("crop", ["0.1", "a,b,c", "0.1,0.2,3", "nan,0,1", "-0.1,0,1", "0,0,0", "0,0,0.5,1"])
async def test_a_crop_that_is_no_square_is_refused(tmp_path: Path, cache_dir: Path, crop: str) -> None:
    async with rest(tmp_path, cache_dir) as api:
        answer = await api.upload(crop=crop)
        assert answer.status_code == 400
        assert answer.json()["details"]["field"] == "crop" and "x,y,size" in answer.json()["details"]["allowed"]


async def test_a_crop_goes_to_the_preparation(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir) as api:
        assert (await api.upload(does="name the crop", crop="0.25,0.1,0.6")).status_code == 202
        assert (await api.events("alice"))[-1]["reason"]["message"] == "0.25 0.1 0.6"


async def test_upload_progress_and_a_session_on_ones_own_avatar(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir) as api:
        answer = await api.upload()
        assert answer.status_code == 202
        body = answer.json()
        assert (body["status"], body["user_id"], body["reason"]) == ("processing", "alice", None)
        assert body["status_url"] == "/processing_status/alice"
        events = await api.events("alice")
        assert events[-1]["status"] == "completed" and events[-1]["percent"] == 100
        assert (await api.client.get("/processing_status/alice")).json() == events[-1]
        client = await api.service.session("alice")
        listed = (await api.client.get("/sessions")).json()["sessions"]
        assert [session["avatar"] for session in listed] == ["alice"]
        await api.service.run(0.2)
        assert len(client.frames) >= 5


async def test_clients_that_upload_videos_are_served(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir) as api:
        files = {"file": ("clip.mp4", b"fine", "video/mp4")}
        answer = await api.client.post("/upload_video", files=files, data={"user_id": "bob"})
        assert answer.status_code == 202 and answer.json()["status"] == "processing"
        while (await api.client.get("/processing_status/bob")).json()["status"] == "processing":
            await asyncio.sleep(0)
        assert (await api.client.get("/processing_status/bob")).json()["status"] == "completed"
        answer = await api.client.post("/upload_video", files=files)
        assert answer.status_code == 202 and answer.json()["user_id"].startswith("user-")
        await api.events(answer.json()["user_id"])


async def test_face_that_was_found_is_shown(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir) as api:
        assert (await api.client.get("/processing_status/alice/portrait")).status_code == 404
        await api.upload(does="hang")
        found = await api.client.get("/processing_status/alice/portrait")
        assert found.status_code == 200 and found.json() is None
        await api.client.delete("/prepare_avatar/alice")
        await api.upload()
        await api.events("alice")
        face = (await api.client.get("/processing_status/alice/portrait")).json()
        kind, _, picture = face["portrait"].partition(",")
        assert kind == "data:image/jpeg;base64" and base64.b64decode(picture).startswith(b"\xff\xd8")
        assert (face["width"], face["height"], len(face["landmarks"])) == (512, 512, 478)


async def test_what_there_is(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir) as api:
        assert (await api.client.get("/avatars")).json() == {"avatars": []}
        publish(tmp_path / "avatars", "alice")
        (info,) = (await api.client.get("/avatars")).json()["avatars"]
        assert info == (await api.client.get("/avatars/alice")).json()
        assert info["kind"] == "photo" and info["clips"]["idle_0"] == 500 and "builtin" in info["engines"]
        picture = await api.client.get(info["thumbnail"])
        assert picture.headers["content-type"] == "image/jpeg" and picture.content.startswith(b"\xff\xd8")
        video = await api.client.get(info["preview"])
        path = tmp_path / "preview.mp4"
        path.write_bytes(video.content)
        with av.open(str(path)) as file:
            assert sum(1 for _ in file.decode(video=0)) == 500
        assert (await api.client.get("/processing_status/alice")).json()["status"] == "completed"


async def test_delete_ends_the_sessions_that_show_it(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir) as api:
        publish(tmp_path / "avatars", "alice")
        await api.service.front.avatars.obtain("alice")
        own, other = await api.service.session("alice"), await api.service.session("bob")
        assert (await api.client.delete("/avatars/alice")).status_code == 204
        await api.service.run(0.2)
        assert [ack.data.reason for ack in own.answers("CLOSE_ACK")] == ["error"]
        assert not other.answers("CLOSE_ACK")
        assert (await api.client.delete("/avatars/alice")).status_code == 404
        assert (await api.client.get("/processing_status/alice")).status_code == 404


async def test_sessions_keep_the_version_they_began_with(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir) as api:
        first = publish(tmp_path / "avatars", "alice")
        await api.service.front.avatars.obtain("alice")
        session = await api.service.session("alice")
        await api.upload()
        await api.events("alice")
        await api.service.run(1.0)
        (live,) = api.service.front.sessions
        assert live.avatar.ref == first and not session.errors
        assert (await api.service.front.avatars.obtain("alice")).ref != first


@pytest.mark.parametrize(("does", "code"), [("refuse", "no_face"), ("crash", "not_media"), ("damaged", "failed")])
async def test_failure_says_why_and_what_to_do(tmp_path: Path, cache_dir: Path, does: str, code: str) -> None:
    async with rest(tmp_path, cache_dir) as api:
        await api.upload(does=does)
        last = (await api.events("alice"))[-1]
        assert last["status"] == "failed" and last["reason"]["code"] == code
        assert last["reason"]["message"] and last["reason"]["advice"]
        assert (await api.client.get("/avatars")).json() == {"avatars": []}


async def test_cancel(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir) as api:
        assert (await api.client.delete("/prepare_avatar/alice")).status_code == 404
        await api.upload(does="hang")
        conflict = await api.upload()
        assert conflict.status_code == 409
        answer = await api.client.delete("/prepare_avatar/alice")
        assert answer.status_code == 200 and answer.json()["reason"]["code"] == "cancelled"
        assert (await api.upload()).status_code == 202
        assert (await api.events("alice"))[-1]["status"] == "completed"


async def test_queue_is_bounded(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir, preparation_queue=1) as api:
        assert [(await api.upload(name, "hang")).status_code for name in ("a", "b", "c")] == [202, 202, 503]
        refused = await api.upload("d")
        assert refused.headers["retry-after"] == "5"
        assert refused.json()["code"] == "RATE_LIMIT_EXCEEDED"


async def test_consent_is_kept_and_can_be_demanded(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir, require_consent=True) as api:
        refused = await api.upload()
        assert refused.status_code == 400 and refused.json()["details"]["field"] == "consent_by"
        assert (await api.upload(consent_by="x" * 300)).status_code == 400
        assert (await api.upload(consent_by="Alice", consent_note="for a call centre")).status_code == 202
        assert (await api.events("alice"))[-1]["status"] == "completed"
        consent = (await api.client.get("/avatars/alice")).json()["consent"]
        assert (consent["by"], consent["note"]) == ("Alice", "for a call centre")


@pytest.mark.parametrize("length", [True, False], ids=["declared", "chunked"])
async def test_uploads_are_bounded_in_bytes(tmp_path: Path, cache_dir: Path, length: bool) -> None:
    async with rest(tmp_path, cache_dir, upload_max_mb=1) as api:
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        sent = 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal sent
            yield head
            for _ in range(64):
                sent += 1
                yield bytes(1 << 20)
            yield b"\r\n--b--\r\n"

        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        if length:
            headers["Content-Length"] = str(65 << 20)
        answer = await api.client.post("/prepare_avatar/alice", content=body(), headers=headers)
        assert answer.status_code == 413
        assert answer.json()["details"]["max_bytes"] == 1 << 20


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"{}", {"Content-Type": "application/json"}),
        (b"nonsense", {"Content-Type": "multipart/form-data; boundary=b"}),
        (b"--b\r\n\r\n", {"Content-Type": "multipart/form-data"}),
        (b"user_id=x", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\ntext\r\n--b--\r\n",
         {"Content-Type": "multipart/form-data; boundary=b"}),
    ],
)  # fmt: skip
async def test_bodies_that_are_no_upload(tmp_path: Path, cache_dir: Path, body: bytes, headers: dict[str, str]) -> None:
    async with rest(tmp_path, cache_dir) as api:
        for path in ("/prepare_avatar/alice", "/upload_video"):
            answer = await api.client.post(path, content=body, headers=headers)
            assert answer.status_code == 400 and answer.json()["code"] == "INVALID_MESSAGE"


@pytest.mark.parametrize("user_id", ["a b", "x" * 65, "..", "a%2Fb", "ä", "default%00"])
async def test_ids_that_are_none(tmp_path: Path, cache_dir: Path, user_id: str) -> None:
    async with rest(tmp_path, cache_dir) as api:
        answer = await api.client.post(f"/prepare_avatar/{user_id}", files={"file": b"fine"})
        assert answer.status_code in (404, 405, 422)
        answer = await api.client.post("/upload_video", files={"file": b"fine"}, data={"user_id": f"{user_id}/"})
        assert answer.status_code == 400
        assert not (tmp_path / "avatars").exists()


async def test_video_path_names_files_of_one_folder_only(tmp_path: Path, cache_dir: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "clip").write_text("fine")
    (tmp_path / "secret").write_text("fine")
    (sources / "link").symlink_to(tmp_path / "secret")
    async with rest(tmp_path, cache_dir) as api:
        form = {"video_path": (None, "clip")}
        refused = await api.client.post("/prepare_avatar/alice", files=form)
        assert refused.status_code == 400 and "not allowed" in refused.json()["message"]
    async with rest(tmp_path, cache_dir, upload_source_dir=sources) as api:
        for name in ("../secret", str(tmp_path / "secret"), "link", "", ".", "none", "clip\0", "clip/../../secret"):
            refused = await api.client.post("/prepare_avatar/alice", files={"video_path": (None, name)})
            assert refused.status_code == 400, name
        for name in ("clip", str(sources / "clip")):
            answer = await api.client.post("/prepare_avatar/alice", files={"video_path": (None, name)})
            assert answer.status_code == 202
            assert (await api.events("alice"))[-1]["status"] == "completed"
        assert (sources / "clip").exists()


async def test_nobody_is_called_default(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir) as api:
        refused = await api.upload("default")
        assert refused.status_code == 400


async def _begin(service: Service, client: Client, does: bytes) -> None:
    client.send("INIT", {"face_image": base64.b64encode(does).decode()})
    while not (client.answers("INIT_SUCCESS") or client.errors):
        await asyncio.sleep(0)


async def test_face_of_a_session_is_gone_with_it(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir) as api:
        client = api.service.connect("alice")
        await _begin(api.service, client, b"fine")
        (live,) = api.service.front.sessions
        assert live.avatar.ref.startswith("~") and client.answers("INIT_SUCCESS")
        await api.service.run(0.4)
        assert len(client.frames) >= 9
        assert (await api.client.get("/avatars")).json() == {"avatars": []}
        folder = api.service.front.avatars.library.folder(live.avatar.ref)
        assert folder.is_dir()
        client.send("CLOSE")
        await api.service.run(0.4)
        del live
        gc.collect()
        assert not folder.exists()


async def test_face_that_cannot_be_used_is_refused_and_init_may_come_again(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir) as api:
        client = api.service.connect("alice")
        await _begin(api.service, client, b"refuse")
        (error,) = client.answers("ERROR")
        assert (error.data.code, error.data.details["reason"]) == ("INVALID_MESSAGE", "no_face")
        client.send("INIT", {"face_image": "no base64!"})
        await api.service.run(0.1)
        assert client.errors == ["INVALID_MESSAGE"] * 2
        client.send("INIT")
        await api.service.run(0.1)
        assert client.answers("INIT_SUCCESS")


async def test_init_is_not_late_while_its_face_is_made(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir) as api:
        client = api.service.connect("alice")
        client.send("INIT", {"face_image": base64.b64encode(b"hang").decode()})
        await api.service.run(30.0)
        assert not client.answers("CLOSE_ACK")


async def test_faces_without_consent_are_refused_where_that_is_demanded(tmp_path: Path, cache_dir: Path) -> None:
    async with rest(tmp_path, cache_dir, require_consent=True) as api:
        client = api.service.connect("alice")
        await _begin(api.service, client, b"fine")
        assert client.errors == ["INVALID_MESSAGE"]


async def test_owners_see_their_own_only(tmp_path: Path, cache_dir: Path) -> None:
    import jwt

    secret = "0123456789abcdef0123456789abcdef"
    for name in ("alice", "bob"):
        publish(tmp_path / "avatars", name)

    def bearer(user_id: str, scope: str) -> dict[str, str]:
        claims = {"sub": user_id, "aud": "musetalk-service", "exp": 1 << 33, "scope": scope}
        return {"Authorization": f"Bearer {jwt.encode(claims, secret)}"}

    async with rest(tmp_path, cache_dir, auth_secret=SecretStr(secret)) as api:
        assert (await api.client.get("/avatars")).status_code == 401
        mine = (await api.client.get("/avatars", headers=bearer("alice", "drive"))).json()["avatars"]
        assert [info["user_id"] for info in mine] == ["alice"]
        everyone = (await api.client.get("/avatars", headers=bearer("root", "admin"))).json()["avatars"]
        assert [info["user_id"] for info in everyone] == ["alice", "bob"]
        answer = await api.client.post("/upload_video", files={"file": b"fine"}, headers=bearer("carol", "drive"))
        assert answer.status_code == 202 and answer.json()["user_id"] == "carol"
