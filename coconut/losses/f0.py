"""F0: its distribution, and how much is voiced."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coconut.audio import f0
from coconut.data import Utterance
from coconut.losses.synthesis import Synthesis, narrow, recording

QUANTILES = 32
INNER = 0.8  # share of voiced frames compared: slips of a tracker and onsets of a contour are in the tails
VOICED = 50.0  # Hz: the tracker's lowest, so that both sides mean the same
WIDEST = 2.0  # octaves: the most two distributions can differ, and what no voice at all costs
VOICING = 0.25  # octaves that a difference of all voiced against none voiced weighs


class F0Term:
    """Distance of voiced F0 in octaves (trimmed 1-Wasserstein), plus a quarter of that of voicing rates.

    The recording's F0 is tracked by YIN; a candidate's is the F0 it was synthesised from. Being a
    distance of distributions, it hears register and liveliness, not the tune. The voicing rate
    is taken between the first and the last voiced frame.
    """

    differentiable = True

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = device

    def reference(self, utterance: Utterance) -> Tensor:
        """[33]: quantiles of log2 F0, then the voicing rate."""
        return summary(f0(*recording(utterance, self.device)))[0]

    def __call__(self, refs: list[Tensor], syn: Synthesis) -> Tensor:
        ours = summary(narrow(syn.prosody.F0).nan_to_num(0.0))
        apart = (ours - torch.stack(refs).to(ours.device)).abs()
        voiced = (ours[..., -1] > 0) == (torch.stack(refs)[..., -1] > 0).to(ours.device)
        octaves = apart[..., :-1].mean(-1).clamp_max(WIDEST)
        return torch.where(voiced, octaves, WIDEST) + VOICING * apart[..., -1]


def summary(hertz: Tensor) -> Tensor:
    """F0 [..., F] in Hz -> [..., QUANTILES + 1]: quantiles of log2 F0 of voiced frames, voicing rate.

    Taken in the middle of QUANTILES equal parts of the INNER share, so that the mean absolute
    difference of two summaries is the 1-Wasserstein distance of the two sets of frames without
    their tails, up to the width of a part. All zero without a voiced frame.
    """
    voiced = hertz > VOICED
    count = voiced.sum(-1, keepdim=True)
    ordered = torch.where(voiced, hertz.clamp_min(VOICED).log2(), math.inf).sort(-1).values
    middle = (1 - INNER) / 2 + INNER * (torch.arange(QUANTILES, device=hertz.device) + 0.5) / QUANTILES
    values = ordered.gather(-1, (middle * count).long()).masked_fill(count == 0, 0.0)
    index = torch.arange(hertz.shape[-1], device=hertz.device)
    first = torch.where(voiced, index, hertz.shape[-1]).amin(-1, keepdim=True)
    last = torch.where(voiced, index, -1).amax(-1, keepdim=True)
    rate = (count / (last - first + 1).clamp_min(1)).masked_fill(count == 0, 0.0)
    return torch.cat([values, rate.to(values)], -1)
