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
