"""MuseTalk checkpoints with random values, small, in the published layout and formats."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import save_file

UNET_CONFIG: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.6.0.dev0",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [32, 64, 64, 64],
    "center_input_sample": False,
    "cross_attention_dim": 384,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 8,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
}
VAE_CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.4.2",
    "act_fn": "silu",
    "block_out_channels": [32, 32, 64, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 256,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
TAESD_CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderTiny",
    "_diffusers_version": "0.20.0.dev0",
    "act_fn": "relu",
    "decoder_block_out_channels": [16, 16, 16, 16],
    "encoder_block_out_channels": [16, 16, 16, 16],
    "force_upcast": False,
    "in_channels": 3,
    "latent_channels": 4,
    "latent_magnitude": 3,
    "latent_shift": 0.5,
    "num_decoder_blocks": [3, 3, 3, 1],
    "num_encoder_blocks": [1, 3, 3, 3],
    "out_channels": 3,
    "scaling_factor": 1.0,
    "upsampling_scaling_factor": 2,
}
"""As published, but for its 64 channels."""
WIDTH, LAYERS = 384, 4
State = dict[str, torch.Tensor]


def write_musetalk(root: Path, *, whisper: str = "hf", mlp_width: int = 64, seed: int = 1) -> Path:
    """Both versions' folders under `root`; `whisper` is "hf" or "openai"."""
    torch.manual_seed(seed)
    for folder, name in (("musetalkV15", "unet.pth"), ("musetalk", "pytorch_model.bin")):
        (root / folder).mkdir(parents=True)
        (root / folder / "musetalk.json").write_text(json.dumps(UNET_CONFIG))
        torch.save(_lively(UNet2DConditionModel.from_config(UNET_CONFIG)), root / folder / name)
    (root / "sd-vae").mkdir()
    (root / "sd-vae" / "config.json").write_text(json.dumps(VAE_CONFIG))
    vae = _lively(AutoencoderKL.from_config(VAE_CONFIG))
    torch.save({_old_attention_name(name): t for name, t in vae.items()}, root / "sd-vae/diffusion_pytorch_model.bin")
    (root / "whisper").mkdir()
    encoder = random_encoder(mlp_width)
    if whisper == "openai":
        state = {f"encoder.{name}": tensor for name, tensor in encoder.items()}
        state["decoder.ln.weight"] = torch.ones(WIDTH)
        dims = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": WIDTH, "n_audio_head": 6, "n_audio_layer": LAYERS}
        torch.save({"dims": dims, "model_state_dict": state}, root / "whisper" / "tiny.pt")
    else:
        state = {f"model.encoder.{_hf_name(name)}": tensor for name, tensor in encoder.items()}
        state["model.decoder.layer_norm.weight"] = torch.ones(WIDTH)
        torch.save(state, root / "whisper" / "pytorch_model.bin")
    return root


def write_taesd(root: Path, *, seed: int = 3) -> Path:
    """The small decoder's folder under `root`."""
    torch.manual_seed(seed)
    (root / "taesd").mkdir(parents=True)
    (root / "taesd" / "config.json").write_text(json.dumps(TAESD_CONFIG))
    model = AutoencoderTiny.from_config(TAESD_CONFIG)
    save_file(dict(model.state_dict()), root / "taesd" / "diffusion_pytorch_model.safetensors")
    return root


def write_parser(root: Path, *, seed: int = 4) -> Path:
    """BiSeNet's folder under `root`: its tensors by name and shape, as published, with random values."""
    torch.manual_seed(seed)
    state: State = {}

    def conv(name: str, given: int, taken: int, kernel: int = 1) -> None:
        state[f"{name}.weight"] = torch.randn(given, taken, kernel, kernel) * (2 / (taken * kernel**2)) ** 0.5

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = 1 + 0.2 * torch.randn(width), 0.2 * torch.randn(width)
        state[f"{name}.running_mean"] = 0.2 * torch.randn(width)
        state[f"{name}.running_var"] = 0.5 + torch.rand(width)
        state[f"{name}.num_batches_tracked"] = torch.tensor(80_000)

    def both(name: str, given: int, taken: int, kernel: int = 3) -> None:
        conv(f"{name}.conv", given, taken, kernel)
        norm(f"{name}.bn", given)

    conv("cp.resnet.conv1", 64, 3, 7)
    norm("cp.resnet.bn1", 64)
    widths = (64, 64, 128, 256, 512)
    for layer in range(1, 5):
        for block in range(2):
            name, width = f"cp.resnet.layer{layer}.{block}", widths[layer]
            taken = widths[layer - 1] if block == 0 else width
            conv(f"{name}.conv1", width, taken, 3)
            conv(f"{name}.conv2", width, width, 3)
            norm(f"{name}.bn1", width)
            norm(f"{name}.bn2", width)
            if taken != width:
                conv(f"{name}.downsample.0", width, taken)
                norm(f"{name}.downsample.1", width)
    for name, taken in (("cp.arm16", 256), ("cp.arm32", 512)):
        both(f"{name}.conv", 128, taken)
        conv(f"{name}.conv_atten", 128, 128)
        norm(f"{name}.bn_atten", 128)
    both("cp.conv_head32", 128, 128)
    both("cp.conv_head16", 128, 128)
    both("cp.conv_avg", 128, 512, 1)
    both("ffm.convblk", 256, 256, 1)
    conv("ffm.conv1", 64, 256)
    conv("ffm.conv2", 256, 64)
    for name, inner, taken in (("conv_out", 256, 256), ("conv_out16", 64, 128), ("conv_out32", 64, 128)):
        both(f"{name}.conv", inner, taken)
        conv(f"{name}.conv_out", 19, inner)
    (root / "face-parse-bisent").mkdir(parents=True)
    torch.save(state, root / "face-parse-bisent" / "79999_iter.pth")
    return root


def random_encoder(mlp_width: int = 64) -> State:
    """Whisper-tiny's encoder under OpenAI's names; the real sinusoids, scaled so that attention has an effect."""

    def matrix(*shape: int) -> torch.Tensor:
        return torch.randn(*shape) / float(np.prod(shape[1:])) ** 0.5

    def norm(name: str) -> State:
        return {f"{name}.weight": 1 + 0.2 * torch.randn(WIDTH), f"{name}.bias": 0.2 * torch.randn(WIDTH)}

    rate = torch.exp(-np.log(10000) / (WIDTH // 2 - 1) * torch.arange(WIDTH // 2))
    angle = torch.arange(1500)[:, None] * rate
    state: State = {"positional_embedding": torch.cat([angle.sin(), angle.cos()], dim=1), **norm("ln_post")}
    for name, bands in (("conv1", 80), ("conv2", WIDTH)):
        state |= {f"{name}.weight": matrix(WIDTH, bands, 3), f"{name}.bias": 0.1 * torch.randn(WIDTH)}
    for layer in range(LAYERS):
        block = f"blocks.{layer}"
        state |= norm(f"{block}.attn_ln") | norm(f"{block}.mlp_ln")
        for name in ("query", "key", "value", "out"):
            state[f"{block}.attn.{name}.weight"] = matrix(WIDTH, WIDTH)
            if name != "key":
                state[f"{block}.attn.{name}.bias"] = 0.1 * torch.randn(WIDTH)
        for name, out, into in (("0", mlp_width, WIDTH), ("2", WIDTH, mlp_width)):
            state[f"{block}.mlp.{name}.weight"] = matrix(out, into)
            state[f"{block}.mlp.{name}.bias"] = 0.1 * torch.randn(out)
    return state


def _lively(model: torch.nn.Module) -> State:
    """Default values leave norms without effect, which would hide mistakes."""
    state = dict(model.state_dict())
    return {name: t + 0.1 * torch.randn_like(t) if "norm" in name else t for name, t in state.items()}


def _old_attention_name(name: str) -> str:
    if ".mid_block.attentions.0." in name:
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            name = name.replace(f".{new}.", f".{old}.")
    return name


def _hf_name(name: str) -> str:
    if name == "positional_embedding":
        return "embed_positions.weight"
    for new, old in (
        ("blocks.", "layers."),
        ("attn_ln.", "self_attn_layer_norm."),
        ("mlp_ln.", "final_layer_norm."),
        ("attn.query", "self_attn.q_proj"),
        ("attn.key", "self_attn.k_proj"),
        ("attn.value", "self_attn.v_proj"),
        ("attn.out", "self_attn.out_proj"),
        ("mlp.0", "fc1"),
        ("mlp.2", "fc2"),
        ("ln_post", "layer_norm"),
    ):
        name = name.replace(new, old)
    return name
