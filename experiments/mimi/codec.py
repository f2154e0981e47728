"""The small Mimi: its configuration, its codebooks, and its files in the package.

Same modules, frames and module names as kyutai/mimi: 960 samples a frame before, 1920 after the last downsampling.
MimiModel's codebooks are buffers, which no gradient reaches: the codec is trained with noise in their place
(`train.py`), and they are fitted to its latents afterwards, by k-means on the residuals of the books before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from transformers import MimiConfig, MimiModel

from coconut.audio.level import LEVEL
from coconut.files import replacing, write_text

CONFIG: dict[str, Any] = {
    "hidden_size": 64,
    "num_filters": 8,
    "upsampling_ratios": [8, 6, 5, 4],
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 128,
    "layer_scale_initial_scale": 0.1,
    "sliding_window": 25,  # one second
    "upsample_groups": 64,
    "codebook_size": 256,
    "codebook_dim": 32,
    "vector_quantization_hidden_dimension": 32,
    "num_quantizers": 16,
    "num_semantic_quantizers": 8,
}


def random(seed: int = 0) -> Any:
    """The untrained codec; the global random state is left as it was.

    The first layer begins 1 / LEVEL times as strong as usual: speech is so quiet that ELUs would hardly bend it, and
    what is linear in a waveform knows nothing of its energy.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = MimiModel(MimiConfig(**CONFIG))
    with torch.no_grad():
        model.encoder.encoder_seanet.layers[0].conv.weight.div_(LEVEL)
    return model


def encode(model: Any, wav: Tensor) -> Tensor:
    """Latents [B, 64, n] of wav [B, 1920 n]."""
    return model.encoder(wav[:, None]).latents


def decode(model: Any, latents: Tensor) -> Tensor:
    """wav [B, 1920 n] of latents [B, 64, n]."""
    return model.decoder(latents).audio_values[:, 0]


@torch.no_grad()
def quantised(model: Any, latents: Tensor) -> Tensor:
    """Latents [B, 64, n] as the codebooks hold them."""
    return model.quantizer.decode(model.quantizer.encode(latents).transpose(0, 1))


@torch.no_grad()
def fit_codebooks(model: Any, latents: Tensor, seed: int = 0) -> None:
    """Fit the projections and codebooks of the model's quantizer to latents [N, 64], in place.

    Mimi quantises a latent twice, side by side, and adds what the two make of it. Each gets half of the space: every
    other principal component, so that both halves hold about as much.
    """
    _, axes = torch.linalg.eigh(torch.cov(latents.T.double()))
    axes = axes.flip(1).T.float()
    sides = (model.quantizer.semantic_residual_vector_quantizer, model.quantizer.acoustic_residual_vector_quantizer)
    for first, side in enumerate(sides):
        half = axes[first::2]
        side.input_proj.weight.copy_(half[..., None])
        side.output_proj.weight.copy_(half.T[..., None])
        residual = latents @ half.T
        for layer in side.layers:
            found = KMeans(layer.codebook.codebook_size, n_init=1, max_iter=25, random_state=seed).fit(residual.numpy())
            centres = torch.from_numpy(found.cluster_centers_).float()
            layer.codebook.embed_sum.copy_(centres)
            layer.codebook.cluster_usage.fill_(1.0)
            layer.codebook._embed = None  # it is kept once it was asked for
            residual = residual - centres[torch.from_numpy(found.labels_).long()]


def write(model: Any, folder: Path) -> None:
    """Write config.json and model.safetensors (float16) with the module names of kyutai/mimi."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "model.safetensors") as temporary:
        made = temporary.with_suffix(".folder")
        model.half().save_pretrained(made)
        (made / "model.safetensors").replace(temporary)
        (made / "config.json").unlink()
        made.rmdir()
    settings = {"architectures": ["MimiModel"], "model_type": "mimi", **CONFIG}
    write_text(folder / "config.json", json.dumps(settings, indent=2) + "\n")
