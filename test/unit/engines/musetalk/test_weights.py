import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file

from musetalk_service.engines.musetalk.options import Listening, MuseTalkOptions
from musetalk_service.engines.musetalk.weights import load_unet, load_vae, load_whisper, missing_files
from musetalk_service.errors import CheckpointError
from support.musetalk_files import UNET_CONFIG, VAE_CONFIG, random_encoder, write_musetalk


@pytest.fixture
def own_path(model_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_path, tmp_path / "models"))


@pytest.mark.parametrize(("version", "file"), [("1.5", "musetalkV15/unet.pth"), ("1.0", "musetalk/pytorch_model.bin")])
def test_unet_is_that_of_its_version(model_path, version, file):
    plain = UNet2DConditionModel.from_config(UNET_CONFIG)
    plain.load_state_dict(torch.load(model_path / file, weights_only=True))
    state = load_unet(model_path, version).state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in plain.state_dict().items())


def test_vae_with_old_names_is_the_one_that_was_saved(model_path, tmp_path):
    vae = load_vae(model_path)
    theirs = AutoencoderKL.from_pretrained(model_path / "sd-vae", use_safetensors=False, local_files_only=True).eval()
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(vae.encode(picture).latent_dist.mean, theirs.encode(picture).latent_dist.mean)
    assert vae.config.scaling_factor == 0.18215
    assert "scaling_factor" not in VAE_CONFIG


def test_whisper_of_both_publishers_is_the_same(tmp_path):
    one = write_musetalk(tmp_path / "one", whisper="hf")
    two = write_musetalk(tmp_path / "two", whisper="openai")
    first, second = load_whisper(one).state_dict(), load_whisper(two).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_half_precision_and_safetensors_are_taken(own_path):
    state = {f"encoder.{name}": tensor.half().contiguous() for name, tensor in random_encoder().items()}
    save_file(state, own_path / "whisper" / "model.safetensors")
    (own_path / "whisper" / "pytorch_model.bin").unlink()
    loaded = load_whisper(own_path).state_dict()
    assert loaded["conv1.weight"].dtype == torch.float32
    assert torch.equal(loaded["conv1.weight"].half(), state["encoder.conv1.weight"])


def test_missing_files_are_named_with_their_source(own_path):
    newer = MuseTalkOptions(own_path, own_path)
    assert missing_files(newer) == []
    (own_path / "musetalkV15" / "unet.pth").unlink()
    (own_path / "sd-vae" / "config.json").unlink()
    unet, vae = missing_files(newer)
    assert "unet.pth" in unet and "TMElyralab/MuseTalk" in unet
    assert "config.json" in vae and "sd-vae-ft-mse" in vae
    assert missing_files(replace(newer, listening=Listening("1.0"))) == [vae]
    assert "models download face-parsing" in missing_files(replace(newer, mask="parsing"))[-1]
    with pytest.raises(CheckpointError, match=r"unet\.pth.*TMElyralab"):
        load_unet(own_path, "1.5")


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: torch.save({"a": _Evil()}, path), "more than tensors"),
        (lambda path: torch.save([torch.zeros(1)], path), "not a dictionary of tensors"),
        (lambda path: path.write_bytes(b"no checkpoint"), "more than tensors|cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "cannot be read|more than tensors"),
        (lambda path: torch.save({"conv_in.weight": torch.zeros(3)}, path), "does not fit musetalk.json"),
    ],
)
def test_wrong_weights_are_refused(own_path, break_it, message, monkeypatch):
    monkeypatch.chdir(own_path)
    path = own_path / "musetalkV15" / "unet.pth"
    break_it(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_unet(own_path, "1.5")
    assert str(path) in str(caught.value)
    assert not (own_path / "executed").exists()


@pytest.mark.parametrize(
    "text", ["{", "[]", '"org/model"', json.dumps({"block_out_channels": "many"}), "{}" + " " * (1 << 20)]
)
def test_wrong_configurations_are_refused(own_path, text):
    (own_path / "musetalkV15" / "musetalk.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"musetalk\.json"):
        load_unet(own_path, "1.5")


def test_other_whispers_are_refused(own_path):
    state = {name: t for name, t in random_encoder().items() if not name.startswith("blocks.3")}
    torch.save(
        {"model_state_dict": {f"encoder.{name}": t for name, t in state.items()}}, own_path / "whisper" / "tiny.pt"
    )
    with pytest.raises(CheckpointError, match="3 layers"):
        load_whisper(own_path)
