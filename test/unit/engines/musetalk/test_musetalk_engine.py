import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

import torch

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.engines.base import FrameRequest
from musetalk_service.engines.base_video import BaseVideo
from musetalk_service.engines.musetalk.engine import MuseTalkEngine
from musetalk_service.engines.musetalk.faces import FaceStore
from musetalk_service.engines.musetalk.networks import choose_dtype, load_painter
from musetalk_service.engines.musetalk.options import FRAME_SAMPLES, Listening, MuseTalkOptions
from musetalk_service.engines.musetalk.painter import PainterGoneError
from musetalk_service.engines.musetalk.parsed_mask import parsed_mask, picture_to_parse
from musetalk_service.engines.registry import chain_from, load_engines
from musetalk_service.errors import CheckpointError, EngineError
from musetalk_service.models.avatar_manifest import ClipRange
from musetalk_service.models.face import NEUTRAL, REST, Pose
from musetalk_service.models.media import BASE_SIZE, ClipPosition
from musetalk_service.utils.i420 import from_bgr, to_bgr
from support.avatars import publish
from support.musetalk_files import write_parser
from support.painters import InProcessPainter

RNG = np.random.default_rng(12)
SPEECH = (4000 * RNG.standard_normal(16_000)).astype(np.int16)
PLACE = ClipPosition("idle_0", 0)


@pytest.fixture(scope="module")
def options(model_path, tmp_path_factory):
    return MuseTalkOptions(
        model_path, tmp_path_factory.mktemp("cache"), device="cpu", listening=Listening(window_s=1.0), largest_batch=4
    )


@pytest.fixture(scope="module")
def painter(options):
    return InProcessPainter(load_painter(options))


@pytest.fixture(scope="module")
def engine(options, painter):
    return MuseTalkEngine(options, painter)


class NoPainter:
    """Has the weights of another, and does nothing."""

    def __init__(self, painter, error=None):
        self.info, self.error = painter.info, error or AssertionError("a network ran")

    def encode_face(self, face):
        raise self.error

    def parse_face(self, picture):
        raise self.error

    def fileno(self):
        return None

    def order(self, jobs):
        raise self.error


@pytest.fixture(scope="module")
def avatar():
    return load_default_avatar()


def request(stream, position, pose=NEUTRAL):
    return FrameRequest(stream, PLACE, pose, REST, position)


def speak(engine, avatar, frames, speech=SPEECH):
    stream = engine.open(avatar, BASE_SIZE)
    stream.push(speech, 0)
    return stream, [engine.render([request(stream, i * FRAME_SAMPLES)])[0] for i in range(frames)]


def test_it_says_what_it_is(engine):
    assert (engine.info.name, engine.info.device, engine.info.look_ahead_samples) == ("musetalk", "cpu", 2120)
    assert "1.5, float32" in engine.info.version


def test_mouth_eases_in_and_out_and_the_rest_stays(engine, avatar):
    still = avatar.renderer(BASE_SIZE).render(NEUTRAL, REST)
    stream, pictures = speak(engine, avatar, 4)
    changes = [float(np.abs(picture.astype(int) - still).sum()) for picture in pictures]
    assert 0 < changes[0] < changes[1] < changes[2]
    assert changes[3] == pytest.approx(changes[2], rel=0.2)
    top = np.abs(pictures[3][:512].astype(int) - still[:512])
    assert not top[: int(avatar.landmarks[168, 1])].any()  # above the eyes nothing changes
    closing = [engine.render([request(stream, None)])[0] for _ in range(3)]
    changes = [float(np.abs(picture.astype(int) - still).sum()) for picture in closing]
    assert changes[0] > changes[1] > changes[2] == 0


def test_each_frame_has_a_mouth_of_its_own(engine, avatar):
    _, pictures = speak(engine, avatar, 6)
    assert not np.array_equal(pictures[4], pictures[5])


def test_silence_runs_no_network(options, painter, engine, avatar):
    engine.open(avatar, BASE_SIZE)  # keeps the latents
    engine = MuseTalkEngine(options, NoPainter(painter))
    stream = engine.open(avatar, BASE_SIZE)
    stream.push(np.zeros(16_000, np.int16), 0)
    (picture,) = engine.render([request(stream, 0)])
    np.testing.assert_array_equal(picture, avatar.renderer(BASE_SIZE).render(NEUTRAL, REST))
    engine.render([request(stream, None), request(stream, FRAME_SAMPLES)])


def test_the_mask_is_bisenets_where_that_is_asked_for_and_made_once(options, painter, avatar, model_path, tmp_path):
    models = shutil.copytree(model_path, tmp_path / "models")
    parsing = replace(options, model_path=write_parser(models), cache_dir=tmp_path / "cache", mask="parsing")
    parser = InProcessPainter(load_painter(parsing))
    _, pictures = speak(MuseTalkEngine(parsing, parser), avatar, 2)
    face = FaceStore(parser, "1.5", tmp_path / "other", mask="landmarks", memory_bytes=1 << 20).get(avatar, BASE_SIZE)
    box = face.overlay.face
    classes = parser.parse_face(picture_to_parse(avatar.renderer(BASE_SIZE).portrait, box))
    again = MuseTalkEngine(parsing, NoPainter(parser))
    kept = again._faces.get(avatar, BASE_SIZE).overlay.mask
    np.testing.assert_array_equal(kept, parsed_mask(classes, box, "1.5"))
    assert kept.shape == face.overlay.mask.shape and not np.array_equal(kept, face.overlay.mask)
    _, others = speak(MuseTalkEngine(options, painter), avatar, 2)
    assert not np.array_equal(pictures[1], others[1])
    with pytest.raises(EngineError, match="runs without BiSeNet"):
        painter.parse_face(np.zeros((512, 512, 3), np.uint8))


def test_sessions_of_a_batch_do_not_mix(engine, avatar):
    _, alone = speak(engine, avatar, 3)
    streams = [engine.open(avatar, BASE_SIZE) for _ in range(3)]
    streams[0].push(SPEECH, 0)
    streams[1].push((0.5 * SPEECH[::-1]).astype(np.int16), 0)
    for index in range(3):
        batch = [request(s, index * FRAME_SAMPLES if s is not streams[2] else None) for s in streams]
        first, second, idle = engine.render(batch)
        assert np.abs(first.astype(int) - alone[index]).max() <= 2
        assert not np.array_equal(first, second)
        np.testing.assert_array_equal(idle, avatar.renderer(BASE_SIZE).render(NEUTRAL, REST))


def test_head_moves_and_a_smile_goes_while_it_speaks(engine, avatar):
    stream, _ = speak(engine, avatar, 3)
    (picture,) = engine.render([request(stream, 3 * FRAME_SAMPLES, Pose(yaw=4, smile=1))])
    base = avatar.renderer(BASE_SIZE).render(Pose(yaw=4), REST)
    crop = engine._faces.get(avatar, BASE_SIZE).overlay.face
    np.testing.assert_array_equal(picture[: crop.top], base[: crop.top])


def test_latents_are_kept_for_these_weights_and_this_face(options, painter, engine, avatar):
    def latents(engine):
        return engine._faces.get(avatar, BASE_SIZE).latents

    engine.open(avatar, BASE_SIZE)
    kept = list((options.cache_dir / "engines").glob("musetalk-1.5-*/*/portrait.npz"))
    assert len(kept) == 1
    assert avatar.digest in kept[0].parent.name

    again = MuseTalkEngine(options, NoPainter(painter))
    np.testing.assert_array_equal(latents(again), latents(engine))
    kept[0].write_bytes(b"damaged")
    fresh = MuseTalkEngine(options, painter)
    np.testing.assert_array_equal(latents(fresh), latents(engine))


def test_sessions_can_open_while_the_painter_is_away(options, painter, avatar):
    engine = MuseTalkEngine(options, NoPainter(painter, PainterGoneError("away")))
    stream = engine.open(replace(avatar, digest="new"), BASE_SIZE)
    stream.push(SPEECH, 0)
    with pytest.raises(PainterGoneError):
        engine.render([request(stream, 0)])
    engine._painter = engine._faces._painter = painter
    assert len(engine.render([request(stream, 0)])) == 1


def test_latents_lie_beside_the_avatar_and_go_with_it(options, engine, avatar, tmp_path):
    library = AvatarLibrary(tmp_path / "avatars")
    ref = publish(library.root, "alice")
    own = library.load(ref)
    engine.open(own, BASE_SIZE)
    (kept,) = library.folder(ref).glob("engines/musetalk-1.5-*/*/portrait.npz")
    assert own.digest in kept.parent.name
    gone = library.load(publish(library.root, "bob"))
    library.remove("bob")
    engine._faces._kept.drop((own.digest, BASE_SIZE, None))
    engine.open(gone, BASE_SIZE)
    assert not (library.root / "bob").exists()


def test_latents_of_avatars_that_are_only_read_lie_in_the_cache(engine, avatar, tmp_path, monkeypatch):
    own = replace(avatar, digest="read-only", folder=tmp_path)
    monkeypatch.setattr("musetalk_service.engines.musetalk.faces.os.access", lambda *_: False)
    engine.open(own, BASE_SIZE)
    assert not any(tmp_path.iterdir())
    assert list(engine._faces._folder.glob("*/read-only-*/portrait.npz"))


def test_base_videos_have_a_face_for_each_frame(engine, avatar):
    still = from_bgr(avatar.renderer(BASE_SIZE).portrait)
    shifts = np.float32([[[1, 0, 6 * i], [0, 1, -4 * i]] for i in range(25)])
    frames = np.stack([from_bgr(cv2.warpAffine(to_bgr(still), m, (512, 512), borderMode=1)) for m in shifts])
    video = BaseVideo(frames, shifts, {"idle_0": ClipRange(first=0, frames=25, ping_pong=False)})
    moving = replace(avatar, digest="moving").with_base_video(video)
    stream = engine.open(moving, BASE_SIZE)
    stream.push(SPEECH, 0)
    for index in range(4):
        (picture,) = engine.render(
            [replace(request(stream, index * FRAME_SAMPLES), place=ClipPosition("idle_0", index))]
        )
        changed = np.argwhere(np.abs(picture[:512].astype(int) - frames[index][:512]) > 0)
        overlay = engine._faces.get(moving, BASE_SIZE, index).overlay
        (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
        assert overlay.face.left <= left and right < overlay.face.right
        assert overlay.face.top < top and bottom < overlay.face.bottom + 8
        assert overlay.face.left == engine._faces.get(moving, BASE_SIZE, 0).overlay.face.left + 6 * index


def test_unsuitable_avatars_are_refused(engine, avatar, monkeypatch):
    landmarks = avatar.renderer(BASE_SIZE).landmarks - np.float32([400, 0, 0])
    monkeypatch.setattr("musetalk_service.engines.musetalk.faces._landmarks", lambda *_: landmarks)
    with pytest.raises(EngineError, match="does not lie in the 512x512 picture"):
        engine.open(replace(avatar, digest="another"), BASE_SIZE)


def test_version_1_0_runs_too(options, avatar):
    options = replace(options, listening=Listening("1.0", window_s=1.0))
    old = MuseTalkEngine(options, InProcessPainter(load_painter(options)))
    _, pictures = speak(old, avatar, 3)
    assert "(1.0" in old.info.version
    assert not np.array_equal(pictures[2], avatar.renderer(BASE_SIZE).render(NEUTRAL, REST))


def test_precision_follows_the_settings(options):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_dtype(options, cpu) == torch.float32
    assert choose_dtype(options, cuda) == torch.float16
    assert choose_dtype(replace(options, half=False), cuda) == torch.float32
    assert choose_dtype(replace(options, precision="bfloat16"), cpu) == torch.bfloat16


def test_registry_has_it_where_there_is_one(engine):
    assert chain_from("musetalk") == ["musetalk", "builtin", "static"]
    assert list(load_engines(chain_from("musetalk"), musetalk=engine)) == ["musetalk", "builtin", "static"]
    assert list(load_engines(chain_from("musetalk"))) == ["builtin", "static"]


def test_missing_files_are_named_with_where_to_get_them(options, tmp_path):
    with pytest.raises(CheckpointError, match=r"sd-vae.*huggingface\.co"):
        load_painter(replace(options, model_path=tmp_path))
    shutil.copytree(options.model_path / "sd-vae", tmp_path / "sd-vae")
    with pytest.raises(CheckpointError, match="whisper"):
        load_painter(replace(options, model_path=tmp_path))
