"""Stock KModels with random but sane weights, and the truth to hold a Synthesizer against."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from kokoro.istftnet import SineGen
from torch import Tensor

from coconut.synthesis import mini

KOKORO: dict[str, Any] = {
    "hidden_dim": 512,
    "style_dim": 128,
    "n_layer": 3,
    "n_mels": 80,
    "n_token": 178,
    "max_dur": 50,
    "text_encoder_kernel_size": 5,
    "dropout": 0.2,
    "istftnet": {
        "upsample_rates": [10, 6],
        "upsample_kernel_sizes": [20, 12],
        "gen_istft_n_fft": 20,
        "gen_istft_hop_size": 5,
        "upsample_initial_channel": 512,
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    },
    "plbert": {
        "hidden_size": 768,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "intermediate_size": 2048,
        "max_position_embeddings": 512,
        "dropout": 0.1,
    },
}


def kokoro_config() -> dict[str, Any]:
    """The config of hexgrad/Kokoro-82M."""
    return {**KOKORO, "vocab": mini.config()["vocab"]}


def random_model(
    config: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    disable_complex: bool = False,
    pace: float = -5.5,
) -> Any:
    """A stock KModel whose random weights give F0 of 80 to 300 Hz, some of it unvoiced, and unequal durations.

    At their initial scale the weights give constant durations and an F0 near zero, which any error
    in either would survive. A lower `pace` speaks faster.
    """
    model = mini.architecture(config, disable_complex=disable_complex).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)

    def draw(parameter: Tensor, std: float) -> None:
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * std)

    for name, module in model.named_modules():
        kind = type(module).__name__
        if kind == "AdaIN1d":  # the norms of a trained model are not the identity
            draw(module.norm.weight, 0.2)
            module.norm.weight.data += 1
            draw(module.norm.bias, 0.2)
        if kind == "AdaINResBlock1":
            for alpha in [*module.alpha1, *module.alpha2]:
                draw(alpha, 0.3)
                alpha.data.abs_().add_(0.5)
        if kind == "Conv1d" and "generator" in name and hasattr(module, "weight_g"):
            module.weight_g.data.fill_(1.0)
    predictor = model.predictor
    projection = predictor.duration_proj.linear_layer
    draw(projection.weight, 1.0 / projection.in_features**0.5 * 12)
    draw(projection.bias, 1.0)
    projection.bias.data += pace
    draw(predictor.F0_proj.weight, 1.0)
    weight = predictor.F0_proj.weight.data
    weight.mul_(60 / weight.norm())
    predictor.F0_proj.bias.data.fill_(150.0)
    draw(predictor.N_proj.weight, 0.1)
    draw(model.decoder.generator.m_source.l_linear.weight, 0.5)
    model.decoder.generator.conv_post.weight_g.data.fill_(0.5)
    model.decoder.generator.conv_post.bias.data.fill_(-3.0)
    return model.to(dtype)


def random_phonemes(count: int, seed: int, vocab: dict[str, int]) -> str:
    generator = torch.Generator().manual_seed(seed)
    symbols = sorted(vocab)
    return "".join(symbols[i] for i in torch.randint(len(symbols), (count,), generator=generator).tolist())


def texts(model: Any, *counts: int) -> list[str]:
    """One text for each count of phonemes."""
    return [random_phonemes(count, count, model.vocab) for count in counts]


def random_styles(popsize: int, texts: int, seed: int = 0, std: float = 0.5) -> Tensor:
    """[P, U, 256]; larger than real ones, so that differences show."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(popsize, texts, 256, generator=generator) * std


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Stock code makes tensors of the default dtype: float64 needs this."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def stock(
    model: Any, phonemes: str, style: Tensor, noise: Tensor, contours: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Stock KModel.forward for one text and one style [256] -> wave, durations.

    Its source draws nine harmonics of noise of which a Linear(9 -> 1) makes one row: hand it
    noise * w / |w|. `contours` replaces what the model itself finds for F0 and energy,
    and has the phase of its source summed in float64.
    """
    weight = model.decoder.generator.m_source.l_linear.weight[0]
    dtype = weight.dtype

    def randn_like(x: Tensor, **_: Any) -> Tensor:
        if x.shape[-1] == 1:
            return torch.zeros_like(x)  # the second noise, which nothing reads
        return noise[None, : x.shape[1], None].to(dtype) * (weight / weight.norm())

    patches: list[Any] = [mock.patch("kokoro.istftnet.torch.randn_like", randn_like)]
    if contours is not None:
        found = tuple(c[None].to(dtype) for c in contours)
        patches.append(mock.patch.object(model.predictor, "F0Ntrain", return_value=found))
        summed = SineGen._f02sine  # in float64: a phase of float32 is the stock's own error, not ours
        patches.append(mock.patch.object(SineGen, "_f02sine", lambda s, f0: summed(s, f0.double()).to(f0.dtype)))
    with default_dtype(dtype), contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        stft = model.decoder.generator.stft
        if type(stft).__name__ == "TorchSTFT":
            stack.enter_context(mock.patch.object(stft, "window", stft.window.to(dtype)))
        out = model(phonemes, style[None].to(dtype), return_output=True)
    return out.audio, out.pred_dur
