"""Distance of Mimi embeddings (Defossez et al., "Moshi", 2024): the codec's encoder, before its quantizer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from coconut.audio import HOP, SAMPLE_RATE, LogMel, mask
from coconut.config import EMBEDDED, InputError
from coconut.data import Utterance
from coconut.losses.alignment import BAND, CELLS, dtw, l1, path
from coconut.losses.synthesis import Synthesis, recording, stacked
from coconut.synthesis.memory import Parts

SAMPLES = 60 * SAMPLE_RATE  # of padded audio that are encoded at once: about 25 MB per second
ENCODED = Parts(SAMPLES)
MATRICES = 4  # of the size of DTW's, that are held beside each other
TEMPORAL = 0.5  # share of the distance along time; the rest is that of the distributions
ASSETS = Path(__file__).parent / "assets" / "mimi"  # the small one; experiments/mimi/README.md is its card
SHIFTS = 8  # starts of a recording's frames, 5 ms apart: the embedding of a sound depends on them


@dataclass(frozen=True)
class MimiReference:
    """A recording heard at every 5 ms.

    mel [80, F]; frames [C, 8 n], frame r starting at sample 120 (r - 7); their variance; mean [D]
    and spread [D] over time of the downsampled frames from sample 0 on.
    """

    mel: Tensor
    frames: Tensor
    variance: Tensor
    mean: Tensor
    spread: Tensor


class MimiEncoder:
    """wav [B, T] at 24 kHz -> frames before [B, C, n] and after [B, D, n / 2] the last downsampling.

    Everything in it is causal, so that zeros behind an item leave its whole frames alone; only
    whole frames are given. Works with the module layout of transformers 4 and 5.
    """

    def __init__(self, model: Any, device: torch.device | str) -> None:
        inner = model.encoder if hasattr(model.encoder, "encoder_seanet") else model
        self.seanet = _moved(getattr(inner, "encoder_seanet", model.encoder), device)
        self.transformer, self.downsample = _moved(inner.encoder_transformer, device), _moved(inner.downsample, device)
        self.size = math.prod(model.config.upsampling_ratios)  # samples of a frame: 960
        self.dtype = next(self.seanet.parameters()).dtype
        self.window = model.config.sliding_window
        self.stride = 1 if self.downsample is None else int(self.downsample.conv.stride[0])

    def __call__(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        block = self.size * self.stride
        wav = pad(wav.to(self.dtype), (0, -wav.shape[-1] % block))
        hidden = self.seanet(wav[:, None])
        seen = None if hidden.device.type == "cpu" else self._seen(hidden)
        hidden = self.transformer(hidden.transpose(1, 2), seen).last_hidden_state.transpose(1, 2)
        return hidden, hidden if self.downsample is None else self.downsample(hidden)

    def _seen(self, hidden: Tensor) -> Tensor:
        """The mask that the transformer makes for itself, [1, 1, T, T], to be added; for that it waits for a GPU."""
        now = torch.arange(hidden.shape[-1], device=hidden.device)
        back = now[:, None] - now
        unseen = (back < 0) | (back >= self.window)
        return hidden.new_zeros(unseen.shape).masked_fill(unseen, -math.inf)[None, None]


def _moved(part: Any, device: torch.device | str) -> Any:
    """A part of the model on the device; of the others, half of all weights, nothing is kept there.

    Its convolutions compute how much to pad from scalars that are buffers: these stay on the CPU, or each
    convolution would read them back.
    """
    if part is None:
        return None
    scalars = [(m, name, b.cpu()) for m in part.modules() for name, b in m.named_buffers(recurse=False) if b.ndim == 0]
    part.to(device).eval().requires_grad_(False)
    for module, name, scalar in scalars:
        setattr(module, name, scalar)
    return part


class MimiTerm:
    """Half the distance of frames along a DTW path, half that of their distributions.

    Along time: squared distance of 25 Hz frames on the path that aligns the log-mels, divided by
    twice the recording's variance, so that two unrelated frames of it are about 1 apart. A shift
    of 10 ms alone changes an embedding by most of that, so each frame of a candidate is compared
    with the recording's frame that starts where the path says, to within 10 ms, the nearest of
    them. Distributions: Frechet distance with diagonal covariances over the 12.5 Hz frames,
    divided by the recording's variance. `model`: a MimiModel, `mini`, a hub name or a folder.
    """

    differentiable = True

    def __init__(self, device: torch.device | str = "cpu", model: Any = None, band: float = BAND) -> None:
        if model is None:
            raise InputError("The mimi term needs a Mimi model; name one by mimi_model, or set loss.mimi to 0.")
        self.encoder = MimiEncoder(load_mimi(model) if isinstance(model, str | Path) else model, device)
        self.mel, self.device, self.band = LogMel().to(device), device, band

    def reference(self, utterance: Utterance) -> MimiReference:
        wav, lens = recording(utterance, self.device)
        step = self.encoder.size // SHIFTS
        late = torch.cat([pad(wav, (k * step, (SHIFTS - 1 - k) * step)) for k in range(SHIFTS)])
        sizes = lens + step * torch.arange(SHIFTS, device=wav.device)
        frames, means, spreads = self._embed(late, sizes)
        fine = frames.flip(0).permute(1, 2, 0).flatten(1)
        count = max(SHIFTS, (wav.shape[-1] - self.encoder.size) // step + SHIFTS)
        fine = fine[:, :count]
        variance = fine.var(1, unbiased=False).mean().clamp_min(1e-8)
        return MimiReference(self.mel(wav, lens)[0][0], fine, variance, means[0], spreads[0])

    def __call__(self, refs: list[MimiReference], syn: Synthesis) -> Tensor:
        wav, _ = syn.speech
        index = torch.arange(len(wav), device=wav.device)
        cells = MATRICES * max(ref.mel.shape[1] for ref in refs) * syn.logmel[0].shape[2]
        cost = max(1, wav.shape[-1], cells * SAMPLES / CELLS.limit)  # whichever is scarcer
        return ENCODED.rows(lambda part: self._part(refs, syn, part), index, cost=cost).unflatten(0, syn.shape)

    def _part(self, refs: list[MimiReference], syn: Synthesis, part: Tensor) -> Tensor:
        """Distances of the items `part` of B = P U."""
        wav, lens = (x[part] for x in syn.speech)
        ours, means, spreads = self._embed(wav, lens)
        mean = torch.stack([ref.mean for ref in refs])[part % len(refs)]
        spread = torch.stack([ref.spread for ref in refs])[part % len(refs)]
        apart = (means - mean).square() + (spreads - spread).square()
        shape = apart.mean(-1) / spread.square().mean(-1).clamp_min(1e-8)

        theirs, count = (x[part] for x in stacked([ref.frames.to(ours) for ref in refs], syn.shape[0]))
        variance = torch.stack([ref.variance for ref in refs])[part % len(refs)]
        inside = mask(count, theirs.shape[-1])[:, None]
        centre = (theirs * inside).sum(-1, keepdim=True) / count[:, None, None]  # keeps cdist's matmul exact
        distance = torch.cdist((theirs - centre).transpose(1, 2), (ours - centre).transpose(1, 2)).square()
        distance = distance / (2 * theirs.shape[1] * variance)[:, None, None]
        distance = distance.masked_fill(~inside.transpose(1, 2), math.inf)
        nearest = -max_pool2d(-distance, (5, 1), 1, (2, 0))  # of the starts within 10 ms
        other, others = (x[part].detach() for x in syn.logmel)
        mel, frames = (x[part] for x in stacked([ref.mel.to(other) for ref in refs], syn.shape[0]))
        carried, cost = self._along(nearest, count, lens, mel.shape[-1], other.shape[-1]), l1(mel, other)
        if carried.requires_grad:
            time = torch.stack([self._taped(*item) for item in zip(cost, carried, frames, others, strict=True)])
        else:
            time = dtw(cost, frames, others, self.band, carried)[1]
        return TEMPORAL * time + (1 - TEMPORAL) * shape

    def _taped(self, cost: Tensor, carried: Tensor, n: Tensor, m: Tensor) -> Tensor:
        """Mean of `carried` along the best path through cost[:n, :m] of one item, which has no gradient."""
        i, j, weights = path(cost, self.band, n, m)
        return (carried[i, j] * weights).sum()

    def _along(self, distance: Tensor, count: Tensor, lens: Tensor, rows: int, columns: int) -> Tensor:
        """[B, rows, columns] the distance for the recording at sample 300 i, the candidate at 300 j.

        The candidate's frame J = 300 j // 960 started 300 j - 960 J samples before; so did its
        counterpart in the recording.
        """
        size, step = self.encoder.size, self.encoder.size // SHIFTS
        i = torch.arange(rows, device=distance.device)[:, None] * HOP
        j = torch.arange(columns, device=distance.device) * HOP
        frame = torch.minimum(j // size, (lens[:, None] // size).clamp_min(1) - 1)
        start = i - (j - frame * size)[:, None, :]
        start = torch.div(start + step // 2, step, rounding_mode="floor") + SHIFTS - 1
        start = torch.minimum(start.clamp_min(0), (count - 1)[:, None, None])
        item = torch.arange(len(distance), device=distance.device)[:, None, None]
        return distance[item, start, frame[:, None, :]]

    def _embed(self, wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Frames [B, C, n], and mean and standard deviation over time of the downsampled ones, [B, D]."""
        frames, latents = self.encoder(wav)
        count = (lens // (self.encoder.size * self.encoder.stride)).clamp_min(1)
        inside = mask(count, latents.shape[-1])[:, None]
        mean = (latents * inside).sum(-1) / count[:, None]
        power = ((latents - mean[..., None]).square() * inside).sum(-1) / count[:, None]
        return frames, mean, power.clamp_min(1e-12).sqrt()


def load_mimi(name: str | Path) -> Any:
    """A MimiModel in float32: the embedded one for `mini`, else from the hub or a folder.

    Raises InputError, in one sentence, when it cannot be had.
    """
    from transformers import MimiModel

    try:
        return MimiModel.from_pretrained(str(ASSETS if name == EMBEDDED else name)).float().eval()
    except (OSError, ValueError) as error:
        raise InputError(
            f"The Mimi model {name} cannot be loaded (hub out of reach, or no such folder); set mimi_model to "
            f"{EMBEDDED}, which is embedded, or loss.mimi to 0."
        ) from error
