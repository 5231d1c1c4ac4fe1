"""The settings: the only reader of the environment.

Names and defaults of the first seven are those of the first releases of this service. Every field
is an environment variable of the same name in capitals; ``.env`` in the working directory is read
too, and the environment wins. ``.env.example`` lists them all (a test compares).
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from musetalk_service.errors import ConfigurationError
from musetalk_service.models.media import FrameSize, parse_size
from musetalk_service.models.preparation import PreparationLimits, PreparationModels

_MIN_SECRET_BYTES = 32
_FRONT_ONLY = {
    "auth_secret",
    "auth_jwks",
    "auth_audience",
    "auth_leeway_s",
    "auth_jwks_max_age_s",
    "hf_token",
    "tls_certfile",
    "tls_keyfile",
}


def _number(value: object) -> object:
    """Digits as a number: a choice among numbers does not take text."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _default_cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "musetalk-service"


class Settings(BaseSettings):
    """All settings, frozen. Relative paths are relative to the working directory."""

    model_config = SettingsConfigDict(env_file=".env", frozen=True, extra="ignore", env_ignore_empty=True)

    # Core: names and defaults are fixed by the documented interface.
    host: str = Field("0.0.0.0", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 lets the system choose one.")
    model_path: Path = Field(
        Path("../models"), description="Folder of model checkpoints (none is needed by the built-in engine)."
    )
    avatars_dir: Path = Field(
        Path("../results/v15/avatars"),
        description="Folder of prepared avatars; those of the published MuseTalk scripts are used, too.",
    )
    device: Literal["cuda", "cpu", "mps"] = Field(
        "cuda", description="Where GPU engines run; without a GPU the service goes on with the CPU."
    )
    use_float16: bool = Field(True, description="Half precision for GPU engines.")
    cors_origins: Annotated[list[str], NoDecode] = Field(
        ["*"],
        description='Web pages that may use API and WebSocket: a JSON list or comma separated origins; "*" for all.',
    )

    # Avatars
    face_landmarker_path: Path | None = Field(
        None,
        description="Model that finds faces; empty: face_landmarker.task in MODEL_PATH, else fetched on first need.",
    )
    person_segmenter_path: Path | None = Field(
        None,
        description="Model that tells people from backgrounds; empty: selfie_segmentation.tflite in MODEL_PATH, "
        "else fetched on first need. Without it the background bends a little where the head moves.",
    )
    avatar_layers: bool = Field(
        True, description="Whether faces made from now on are told from their background, which then stays still."
    )

    # Model files, for `musetalk-service models`
    hf_endpoint: str = Field("https://huggingface.co", description="Model hub, or a mirror of it.")
    hf_token: SecretStr | None = Field(
        None, description="Token of the hub, sent there and nowhere else; empty: that of `hf auth login`, if any."
    )
    download_timeout_s: float = Field(
        30.0, gt=0, le=600, description="A download's connection that is silent for so long is taken up again."
    )
    download_retries: int = Field(
        5, ge=0, le=100, description="Tries in a row that may bring nothing before a download is given up."
    )
    download_max_wait_s: float = Field(
        120.0, ge=0, le=3600, description="A server that asks for a longer pause than this is not waited for."
    )

    # TLS and proxies
    tls_certfile: Path | None = Field(
        None, description="Certificate chain in PEM form: with TLS_KEYFILE the service speaks https and wss."
    )
    tls_keyfile: Path | None = Field(
        None, validate_default=True, description="Private key of TLS_CERTFILE, in PEM form and without a password."
    )
    forwarded_allow_ips: str = Field(
        "127.0.0.1,::1",
        description='Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed: addresses, networks, or "*".',
    )

    # Authentication: clients need a token as soon as a secret or a key set is given
    auth_secret: SecretStr | None = Field(
        None, description="Shared key of HS256 tokens, at least 32 bytes; empty: no such tokens."
    )
    auth_jwks: str | None = Field(
        None, description="Key set of RS256 and ES256 tokens: an https address or a file; empty: no such tokens."
    )
    auth_audience: str = Field("musetalk-service", min_length=1, description="What a token's aud claim must name.")
    auth_leeway_s: float = Field(
        10.0, ge=0, le=300, description="How far the clocks of a token's issuer and this server may differ."
    )
    auth_jwks_max_age_s: float = Field(600.0, ge=60, description="A fetched key set is fetched again after this time.")

    # Engines and hosts
    engine: Literal["auto", "musetalk", "builtin", "static"] = Field(
        "auto",
        description="Engine of new sessions; where it is not to be had those after it stand in. musetalk needs its "
        "extra, its checkpoints in MODEL_PATH, and a GPU to keep up; auto is musetalk where all this is there.",
    )
    builtin_look_ahead_ms: Annotated[Literal[0, 40, 80], BeforeValidator(_number)] = Field(
        80,
        description="Speech that the built-in network hears ahead of a frame: less delay, or lips that follow better.",
    )
    workers: int = Field(0, ge=0, le=256, description="Engine host processes; 0 is one per spare core, at least one.")
    engine_retry_s: float = Field(10.0, gt=0, description="Seconds before an engine that failed is tried again.")
    host_late_limit_ms: int = Field(
        400, ge=80, description="A host whose frames are later than this loses the session to another."
    )
    default_avatar_enabled: bool = Field(
        True, description="Answer users without a prepared avatar with the default one; else MODEL_NOT_FOUND."
    )
    avatar_memory_mb: int = Field(
        256, ge=32, description="Prepared avatars are kept in memory up to this size, in the front and in each host."
    )
    preload_avatars: Annotated[list[str], NoDecode] = Field(
        [], description="Avatars to make ready at the start: a JSON list or comma separated user ids."
    )
    require_consent: bool = Field(
        False, description="Refuse uploads that do not say who agreed to the use of the face (consent_by)."
    )
    upload_max_mb: int = Field(200, ge=1, le=4096, description="Largest accepted upload, all its files together.")
    upload_max_seconds: float = Field(120.0, gt=0, le=3600, description="Longest accepted video.")
    upload_max_megapixels: float = Field(50.0, gt=0, le=200, description="Largest accepted photo or video frame.")
    upload_min_eye_pixels: float = Field(
        40.0, ge=10, le=1000, description="Least distance of the eyes, in pixels of the photo or video, of a face."
    )
    avatar_clip_seconds: float = Field(
        10.0, ge=2, le=60, description="Of a video, kept for each clip of an avatar; 10 MB of disk a second."
    )
    avatar_video_clips: int = Field(
        3, ge=1, le=6, description="Clips to idle on, and as many to speak on, that are cut from a video."
    )
    upload_source_dir: Path | None = Field(
        None, description="Folder of the files that video_path may name when an avatar is prepared; empty: none."
    )
    preparation_jobs: int = Field(1, ge=1, le=64, description="Avatars that are prepared at the same time.")
    preparation_queue: int = Field(8, ge=0, le=1000, description="More of them that may wait; others get HTTP 503.")
    preparation_timeout_s: float = Field(300.0, ge=5, description="A preparation that takes longer is ended.")
    preparation_memory_mb: int = Field(
        1024, ge=512, description="Memory that the process which reads an upload may allocate."
    )
    cache_dir: Path = Field(
        default_factory=_default_cache_dir, description="What is computed once (idle packets) is kept here."
    )

    # MuseTalk
    musetalk_version: Literal["1.5", "1.0"] = Field("1.5", description="Which of its published models.")
    musetalk_decoder: Literal["full", "lower", "taesd"] = Field(
        "full",
        description="lower: computes the lower face alone, for a third less; taesd: a small decoder for a twentieth. "
        "Both paint a little differently.",
    )
    musetalk_least_psnr_db: float = Field(
        22.0,
        ge=0,
        le=100,
        description="How alike lower's or taesd's picture of the default face must be to full's; below, that is used.",
    )
    musetalk_mask: Literal["landmarks", "parsing"] = Field(
        "landmarks",
        description="Where MuseTalk's patch is laid: by the avatar's landmarks, or by BiSeNet (models download "
        "face-parsing) as the published scripts do.",
    )
    musetalk_precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="Of its networks; auto is float16 on a GPU unless USE_FLOAT16 is off, else float32."
    )
    musetalk_hop_frames: int = Field(
        1, ge=1, le=5, description="Frames that share one pass over the audio: cheaper, each adds 40 ms of delay."
    )
    musetalk_window_s: float = Field(
        30.0, ge=1, le=30, description="Seconds of audio that it hears at once; shorter than 30 is cheaper and untried."
    )
    musetalk_silence_dbfs: float = Field(
        -60.0, ge=-96, le=-20, description="Where the audio is never louder than this the mouth rests, at no cost."
    )
    musetalk_max_batch: int = Field(
        16, ge=1, le=16, description="Most frames in one pass of its networks; 1, 2, 4, 8 and 16 are used up to this."
    )
    musetalk_latents_mb: int = Field(
        256, ge=1, description="Encoded faces are kept in the device's memory up to this size; a frame's takes 16 KB."
    )
    musetalk_gpus: int = Field(
        1, ge=1, le=64, description="GPUs that it uses; each has a process of its own, and there are as many hosts."
    )
    musetalk_sessions: int = Field(
        0, ge=0, description="Sessions that it serves at once; 0: as many as were measured at the start, at least one."
    )
    musetalk_overflow: Literal["builtin", "refuse"] = Field(
        "builtin", description="A session beyond them gets the built-in engine, or RATE_LIMIT_EXCEEDED."
    )
    musetalk_timeout_ms: int = Field(
        160,
        ge=40,
        description="Frames that its process has not painted after this time are drawn by the built-in engine; "
        "best less than HOST_LATE_LIMIT_MS.",
    )

    # Stream
    video_crf: int = Field(23, ge=10, le=40, description="x264 constant rate factor; lower is better and bigger.")
    video_max_kbps: int = Field(
        1500, ge=100, description="Peak bit rate of a 512x512 picture; other sizes get a share by their pixels."
    )
    video_sizes: Annotated[list[str], NoDecode] = Field(
        ["512x512", "384x384", "256x256"],
        description="Picture sizes that clients may ask for, the default one first: a JSON list or comma separated "
        "WIDTHxHEIGHT, for example 720x720, 1024x1024 or 720x1280. Each costs memory for its idle packets.",
    )
    audio_jitter_ms: int = Field(
        20, ge=0, le=1000, description="Audio held back against network jitter before lips start to move."
    )
    speech_end_ms: int = Field(200, ge=0, le=5000, description="Without audio for this long an utterance is over.")
    silence_hold_ms: int = Field(
        1500, ge=200, le=60_000, description="In audio that is silent for this long the face idles until a voice comes."
    )
    outbox_max_frames: int = Field(
        12,
        ge=2,
        le=250,
        description="Frames waiting for a slow client before frames are dropped up to the next IDR.",
    )

    # Limits
    max_sessions: int = Field(500, ge=1, description="WebSocket sessions at once; more get HTTP 503.")
    max_message_bytes: int = Field(262_144, ge=4096, description="Largest accepted WebSocket message.")
    audio_backlog_s: float = Field(
        60.0, gt=0, description="Queued audio per session; a chunk over it is refused whole."
    )
    audio_chunk_max_ms: int = Field(1000, ge=40, description="Longest accepted audio chunk.")
    init_timeout_s: float = Field(10.0, gt=0, description="INIT must come within this time.")
    idle_timeout_s: float = Field(
        900.0, ge=0, description="A session without any client message for this long is closed; 0 is never."
    )
    resume_grace_s: float = Field(
        15.0, ge=0, description="A session whose connection is lost waits this long for its client; 0 is off."
    )
    ping_interval_s: float = Field(20.0, gt=0, description="A WebSocket ping is sent so often.")
    ping_timeout_s: float = Field(20.0, gt=0, description="A client whose pong takes longer is taken for lost.")
    shutdown_timeout_s: float = Field(5.0, gt=0, description="Deadline of a graceful shutdown.")
    retry_after_s: int = Field(5, ge=1, description="Retry-After of an HTTP 503.")

    # Rate limits; 0 is none. A burst of AUDIO_BACKLOG_S of audio passes whatever the rates are
    rate_user_messages_per_s: float = Field(200.0, ge=0, description="Messages a second from one user.")
    rate_user_bytes_per_s: float = Field(1_000_000.0, ge=0, description="Bytes a second from one user.")
    rate_user_sessions: int = Field(0, ge=0, description="Sessions at once of one user.")
    rate_address_messages_per_s: float = Field(0.0, ge=0, description="Messages a second from one address.")
    rate_address_bytes_per_s: float = Field(0.0, ge=0, description="Bytes a second from one address.")
    rate_address_sessions: int = Field(0, ge=0, description="Sessions at once from one address.")
    rate_address_handshakes_per_min: float = Field(
        1200.0, ge=0, description="Connection attempts a minute from one address."
    )

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    log_format: Literal["text", "json"] = Field("text", description="One line of text or one JSON object per event.")

    @field_validator("cors_origins", "preload_avatars", "video_sizes", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            text = value.strip()
            return (
                json.loads(text) if text.startswith("[") else [part.strip() for part in text.split(",") if part.strip()]
            )
        return value

    @field_validator("video_sizes")
    @classmethod
    def _check_sizes(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("at least one picture size is needed")
        return list(dict.fromkeys(f"{parse_size(text)}" for text in value))

    @field_validator("hf_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("an http or https address, for example https://huggingface.co")
        return value.rstrip("/")

    @field_validator("hf_token")
    @classmethod
    def _check_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("a token has no spaces, line breaks or other than ASCII characters")
        return value

    @field_validator("auth_secret")
    @classmethod
    def _check_secret(cls, value: SecretStr | None) -> SecretStr | None:
        # RFC 7518, section 3.2: a key of the same size as the hash output or larger
        if value is not None and len(value.get_secret_value().encode()) < _MIN_SECRET_BYTES:
            raise ValueError(f"at least {_MIN_SECRET_BYTES} bytes, for example from: openssl rand -hex 32")
        return value

    @field_validator(
        "model_path",
        "avatars_dir",
        "upload_source_dir",
        "face_landmarker_path",
        "person_segmenter_path",
        "cache_dir",
        "tls_certfile",
        "tls_keyfile",
    )
    @classmethod
    def _resolve(cls, value: Path | None) -> Path | None:
        return value and value.expanduser().resolve()

    @field_validator("tls_keyfile")
    @classmethod
    def _check_tls(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if (value is None) != (info.data.get("tls_certfile") is None):
            raise ValueError("TLS_CERTFILE and TLS_KEYFILE go together: both or none")
        return value

    def for_hosts(self) -> str:
        """As JSON for the engine hosts, without what only the front needs to know."""
        return self.model_dump_json(exclude=_FRONT_ONLY)

    def preparation_limits(self) -> PreparationLimits:
        """What an upload may be, and what reading it may cost."""
        return PreparationLimits(
            max_pixels=round(self.upload_max_megapixels * 1e6),
            max_seconds=self.upload_max_seconds,
            min_eye_distance=self.upload_min_eye_pixels,
            clip_seconds=self.avatar_clip_seconds,
            video_clips=self.avatar_video_clips,
            max_memory_mb=self.preparation_memory_mb,
            max_cpu_s=max(1, round(2 * self.preparation_timeout_s)),
        )

    def preparation_models(self) -> PreparationModels:
        """Where the models are that avatars are made with."""
        return PreparationModels(
            landmarker=self.face_landmarker_path,
            segmenter=self.person_segmenter_path,
            layers=self.avatar_layers,
            folder=self.model_path,
            cache_dir=self.cache_dir,
        )

    @property
    def frame_sizes(self) -> list[FrameSize]:
        """VIDEO_SIZES as numbers."""
        return [parse_size(text) for text in self.video_sizes]

    @property
    def host_count(self) -> int:
        """Engine hosts to start: the setting, or one per core that the front does not need."""
        return self.workers or max(1, (os.cpu_count() or 1) - 1)


def default_settings() -> Settings:
    """The defaults, whatever the environment says: for documents that must not depend on it."""
    return Settings.model_construct()


class _HostSettings(Settings):
    """Comes from the front alone: a ``.env`` that was edited since must not end a host that starts again."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def read_host_settings(text: str) -> Settings:
    """What :meth:`Settings.for_hosts` has written; the environment is not looked at."""
    return _HostSettings.model_validate_json(text)


@dataclass(frozen=True, slots=True)
class SettingOrigin:
    """One setting as it is in force, and what set it."""

    name: str
    value: str
    """As it would be written in ``.env``; secrets are masked."""
    source: Literal["default", "environment", ".env"]


def list_settings() -> list[SettingOrigin]:
    """All settings in their order. Raises :class:`ConfigurationError`."""
    values = load_settings().model_dump(mode="json")  # which also masks the secrets
    environment, dotenv = EnvSettingsSource(Settings)(), DotEnvSettingsSource(Settings)()
    origins = []
    for field, value in values.items():
        text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        source: Literal["default", "environment", ".env"] = (
            "environment" if field in environment else ".env" if field in dotenv else "default"
        )
        origins.append(SettingOrigin(field.upper(), text, source))
    return origins


def load_settings(**overrides: Any) -> Settings:
    """Read the environment and ``.env``; keyword arguments win.

    Raises :class:`ConfigurationError` naming each wrong setting and what is allowed.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = (f"{'.'.join(str(part) for part in item['loc']).upper()}: {item['msg']}" for item in error.errors())
        raise ConfigurationError("; ".join(lines)) from None
    except ValueError as error:  # a .env or JSON value that does not parse at all
        raise ConfigurationError(str(error)) from None
