"""Who speaks in a film, drawn by what, and in which form: chosen as for a session, but nothing stands in unasked."""

from collections.abc import Mapping
from dataclasses import dataclass

from musetalk_service.config import Settings
from musetalk_service.engine_choice import choose_engine
from musetalk_service.engines.avatar import DEFAULT_AVATAR, Avatar, load_default_avatar
from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.engines.registry import NAMES
from musetalk_service.errors import ModelNotFoundError
from musetalk_service.models.media import FrameSize, Rendition, make_renditions, parse_size
from musetalk_service.services.official_avatars import NO_CONSENT


@dataclass(frozen=True)
class Subject:
    """What is to be filmed."""

    avatar: str
    """What hosts know it by: ``default``, or ``<id>@<version>``."""
    clip_frames: Mapping[str, int]
    engine: str
    rendition: Rendition


def choose_subject(settings: Settings, avatar_id: str | None, engine: str | None, size: str | None) -> Subject:
    """Avatar, engine and form that are asked for; what is None is as the settings say.

    Raises:
        ModelNotFoundError: there is no such avatar or engine, or the one is not ready for the other.
        ValueError: no picture size, or too small for the face.
    """
    chosen = settings.frame_sizes[0] if size is None else parse_size(size)
    if engine is not None and engine not in ("auto", *NAMES):
        raise ModelNotFoundError(f"there is no engine {engine[:100]!r}; allowed: auto, {', '.join(NAMES)}")
    avatar = _find_avatar(settings, avatar_id)
    if avatar.has_face:
        _check_size(avatar, chosen)
    return Subject(
        avatar.name,
        {clip: avatar.clip_frames(clip) for clip in avatar.clips},
        _choose_engine(settings, avatar, engine),
        make_renditions(settings.video_crf, settings.video_max_kbps, [chosen])[0],
    )


def _find_avatar(settings: Settings, avatar_id: str | None) -> Avatar:
    if avatar_id is None or avatar_id == DEFAULT_AVATAR:
        if not settings.default_avatar_enabled:
            raise ModelNotFoundError("the default avatar is switched off (DEFAULT_AVATAR_ENABLED): --avatar ID")
        return load_default_avatar()
    library = AvatarLibrary(settings.avatars_dir)
    ref = library.find(avatar_id)
    if ref is not None:
        return library.load(ref)
    if library.official(avatar_id) is None:
        raise ModelNotFoundError(f"there is no avatar {avatar_id[:100]!r} in {library.root}")
    if settings.require_consent:
        raise ModelNotFoundError(f"avatar {avatar_id!r} cannot be used: {NO_CONSENT.message}. {NO_CONSENT.advice}")
    raise ModelNotFoundError(
        f"avatar {avatar_id!r} is of the published MuseTalk scripts and not prepared yet: "
        f"musetalk-service avatar import {library.root / avatar_id}"
    )


def _check_size(avatar: Avatar, size: FrameSize) -> None:
    """Raises ``ValueError`` where the face would be too small to be drawn."""
    try:
        avatar.renderer(size)
    except ValueError as error:
        raise ValueError(f"{size} does not do: {error}") from None


def _choose_engine(settings: Settings, avatar: Avatar, engine: str | None) -> str:
    if engine is None and not avatar.has_face:
        return "musetalk"
    if engine is not None:
        settings = settings.model_copy(update={"engine": engine})
    name = choose_engine(settings).engine
    if name == "builtin" and not avatar.has_face:
        raise ModelNotFoundError(f"avatar {avatar.name.partition('@')[0]!r} is ready for MuseTalk only")
    return name
