"""The settings: what is refused, what stays secret, and where each comes from."""

from pathlib import Path

import pytest

from musetalk_service.cli import main
from musetalk_service.config import Settings, list_settings, load_settings, read_host_settings
from musetalk_service.errors import ConfigurationError

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the developer's shell or .env."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_short_secret_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_SECRET", "only-31-bytes-long-0123456789ab")
    with pytest.raises(ConfigurationError, match=r"AUTH_SECRET.*32 bytes") as caught:
        load_settings()
    assert "only-31" not in str(caught.value)


def test_secret_of_32_bytes_is_enough_and_never_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTH_SECRET", SECRET)
    settings = load_settings()
    assert settings.auth_secret is not None
    assert settings.auth_secret.get_secret_value() == SECRET
    assert main(["config"]) == 0
    for text in (repr(settings), str(settings), settings.model_dump_json(), capsys.readouterr().out):
        assert SECRET not in text


def test_hosts_get_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_SECRET", SECRET)
    text = load_settings(auth_jwks="https://keys.example/jwks.json").for_hosts()
    assert "auth" not in text
    assert "tls" not in text
    assert SECRET not in text


def test_host_settings_come_from_the_front_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    front = load_settings(workers=3, video_crf=30, cors_origins=["https://a.example"], auth_secret=SECRET)
    monkeypatch.setenv("AUTH_SECRET", "wrong by now")
    monkeypatch.setenv("VIDEO_CRF", "12")
    (tmp_path / ".env").write_text("WORKERS=never\n")
    host = read_host_settings(front.for_hosts())
    assert host.auth_secret is None
    assert host.model_dump(exclude={"auth_secret"}) == front.model_dump(exclude={"auth_secret"})


def test_picture_sizes_are_read_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [str(size) for size in load_settings().frame_sizes] == ["512x512", "384x384", "256x256"]
    monkeypatch.setenv("VIDEO_SIZES", "720x1280, 512x512,720x1280")
    assert load_settings().frame_sizes == [(720, 1280), (512, 512)]


@pytest.mark.parametrize("wrong", ["[]", "511x512", "4000x4000", "big"])
def test_wrong_picture_size_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("VIDEO_SIZES", wrong)
    with pytest.raises(ConfigurationError, match="VIDEO_SIZES"):
        load_settings()


def test_look_ahead_is_one_that_the_network_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILTIN_LOOK_AHEAD_MS", "40")
    assert load_settings().builtin_look_ahead_ms == 40
    for wrong in ("60", "far"):
        monkeypatch.setenv("BUILTIN_LOOK_AHEAD_MS", wrong)
        with pytest.raises(ConfigurationError, match=r"BUILTIN_LOOK_AHEAD_MS.* 0, 40 or 80"):
            load_settings()


@pytest.mark.parametrize("alone", ["tls_certfile", "tls_keyfile"])
def test_certificate_and_key_go_together(alone: str) -> None:
    with pytest.raises(ConfigurationError, match=r"TLS_KEYFILE.*both or none"):
        load_settings(**{alone: "some.pem"})


def test_origin_of_each_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text(
        "PORT=1\nWORKERS=3\nCORS_ORIGINS=https://a.example,https://b.example\nSPEECH_END_MS=\n"
    )
    monkeypatch.setenv("port", "9000")
    monkeypatch.setenv("LOG_LEVEL", "info")  # the default's value, but said
    monkeypatch.setenv("VIDEO_CRF", "")
    origins = {origin.name: (origin.value, origin.source) for origin in list_settings()}
    assert set(origins) == {name.upper() for name in Settings.model_fields}
    assert origins["PORT"] == ("9000", "environment")
    assert origins["WORKERS"] == ("3", ".env")
    assert origins["CORS_ORIGINS"] == ('["https://a.example", "https://b.example"]', ".env")
    assert origins["LOG_LEVEL"] == ("info", "environment")
    assert origins["VIDEO_CRF"] == ("23", "default")
    assert origins["SPEECH_END_MS"] == ("200", "default")
    assert origins["TLS_CERTFILE"] == ("", "default")
    assert main(["config"]) == 0
    assert "PORT=9000" in capsys.readouterr().out


def test_printed_settings_are_a_valid_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORKERS", "7")
    assert main(["config"]) == 0
    (tmp_path / ".env").write_text(capsys.readouterr().out)
    monkeypatch.delenv("WORKERS")
    assert load_settings().workers == 7


def test_wrong_setting_ends_config_with_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "x")
    assert main(["config"]) == 2
    assert "PORT" in capsys.readouterr().err


def test_the_limits_of_preparations_follow_the_settings() -> None:
    limits = Settings(
        upload_max_megapixels=2, upload_min_eye_pixels=60, avatar_video_clips=5, preparation_timeout_s=30
    ).preparation_limits()
    assert (limits.max_pixels, limits.min_eye_distance, limits.video_clips) == (2_000_000, 60.0, 5)
    assert limits.max_cpu_s == 60
