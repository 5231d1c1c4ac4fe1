"""`musetalk-service avatar`: the whole way in the shell, archives of strangers included."""

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from musetalk_service import avatar_tool
from musetalk_service.avatar_tool.create import CreationError, create_avatar
from musetalk_service.cli import main
from musetalk_service.engines.avatar_library import OFFICIAL_NAMES, AvatarLibrary
from musetalk_service.models.avatar_manifest import Manifest
from musetalk_service.models.preparation import PreparationLimits, PreparationModels
from support.avatars import publish
from support.official_avatars import write_official
from support.preparation_child import COMMAND

LIMITS = PreparationLimits(max_pixels=1_000_000, max_seconds=10, max_memory_mb=1024, max_cpu_s=20)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVATARS_DIR", str(tmp_path / "avatars"))
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "avatars"


def _create(root: Path, does: str, timeout_s: float = 60.0) -> list[float]:
    source = root.parent / "upload"
    source.write_text(does)
    seen: list[float] = []
    create_avatar(
        AvatarLibrary(root),
        source,
        "alice",
        consent=None,
        limits=LIMITS,
        timeout_s=timeout_s,
        models=PreparationModels(folder=root, cache_dir=root),
        report=lambda stage, percent: seen.append(percent),
        command=COMMAND,
    )
    return seen


def test_creation_publishes_and_reports(root: Path) -> None:
    assert _create(root, "fine") == [50]
    assert AvatarLibrary(root).ids() == ["alice"]
    assert os.listdir(root / ".staging") == []


@pytest.mark.parametrize("does", ["refuse", "crash", "garbage", "silence", "wrong", "exit"])
def test_creation_that_fails_says_why_and_leaves_nothing(root: Path, does: str) -> None:
    with pytest.raises(CreationError, match="no face. show one" if does == "refuse" else "cannot be read"):
        _create(root, does)
    assert AvatarLibrary(root).ids() == [] and os.listdir(root / ".staging") == []


def test_creation_ends_at_its_deadline(root: Path) -> None:
    with pytest.raises(CreationError, match="longer than"):
        _create(root, "hang", timeout_s=0.5)


def test_create_list_show_delete(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(avatar_tool, "create_avatar", partial(create_avatar, command=COMMAND))
    (tmp_path / "me.jpg").write_text("fine")
    command = ["avatar", "create", "me.jpg", "--id", "alice", "--consent-by", "Alice A."]
    assert main(command) == 0
    assert main(["avatar", "list"]) == 0
    assert "alice" in capsys.readouterr().out
    assert main(["avatar", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["consent"]["by"] == "Alice A."
    assert main(["avatar", "show", "alice"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (
        set(facts["files"]) >= {"portrait.png", "landmarks.json", "manifest.json"} and facts["clips"]["idle_0"] == 500
    )
    assert main(["avatar", "delete", "alice"]) == 0
    assert main(["avatar", "delete", "alice"]) == 1
    assert "no avatar 'alice'" in capsys.readouterr().err


def test_create_takes_videos_for_actions(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(avatar_tool, "create_avatar", partial(create_avatar, command=COMMAND))
    (tmp_path / "me.jpg").write_text("name the actions")
    (tmp_path / "wave.mp4").write_text("waves")
    command = ["avatar", "create", "me.jpg", "--id", "alice", "--consent-by", "A.", "--action-2", "wave.mp4"]
    assert main(command) == 1
    assert "action_2=waves" in capsys.readouterr().err
    assert main([*command, "--action-1", "none.mp4"]) == 1
    assert "none.mp4" in capsys.readouterr().err


def test_create_takes_the_square_that_becomes_the_portrait(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(avatar_tool, "create_avatar", partial(create_avatar, command=COMMAND))
    (tmp_path / "me.jpg").write_text("name the crop")
    command = ["avatar", "create", "me.jpg", "--id", "alice", "--consent-by", "A.", "--crop"]
    assert main([*command, "0.25,0,0.5"]) == 1
    assert "0.25 0.0 0.5" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "0.25,0"])
    assert "--crop" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "none.jpg", "--id", "alice"],
        ["create", "none.jpg", "--id", "../alice"],
        ["create", "none.jpg", "--id", "default"],
        ["show", "nobody"],
        ["show", "../x"],
        ["export", "nobody", "x.zip"],
        ["import", "none.zip"],
    ],
)
def test_what_cannot_be_done_is_one_line(root: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["avatar", *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("musetalk-service avatar: ") and said.count("\n") == 1


def test_consent_can_be_demanded(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REQUIRE_CONSENT", "true")
    assert main(["avatar", "create", "x.jpg", "--id", "alice"]) == 1
    assert "--consent-by" in capsys.readouterr().err


def test_export_and_import_carry_an_avatar_over(root: Path, tmp_path: Path) -> None:
    ref = publish(root, "alice")
    assert main(["avatar", "export", "alice", str(tmp_path / "a.zip")]) == 0
    assert main(["avatar", "import", str(tmp_path / "a.zip"), "--id", "bob"]) == 0
    library = AvatarLibrary(root)
    assert library.ids() == ["alice", "bob"]
    other = library.find("bob")
    assert other is not None and library.load(other).digest == library.load(ref).digest
    assert library.manifest(other).source == library.manifest(ref).source
    assert main(["avatar", "import", str(tmp_path / "a.zip")]) == 0
    assert library.find("alice") != ref


def _archive(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"manifest.json": b"{}"}, "manifest is wrong"),
        ({"portrait.png": b""}, "holds no avatar"),
        ({"manifest.json": b"", "../evil": b""}, "no file of an avatar"),
        ({"manifest.json": b"", "/etc/evil": b""}, "no file of an avatar"),
        ({"manifest.json": b"", "a/b": b""}, "no file of an avatar"),
        ({"manifest.json": b"", ".hidden": b""}, "no file of an avatar"),
        ({"manifest.json": b"", "bomb": bytes(20 << 20)}, "more than an avatar may have"),
        ({"manifest.json": b""} | {f"f{n}": b"" for n in range(101)}, "fewer than"),
        ({"../evil": b"", "../../latents.pt.x": b""}, "holds no avatar"),
        ({"latents.pt": bytes(20 << 20)}, "more than an avatar may have"),
        ({"../../evil/latents.pt": b"", "a/../coords.pkl": b""}, "no whole avatar"),
    ],
)
def test_archives_of_strangers(
    root: Path, tmp_path: Path, files: dict[str, bytes], why: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("UPLOAD_MAX_MB", "1")
    _archive(tmp_path / "x.zip", files)
    assert main(["avatar", "import", str(tmp_path / "x.zip")]) == 1
    assert why in capsys.readouterr().err
    assert AvatarLibrary(root).ids() == [] and os.listdir(root / ".staging") == []
    assert not (tmp_path / "evil").exists()


def test_truncated_archives_are_refused(root: Path, tmp_path: Path) -> None:
    publish(root, "alice")
    main(["avatar", "export", "alice", str(tmp_path / "a.zip")])
    whole = (tmp_path / "a.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
    for size in range(0, len(whole), max(1, len(whole) // 25)):
        (tmp_path / "b.zip").write_bytes(whole[:size])
        assert main(["avatar", "import", str(tmp_path / "b.zip"), "--id", "bob"]) == 1
    assert AvatarLibrary(root).ids() == ["alice"]


# --- avatars of the published scripts ---


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder of the published scripts."""
    return write_official(tmp_path / "results" / "anna", faceless=(1,))


def _imported(root: Path, avatar_id: str) -> Manifest:
    library = AvatarLibrary(root)
    ref = library.find(avatar_id)
    assert ref is not None
    avatar = library.load(ref)
    assert avatar.base_video is not None and avatar.base_video.painted is not None
    return library.manifest(ref)


def test_official_folders_are_imported(
    root: Path, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACE_LANDMARKER_PATH", str(root / "none.task"))
    assert main(["avatar", "import", str(made), "--consent-by", "Anna A."]) == 0
    assert "ready for musetalk only: FACE_LANDMARKER_PATH: there is no file" in capsys.readouterr().out
    manifest = _imported(root, "anna")
    assert manifest.consent is not None and manifest.consent.by == "Anna A."
    assert manifest.engines == ("musetalk",)
    assert os.listdir(root / ".staging") == []
    assert sorted(os.listdir(made)) == sorted((*OFFICIAL_NAMES, "avator_info.json"))
    assert main(["avatar", "export", "anna", str(made / "anna.zip")]) == 0
    assert main(["avatar", "import", str(made / "anna.zip"), "--id", "bea"]) == 0
    assert _imported(root, "bea").official == manifest.official
    assert main(["avatar", "list"]) == 0
    assert "musetalk " in capsys.readouterr().out


@pytest.mark.parametrize("form", ["zip", "gztar", "tar"])
@pytest.mark.parametrize("whole_folder", [True, False])
def test_official_archives_are_imported(root: Path, made: Path, tmp_path: Path, form: str, whole_folder: bool) -> None:
    base = {"root_dir": made.parent, "base_dir": "anna"} if whole_folder else {"root_dir": made}
    archive = shutil.make_archive(str(tmp_path / "packed"), form, **base)
    assert main(["avatar", "import", archive]) == 0
    assert _imported(root, "anna" if whole_folder else "packed").source.width == 96
    assert os.listdir(root / ".staging") == []


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda made: (made / "latents.pt").unlink(), "no whole avatar"),
        (lambda made: (made / "mask" / "00000000.png").write_bytes(b""), "00000000.png is no picture"),
        (lambda made: (made / "coords.pkl").write_bytes(b"cos\nmkdir\n(S'executed'\ntR."), "os.mkdir is not allowed"),
        (lambda made: (made / "latents.pt").write_bytes(pickle.dumps(os.system)), "cannot be read"),
        (lambda made: (made / "coords.pkl").rename(made / "x") and (made / "coords.pkl").symlink_to("x"), "no links"),
    ],
)
def test_official_folders_that_are_none(
    root: Path, made: Path, break_it: Callable[[Path], object], why: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("FACE_LANDMARKER_PATH", str(root / "none.task"))
    break_it(made)
    assert main(["avatar", "import", str(made)]) == 1
    assert why in capsys.readouterr().err
    assert AvatarLibrary(root).ids() == [] and not (root.parent / "executed").exists()
    assert not (root / ".staging").exists() or os.listdir(root / ".staging") == []


def test_links_in_archives_are_left_out(root: Path, made: Path, tmp_path: Path) -> None:
    (made / "coords.pkl").rename(tmp_path / "coords.pkl")
    (made / "coords.pkl").symlink_to(tmp_path / "coords.pkl")
    archive = shutil.make_archive(str(tmp_path / "packed"), "tar", root_dir=made.parent, base_dir="anna")
    assert main(["avatar", "import", archive]) == 1
    assert AvatarLibrary(root).ids() == []


def test_names_that_are_no_user_ids_have_to_be_said_otherwise(
    root: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = made.rename(made.parent / "Änne 2.0")
    assert main(["avatar", "import", str(odd)]) == 1
    assert "--id" in capsys.readouterr().err


def test_official_folders_that_lie_there_are_listed_and_deleted(
    root: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root.mkdir()
    made.rename(root / "anna")
    assert main(["avatar", "list"]) == 0
    assert "anna" in (said := capsys.readouterr().out) and "not used yet" in said
    assert main(["avatar", "import", str(root / "anna")]) == 0
    assert _imported(root, "anna").official is not None
    assert main(["avatar", "delete", "anna"]) == 0
    assert not (root / "anna").exists()
