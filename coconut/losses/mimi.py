"""Distance of Mimi embeddings (Defossez et al., "Moshi", 2024): the codec's encoder, before its quantizer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from coconut.audio import HOP, LogMel, mask
from coconut.config import InputError
from coconut.data import Utterance
from coconut.losses.alignment import BAND, CELLS, dtw, l1
from coconut.losses.synthesis import Synthesis, recording, stacked

SECONDS = 60.0  # padded audio that goes through the encoder at once: about 25 MB per second
TEMPORAL = 0.5  # share of the distance along time; the rest is that of the distributions


@dataclass(frozen=True)
class MimiReference:
    """Log-mel [80, F]; frames [C, n]; mean [D] and spread [D] over time of the downsampled frames."""

    mel: Tensor
    frames: Tensor
    mean: Tensor
    spread: Tensor


class MimiEncoder:
    """wav [B, T] at 24 kHz -> frames before [B, C, n] and after [B, D, n / 2] the last downsampling.

    Everything in it is causal, so that zeros behind an item leave its whole frames alone; only
    whole frames are given. Works with the module layout of transformers 4 and 5.
    """

    def __init__(self, model: Any, device: torch.device | str) -> None:
        model = model.to(device).eval().requires_grad_(False)
        inner = model.encoder if hasattr(model.encoder, "encoder_seanet") else model
        self.seanet = getattr(inner, "encoder_seanet", model.encoder)
        self.transformer, self.downsample = inner.encoder_transformer, inner.downsample
        self.size = math.prod(model.config.upsampling_ratios)  # samples of a frame: 960
        self.stride = 1 if self.downsample is None else int(self.downsample.conv.stride[0])

    @torch.no_grad()
    def __call__(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        block = self.size * self.stride
        wav = pad(wav, (0, -wav.shape[-1] % block))
        hidden = self.seanet(wav[:, None])
        hidden = self.transformer(hidden.transpose(1, 2)).last_hidden_state.transpose(1, 2)
        return hidden, hidden if self.downsample is None else self.downsample(hidden)


class MimiTerm:
    """Half the distance of frames along a DTW path, half that of their distributions.

    Along time: squared distance of 25 Hz frames on the path that aligns the log-mels, divided by
    twice the recording's variance, so that two unrelated frames of it are 1 apart. Distributions:
    Frechet distance with diagonal covariances (means and spreads over the 12.5 Hz frames), divided
    by the recording's variance. `model`: a MimiModel, a hub name or a folder.
    """

    def __init__(self, device: torch.device | str = "cpu", model: Any = "kyutai/mimi", band: float = BAND) -> None:
        self.encoder = MimiEncoder(load(model) if isinstance(model, str | Path) else model, device)
        self.mel, self.device, self.band = LogMel().to(device), device, band

    def reference(self, utterance: Utterance) -> MimiReference:
        wav, lens = recording(utterance, self.device)
        frames, means, spreads = self._embed(wav, lens)
        count = max(1, int(lens) // self.encoder.size)
        return MimiReference(self.mel(wav, lens)[0][0], frames[0, :, :count], means[0], spreads[0])

    def __call__(self, refs: list[MimiReference], syn: Synthesis) -> Tensor:
        wav, _ = syn.speech
        rows = max(1, int(SECONDS * 24_000 / max(1, wav.shape[-1])))
        cells = stacked([ref.mel for ref in refs], 1)[0].shape[2] * syn.logmel[0].shape[2]
        rows = min(rows, max(1, CELLS // cells))
        index = torch.arange(len(wav), device=wav.device).split(rows)
        return torch.cat([self._part(refs, syn, part) for part in index]).unflatten(0, syn.shape)

    def _part(self, refs: list[MimiReference], syn: Synthesis, part: Tensor) -> Tensor:
        """Distances of the items `part` of B = P U."""
        wav, lens = (x[part] for x in syn.speech)
        ours, means, spreads = self._embed(wav, lens)
        mean = torch.stack([ref.mean for ref in refs]).repeat(syn.shape[0], 1)[part]
        spread = torch.stack([ref.spread for ref in refs]).repeat(syn.shape[0], 1)[part]
        variance = spread.square().mean(-1).clamp_min(1e-8)
        shape = ((means - mean).square() + (spreads - spread).square()).mean(-1) / variance

        theirs, n = (x[part] for x in stacked([ref.frames for ref in refs], syn.shape[0]))
        a, frames_a = (x[part] for x in stacked([ref.mel for ref in refs], syn.shape[0]))
        b, frames_b = (x[part] for x in syn.logmel)
        m = (lens // self.encoder.size).clamp_min(1)
        wide = _variance(theirs, n).mean(-1).clamp_min(1e-8)
        apart = torch.cdist(theirs.transpose(1, 2), ours.transpose(1, 2)).square()
        apart = apart / (2 * theirs.shape[1] * wide)[:, None, None]
        carried = _spread(apart, self._of(a, n), self._of(b, m))
        return TEMPORAL * dtw(l1(a, b), frames_a, frames_b, self.band, carried)[1] + (1 - TEMPORAL) * shape

    def _of(self, mel: Tensor, frames: Tensor) -> Tensor:
        """[B, F] the Mimi frame of each log-mel frame."""
        index = torch.arange(mel.shape[-1], device=mel.device) * HOP // self.encoder.size
        return torch.minimum(index, (frames - 1)[:, None])

    def _embed(self, wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Frames [B, C, n], and mean and standard deviation over time of the downsampled ones, [B, D]."""
        frames, latents = self.encoder(wav)
        count = (lens // (self.encoder.size * self.encoder.stride)).clamp_min(1)
        inside = mask(count, latents.shape[-1])[:, None]
        mean = (latents * inside).sum(-1) / count[:, None]
        power = ((latents - mean[..., None]).square() * inside).sum(-1) / count[:, None]
        return frames, mean, power.clamp_min(1e-12).sqrt()


def load(name: str | Path) -> Any:
    """A MimiModel from the hub or a folder; InputError in one sentence when it cannot be had."""
    from transformers import MimiModel

    try:
        return MimiModel.from_pretrained(str(name))
    except (OSError, ValueError) as error:
        raise InputError(
            f"The Mimi model {name} cannot be loaded (hub out of reach, or no such folder); set loss.mimi to 0."
        ) from error


def _variance(frames: Tensor, count: Tensor) -> Tensor:
    """Variance over time [B, C] of frames [B, C, n], of which count [B] are valid."""
    inside = mask(count, frames.shape[-1])[:, None]
    mean = (frames * inside).sum(-1) / count[:, None]
    return ((frames - mean[..., None]).square() * inside).sum(-1) / count[:, None]


def _spread(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """out[b, i, j] = matrix[b, rows[b, i], columns[b, j]]."""
    item = torch.arange(len(matrix), device=matrix.device)[:, None, None]
    return matrix[item, rows[:, :, None], columns[:, None, :]]
