"""`musetalk-service models`: the whole way in the shell, against a hub and other servers that are not always kind."""

import builtins
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from musetalk_service import model_files
from musetalk_service.cli import main
from musetalk_service.model_files.lock import LOCK_NAME
from musetalk_service.models import checkpoint_catalogue
from musetalk_service.models.checkpoint_catalogue import Licence, Model, ModelFile
from musetalk_service.utils.download import Downloader
from support.file_server import FileServer, Trouble

UNET, CONFIG, EAR, BARE = os.urandom(200_000), b'{"a": 1}', os.urandom(50_000), os.urandom(3_000)
MIT = Licence("MIT", "https://licence.example/mit", "do as you like")
DOWNLOAD = ["models", "download", "--accept-licence"]


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _file(path: str, content: bytes, *, is_known: bool = True, **more: object) -> ModelFile:
    sha256 = _sum(content) if is_known else None
    return ModelFile(path, len(content), sha256, repository="lab/model", revision="c0ffee", name=path, **more)  # type: ignore[arg-type]


MODELS = (
    Model(
        "face",
        "draws",
        MIT,
        (_file("face/unet.pth", UNET, instead=("face/unet.safetensors",)), _file("face/config.json", CONFIG)),
        "https://page.example/face",
    ),
    Model(
        "ear",
        "hears",
        Licence("Apache-2.0", "https://licence.example/apache"),
        (_file("ear/model.bin", EAR, instead=("ear/tiny.pt",)), _file("ear/extra.json", CONFIG, is_needed=False)),
        "https://page.example/ear",
    ),
    Model("bare", "has no known sum", MIT, (_file("bare.bin", BARE, is_known=False),), "https://page.example/bare"),
    Model("own", "yours", MIT, (ModelFile("own/own.pth", 5, "0" * 64),), "https://page.example/own"),
)


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_catalogue, "MODELS", MODELS)
    monkeypatch.setattr(model_files, "MODELS", MODELS)
    for module in (checkpoint_catalogue, model_files):
        monkeypatch.setattr(module, "SETS", {"both": ("face", "ear")})
    monkeypatch.setattr(checkpoint_catalogue, "_NEEDED", {("musetalk", "1.5"): ("face", "ear")})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_server: FileServer) -> Path:
    """MODEL_PATH, which is not there yet."""
    monkeypatch.chdir(tmp_path)
    for name in ("ENGINE", "MUSETALK_VERSION", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODEL_PATH", str(tmp_path / "models"))
    monkeypatch.setenv("HF_ENDPOINT", file_server.url)
    monkeypatch.setenv("DOWNLOAD_RETRIES", "0")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False))
    return tmp_path / "models"


@pytest.fixture
def hub(root: Path, file_server: FileServer, other_file_server: FileServer, library_waits: list[float]) -> FileServer:
    """Answers as hubs do: large files lie elsewhere, and their redirect says size and checksum."""
    for path, content in (("face/unet.pth", UNET), ("ear/model.bin", EAR), ("bare.bin", BARE)):
        file_server.publish(_at(path), content, other_file_server)
    for path in ("face/config.json", "ear/extra.json"):
        file_server.publish(_at(path), CONFIG)
    return file_server


def _at(path: str) -> str:
    return f"/lab/model/resolve/c0ffee/{path}"


def _stored(path: str) -> str:
    return f"/lab/model/{path}?signed"


def _files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def _put(root: Path, path: str, content: bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


def test_a_set_comes_with_its_record(hub: FileServer, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DOWNLOAD, "both"]) == 0
    out = capsys.readouterr().out
    assert "MIT: https://licence.example/mit" in out and "do as you like" in out and "Apache-2.0" in out
    assert "200.0 kB" in out and "250.0 kB to fetch" in out
    files = ["ear/extra.json", "ear/model.bin", "face/config.json", "face/unet.pth"]
    assert _files(root) == [*files, LOCK_NAME]
    assert (root / "face/unet.pth").read_bytes() == UNET
    lock = json.loads((root / LOCK_NAME).read_text())
    assert sorted(lock["files"]) == files
    entry = lock["files"]["face/unet.pth"]
    assert (entry["sha256"], entry["size"], entry["checked"]) == (_sum(UNET), len(UNET), True)
    assert (entry["licence"], entry["url"]) == ("MIT", hub.url + _at("face/unet.pth"))


def test_what_is_there_is_not_fetched_again(hub: FileServer, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _put(root, "face/unet.pth", UNET)
    assert main([*DOWNLOAD, "face"]) == 0
    assert main(["models", "download", "face"]) == 0
    assert "face/unet.pth: there already\nface/config.json: there already\nface: ready" in capsys.readouterr().out
    assert [request.path for request in hub.sent("GET")] == [_at("face/config.json")]


def test_the_token_is_for_the_hub_alone(
    hub: FileServer, root: Path, other_file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert main([*DOWNLOAD, "face"]) == 0
    assert {request.headers.get("authorization") for request in hub.requests} == {"Bearer hf_secret"}
    assert {request.headers.get("authorization") for request in other_file_server.requests} == {None}


def test_without_consent_nothing_comes(hub: FileServer, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "download", "face"]) == 1
    assert "the licences are not accepted (--accept-licence" in capsys.readouterr().err
    assert hub.sent("GET") == [] and not root.exists()


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("Yes ", 0), ("", 1), ("n", 1), (None, 1)])
def test_a_person_is_asked(
    hub: FileServer, root: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None, status: int
) -> None:
    def ask(_: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(builtins, "input", ask)
    assert main(["models", "download", "face"]) == status
    assert root.exists() is (status == 0)


def test_a_licence_is_accepted_once(hub: FileServer, root: Path) -> None:
    assert main([*DOWNLOAD, "face"]) == 0
    (root / "face/unet.pth").unlink()
    assert main(["models", "download", "face"]) == 0
    assert main(["models", "download", "ear"]) == 1


def test_what_broke_off_goes_on(
    hub: FileServer, root: Path, other_file_server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    other_file_server.upset(_stored("face/unet.pth"), Trouble(cut_after=150_000), *[Trouble(status=500)] * 2)
    assert main([*DOWNLOAD, "face"]) == 1
    err = capsys.readouterr().err
    assert "received 150000 bytes, expected 200000" in err and "again in 1 s" in err
    assert "answers 500" in err and "The same command goes on from here" in err
    assert not (root / "face/unet.pth").exists()
    assert main([*DOWNLOAD, "face"]) == 1  # the server has trouble of its own
    assert main([*DOWNLOAD, "face"]) == 0
    assert "131.1 kB of it are there" in capsys.readouterr().out
    assert other_file_server.sent("GET")[-1].headers["range"] == "bytes=131072-"
    assert (root / "face/unet.pth").read_bytes() == UNET


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "Set HF_TOKEN"), (403, "Accept the model's terms"), (404, "put there yourself")]
)
def test_a_refusal_says_what_to_put_where(
    hub: FileServer, root: Path, capsys: pytest.CaptureFixture[str], status: int, advice: str
) -> None:
    hub.upset(_at("face/config.json"), Trouble(status=status), method="HEAD")
    assert main([*DOWNLOAD, "face"]) == 1
    err = capsys.readouterr().err
    assert f"answers {status}" in err and advice in err
    assert f"{root}/face/config.json  from  {hub.url}{_at('face/config.json')}" in err
    assert "Traceback" not in err and "unet" not in err


def test_terms_that_are_not_accepted_are_told(hub: FileServer, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model lab/model is restricted."}
    hub.upset(_at("face/unet.pth"), Trouble(status=401, headers=headers), method="HEAD")
    assert main([*DOWNLOAD, "face"]) == 1
    err = capsys.readouterr().err
    assert "answers 401: Access to model lab/model is restricted." in err
    assert "Accept the model's terms" in err and "set HF_TOKEN" in err


def test_without_the_hubs_library_it_says_what_to_install_and_what_to_put_where(
    root: Path, file_server: FileServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main([*DOWNLOAD, "face"]) == 1
    err = capsys.readouterr().err
    assert "pip install 'musetalk-service[musetalk]'" in err
    assert f"{root}/face/unet.pth  from  {file_server.url}{_at('face/unet.pth')}" in err
    assert file_server.requests == [] and not root.exists()


def test_what_lies_elsewhere_needs_no_library_and_gets_no_token(
    root: Path, file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ModelFile("tiny.pt", len(EAR), _sum(EAR), url=file_server.add("/tiny.pt", EAR))
    tiny = Model("tiny", "hears less", MIT, (file,), "https://page.example/tiny")
    monkeypatch.setattr(checkpoint_catalogue, "MODELS", (*MODELS, tiny))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert main([*DOWNLOAD, "tiny"]) == 0
    assert (root / "tiny.pt").read_bytes() == EAR
    assert {request.headers.get("authorization") for request in file_server.requests} == {None}


def test_without_a_network_it_says_what_to_put_where(
    root: Path, library_waits: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert main([*DOWNLOAD, "both"]) == 1
    err = capsys.readouterr().err
    assert "no connection to 127.0.0.1:9 (Connection refused)" in err
    assert err.count("  from  http://127.0.0.1:9/lab/model/resolve/c0ffee/") == 4
    assert not root.exists()


def test_a_disk_that_is_too_small_is_told_before(
    hub: FileServer, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    assert main([*DOWNLOAD, "face"]) == 1
    assert "200.0 kB are needed, 100.0 kB are free" in capsys.readouterr().err
    assert hub.sent("GET") == []


def test_a_file_that_was_put_there_is_replaced_by_force_only(
    hub: FileServer, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _put(root, "face/unet.pth", b"mine")
    assert main([*DOWNLOAD, "face"]) == 1
    assert "is another file (4 bytes, expected 200000); --force replaces it" in capsys.readouterr().err
    assert (root / "face/unet.pth").read_bytes() == b"mine"
    assert main([*DOWNLOAD, "--force", "face"]) == 0
    assert (root / "face/unet.pth").read_bytes() == UNET


def test_a_file_that_does_as_well_is_enough(hub: FileServer, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _put(root, "ear/tiny.pt", b"small")
    assert main([*DOWNLOAD, "ear"]) == 0
    assert "ear/model.bin: not needed, ear/tiny.pt is there" in capsys.readouterr().out
    assert hub.requests == []


def test_models_of_ones_own_are_asked_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DOWNLOAD, "own"]) == 1
    err = capsys.readouterr().err
    assert "own has no official link: see https://page.example/own" in err and f"{root}/own/own.pth" in err


def test_damage_is_not_put_in_place(
    hub: FileServer, root: Path, other_file_server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    other_file_server.upset(_stored("face/unet.pth"), *[Trouble(damage=True)] * 2)
    assert main([*DOWNLOAD, "face"]) == 1
    assert f"expected {_sum(UNET)}" in capsys.readouterr().err
    assert not (root / "face/unet.pth").exists()


def test_a_sum_that_only_the_hub_knows_is_held_against_it(
    hub: FileServer, root: Path, other_file_server: FileServer
) -> None:
    other_file_server.add(_stored("bare.bin"), os.urandom(len(BARE)))
    assert main([*DOWNLOAD, "bare"]) == 1
    other_file_server.add(_stored("bare.bin"), BARE)
    assert main([*DOWNLOAD, "bare"]) == 0
    assert json.loads((root / LOCK_NAME).read_text())["files"]["bare.bin"]["checked"] is True


def test_a_sum_that_nobody_knows_is_recorded(hub: FileServer, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.publish(_at("bare.bin"), BARE)
    assert main([*DOWNLOAD, "bare"]) == 0
    assert json.loads((root / LOCK_NAME).read_text())["files"]["bare.bin"]["checked"] is False
    assert main(["models", "verify", "bare"]) == 0
    _put(root, "bare.bin", bytes(len(BARE)))
    assert main(["models", "verify", "bare"]) == 1
    assert f"expected {_sum(BARE)}" in capsys.readouterr().out


def test_verify_tells_each_file(hub: FileServer, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _put(root, "face/unet.pth", bytes(len(UNET)))
    _put(root, "face/config.json", CONFIG)
    _put(root, "ear/tiny.pt", b"small")
    assert main(["models", "verify", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert {file["path"]: file["state"] for file in report["files"]} == {
        "face/unet.pth": "wrong",
        "face/config.json": "ok",
        "ear/tiny.pt": "unknown",
        "ear/extra.json": "missing",
    }
    assert report["files"][0]["expected_sha256"] == _sum(UNET)
    assert main(["models", "verify", "ear"]) == 0  # what is missing is not needed
    assert "nothing to compare it with" in capsys.readouterr().out
    assert main(["models", "verify", "bare"]) == 1


def test_verify_without_names_knows_what_the_engine_needs(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "verify"]) == 0
    assert "ENGINE=auto needs none" in capsys.readouterr().out
    monkeypatch.setenv("ENGINE", "musetalk")
    assert main(["models", "verify"]) == 1
    assert "missing  face/unet.pth" in capsys.readouterr().out


def test_list_tells_states(hub: FileServer, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _put(root, "face/unet.pth", UNET)
    _put(root, "ear/tiny.pt", b"small")
    _put(root, "bare.bin", BARE)
    assert main(["models", "list", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    states = {name: entry["state"] for name, entry in listed.items()}
    assert states == {"face": "incomplete", "ear": "ready", "bare": "ready", "own": "supply it"}
    assert listed["face"]["files"][0]["url"] == hub.url + _at("face/unet.pth")
    _put(root, "face/unet.pth", b"short")
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert "wrong       draws" in out and "all of face, ear" in out and str(root) in out
    assert hub.requests == []


def test_path_tells_where(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "path"]) == 0
    assert main(["models", "path", "ear"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(root), f"{root}/ear/model.bin", f"{root}/ear/extra.json"]


@pytest.mark.parametrize("action", ["download", "verify", "path"])
def test_an_unknown_name_is_answered_with_what_there_is(
    root: Path, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    assert main(["models", action, "nose"]) == 1
    assert "no model 'nose'; there are both, face, ear, bare, own" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2}', '{"files": {"a": {}}}'])
@pytest.mark.parametrize("action", [["list"], ["verify"], ["download", "face"]])
def test_a_damaged_record_is_named(
    hub: FileServer, root: Path, capsys: pytest.CaptureFixture[str], content: str, action: list[str]
) -> None:
    _put(root, LOCK_NAME, content.encode())
    assert main(["models", *action]) == 1
    assert f"{LOCK_NAME} is damaged" in capsys.readouterr().err


def test_control_c_says_how_it_goes_on(
    hub: FileServer, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Downloader, "fetch", stop)
    assert main([*DOWNLOAD, "face"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"), [("HF_ENDPOINT", "ftp://x"), ("HF_ENDPOINT", "hub"), ("HF_TOKEN", "a\nb"), ("HF_TOKEN", "ä")]
)
def test_wrong_settings_are_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert main(["models", "list"]) == 2
    assert f"wrong setting: {name}" in capsys.readouterr().err
