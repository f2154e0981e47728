"""Level and silence of speech."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

SAMPLE_RATE = 24_000
HOP = 300  # 80 frames/s: two per frame of Kokoro
RISE = 10**0.6  # of a frame that carries speech over the quietest ones
DEEP = 10**-2.5  # of the power of speech: pauses are at least so deep, unless there is noise in them
LEVEL = 0.08  # RMS of active frames after `speech`, -22 dBFS: headroom for peaks 22 dB above


def mask(lens: Tensor, size: int) -> Tensor:
    """[..., size] true where the position is below lens [...]."""
    return torch.arange(size, device=lens.device) < lens.unsqueeze(-1)


def activity(wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
    """(power [..., F] of 300-sample frames, active [..., F]: frames that carry speech).

    A frame is active when its power exceeds the 5% quantile of the item's frames by 6 dB; that
    threshold is kept between 40 and 25 dB below the 95% quantile, so that neither digital
    silence nor speech without pauses misleads it.
    """
    frames = -(-wav.shape[-1] // HOP)
    wav = wav.masked_fill(~mask(lens, wav.shape[-1]), 0)
    wav = pad(wav, (0, frames * HOP - wav.shape[-1]))
    power = wav.unflatten(-1, (frames, HOP)).square().mean(-1)
    count = (lens + HOP - 1) // HOP
    valid = mask(count, frames)
    ordered = power.masked_fill(~valid, math.inf).sort(-1).values

    def quantile(q: float) -> Tensor:
        index = ((count - 1).clamp_min(0) * q).round().long()
        return ordered.gather(-1, index.unsqueeze(-1))

    loud = quantile(0.95)
    threshold = torch.minimum(torch.maximum(quantile(0.05) * RISE, loud * 1e-4), loud * DEEP)
    return power, valid & (power > threshold)


def distinct(wav: Tensor) -> bool:
    """Whether samples [N] have pauses so far below their speech that `activity` tells one from the other."""
    power = wav[: len(wav) // HOP * HOP].unflatten(0, (-1, HOP)).square().mean(-1).sort().values
    low, loud = (float(power[round(q * (len(power) - 1))]) if len(power) else 0.0 for q in (0.05, 0.95))
    return low * RISE <= loud * DEEP


def span(wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
    """First and one-past-last sample [...] of speech, with one frame of margin at either side.

    An item without any active frame keeps its whole length.
    """
    _, active = activity(wav, lens)
    frames = active.shape[-1]
    index = torch.arange(frames, device=wav.device)
    first = torch.where(active, index, frames).amin(-1)
    last = torch.where(active, index, -1).amax(-1)
    some = last >= 0
    start = torch.where(some, (first - 1).clamp_min(0) * HOP, 0)
    end = torch.where(some, torch.minimum((last + 2) * HOP, lens), lens)
    return start, end


def speech(wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
    """wav [..., T] without silence at its ends and at one level; (wav [..., T], lens [...]).

    The level is the RMS of active frames, brought to LEVEL; zeros follow each item's end.
    """
    start, end = span(wav, lens)
    lens = end - start
    size = wav.shape[-1]
    index = start.unsqueeze(-1) + torch.arange(size, device=wav.device)
    wav = wav.gather(-1, index.clamp_max(size - 1)).masked_fill(~mask(lens, size), 0)
    power, active = activity(wav, lens)
    mean = (power * active).sum(-1) / active.sum(-1).clamp_min(1)
    return wav * (LEVEL / mean.clamp_min(1e-12).sqrt()).unsqueeze(-1), lens


def trim(wav: Tensor) -> Tensor:
    """Samples [N] without silence at the ends and at LEVEL."""
    wav, size = speech(wav, torch.tensor(wav.shape[-1], device=wav.device))
    return wav[: int(size)]
