"""The published checkpoints: where each lies, and how it is loaded without running anything that it holds.

    MODEL_PATH/musetalkV15/{unet.pth, musetalk.json}            version 1.5
    MODEL_PATH/musetalk/{pytorch_model.bin, musetalk.json}      version 1.0
    MODEL_PATH/sd-vae/{diffusion_pytorch_model.bin, config.json}
    MODEL_PATH/taesd/{diffusion_pytorch_model.safetensors, config.json}   where MUSETALK_DECODER=taesd
    MODEL_PATH/whisper/{pytorch_model.bin, config.json}  or  MODEL_PATH/whisper/tiny.pt
    MODEL_PATH/face-parse-bisent/79999_iter.pth           where MUSETALK_MASK=parsing; the scripts spell it so

A ``.safetensors`` file of the same name is taken as well, and preferred.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file

from musetalk_service.engines.musetalk.face_parsing import FaceParser
from musetalk_service.engines.musetalk.options import MuseTalkOptions, Version
from musetalk_service.engines.musetalk.whisper import WhisperEncoder
from musetalk_service.errors import CheckpointError

State = dict[str, torch.Tensor]

_HUB: Final = "https://huggingface.co"
_FETCH: Final = " (musetalk-service models download "
_CONFIG_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """One network's files under MODEL_PATH."""

    folder: str
    weights: tuple[str, ...]
    """Any of these, the first that is there."""
    config: str | None
    """None where the weights tell the form themselves."""
    source: str


UNETS: Final[Mapping[Version, Part]] = {
    "1.5": Part(
        "musetalkV15",
        ("unet.safetensors", "unet.pth"),
        "musetalk.json",
        f"{_HUB}/TMElyralab/MuseTalk{_FETCH}musetalk-1.5)",
    ),
    "1.0": Part(
        "musetalk",
        ("pytorch_model.safetensors", "pytorch_model.bin"),
        "musetalk.json",
        f"{_HUB}/TMElyralab/MuseTalk{_FETCH}musetalk-1.0)",
    ),
}
VAE: Final = Part(
    "sd-vae",
    ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
    "config.json",
    f"{_HUB}/stabilityai/sd-vae-ft-mse{_FETCH}sd-vae)",
)
TAESD: Final = Part(
    "taesd",
    ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
    "config.json",
    f"{_HUB}/madebyollin/taesd{_FETCH}taesd)",
)
WHISPER: Final = Part(
    "whisper",
    ("tiny.pt", "model.safetensors", "pytorch_model.bin"),
    None,
    f"{_HUB}/openai/whisper-tiny{_FETCH}whisper)",
)
PARSER: Final = Part(
    "face-parse-bisent",
    ("79999_iter.pth",),
    None,
    f"https://github.com/zllrunning/face-parsing.PyTorch{_FETCH}face-parsing)",
)


def missing_files(options: MuseTalkOptions) -> list[str]:
    """What is not there of what is needed, one line each: the file and where to get it. Empty: complete."""
    parts = [UNETS[options.listening.version], VAE, WHISPER]
    parts += [TAESD] if options.decoder == "taesd" else []
    parts += [PARSER] if options.mask == "parsing" else []
    lines = []
    for part in parts:
        folder = options.model_path / part.folder
        if not any((folder / name).is_file() for name in part.weights):
            lines.append(f"{folder / part.weights[-1]} is missing; get it from {part.source}")
        if part.config is not None and not (folder / part.config).is_file():
            lines.append(f"{folder / part.config} is missing; get it from {part.source}")
    return lines


def load_unet(model_path: Path, version: Version) -> UNet2DConditionModel:
    """float32, on the CPU, in evaluation mode. Raises :class:`CheckpointError`."""
    part = UNETS[version]
    return _build(UNet2DConditionModel, part, model_path, _read(_find(model_path, part), part))


def load_vae(model_path: Path) -> AutoencoderKL:
    """float32, on the CPU, in evaluation mode. Raises :class:`CheckpointError`."""
    state = _read(_find(model_path, VAE), VAE)
    return _build(AutoencoderKL, VAE, model_path, {_new_attention_name(name): t for name, t in state.items()})


def load_taesd(model_path: Path) -> AutoencoderTiny:
    """float32, on the CPU, in evaluation mode. Raises :class:`CheckpointError`."""
    return _build(AutoencoderTiny, TAESD, model_path, _read(_find(model_path, TAESD), TAESD))


def load_whisper(model_path: Path) -> WhisperEncoder:
    """The encoder alone, float32, on the CPU, in evaluation mode. Raises :class:`CheckpointError`.

    Its form is read from the tensors; heads, which they do not tell, are 64 wide in every Whisper.
    """
    path = _find(model_path, WHISPER)
    state = _encoder_state(_read(path, WHISPER))
    try:
        return WhisperEncoder.from_state({name: tensor.float() for name, tensor in state.items()}).eval()
    except (KeyError, ValueError, RuntimeError) as error:
        raise _wrong(path, WHISPER, f"is no Whisper encoder ({_short(error)})") from None


def load_parser(model_path: Path) -> FaceParser:
    """float32, on the CPU, in evaluation mode. Raises :class:`CheckpointError`."""
    path = _find(model_path, PARSER)
    state = _read(path, PARSER)
    try:
        return FaceParser.from_state({name: tensor.float() for name, tensor in state.items()})
    except RuntimeError as error:
        raise _wrong(path, PARSER, f"is no BiSeNet ({_short(error)})") from None


def _find(model_path: Path, part: Part) -> Path:
    folder = model_path / part.folder
    for name in part.weights:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(
        f"{folder} has none of {', '.join(part.weights)}; get one from {part.source} or set MODEL_PATH"
    )


def _read(path: Path, part: Part) -> State:
    """A flat dictionary of tensors; the only kind of object that is accepted."""
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        # Mapped where possible: 3.4 GB are read once, straight to where they go.
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnpicklingError:
        raise _wrong(path, part, "holds more than tensors, and is not opened for that reason") from None
    except (OSError, RuntimeError, EOFError, ValueError, SafetensorError) as error:
        raise _wrong(path, part, f"cannot be read ({_short(error)})") from None
    if isinstance(held, dict) and isinstance(held.get("model_state_dict"), dict):
        held = held["model_state_dict"]  # as OpenAI publishes Whisper, beside its dimensions
    if not isinstance(held, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in held.values()):
        raise _wrong(path, part, "is not a dictionary of tensors")
    return held


def _build(kind: Any, part: Part, model_path: Path, state: State) -> Any:
    assert part.config is not None
    config_path, weights_path = model_path / part.folder / part.config, _find(model_path, part)
    try:
        if config_path.stat().st_size > _CONFIG_MAX_BYTES:
            raise ValueError("too large")
        with torch.device("meta"):  # no time and memory for random values that are replaced at once
            config = json.loads(config_path.read_text("utf-8"))
            if not isinstance(config, dict):  # diffusers would take a string for a model to download
                raise ValueError("not an object")
            model = kind.from_config(config)
    except OSError as error:
        raise _wrong(config_path, part, f"cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _wrong(config_path, part, f"describes no {kind.__name__} ({_short(error)})") from None
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=True, assign=True)
    except RuntimeError as error:
        raise _wrong(weights_path, part, f"does not fit {config_path.name} ({_short(error)})") from None
    return model.eval()


_OLD_ATTENTION: Final = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def _new_attention_name(name: str) -> str:
    """The published VAE names its two attentions as diffusers did before 0.17."""
    parts = name.split(".")
    if parts[1:4] == ["mid_block", "attentions", "0"] and parts[4] in _OLD_ATTENTION:
        parts[4] = _OLD_ATTENTION[parts[4]]
    return ".".join(parts)


_HF_RENAMES: Final = (
    ("layers.", "blocks."),
    ("self_attn.q_proj", "attn.query"),
    ("self_attn.k_proj", "attn.key"),
    ("self_attn.v_proj", "attn.value"),
    ("self_attn.out_proj", "attn.out"),
    ("self_attn_layer_norm", "attn_ln"),
    ("final_layer_norm", "mlp_ln"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
    ("embed_positions.weight", "positional_embedding"),
)


def _encoder_state(state: State) -> State:
    """The encoder's tensors under OpenAI's names, from either kind of file."""
    encoder = {}
    for name, tensor in state.items():
        short = name.removeprefix("model.")
        if not short.startswith("encoder."):
            continue
        short = short.removeprefix("encoder.")
        for old, new in _HF_RENAMES:
            short = short.replace(old, new)
        encoder["ln_post" + short.removeprefix("layer_norm") if short.startswith("layer_norm.") else short] = tensor
    return encoder


def _wrong(path: Path, part: Part, what: str) -> CheckpointError:
    return CheckpointError(f"{path} {what}; get it again from {part.source}")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
