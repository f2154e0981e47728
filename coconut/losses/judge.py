"""The judge: a speaker encoder that no loss term uses, so that no search can climb it.

It shares neither features nor architecture with GE2E, which the speaker term climbs: logarithms of 64 mel magnitudes at
24 kHz, without the mean of each band over an utterance, so that no equaliser and no gain is heard; separable
convolutions over time with dilations (an x-vector: Snyder et al., "X-Vectors: Robust DNN Embeddings for Speaker
Recognition", ICASSP 2018), attentive statistics (Okabe et al., "Attentive Statistics Pooling for Deep Speaker
Embedding", Interspeech 2018). Trained with an additive angular margin (Deng et al., "ArcFace", CVPR 2019) by
`experiments/judge`, whose README says on what, and how well it does.
"""

from __future__ import annotations

import math
from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from coconut.audio import SAMPLE_RATE, filterbank, mask
from coconut.synthesis.memory import Parts

N_FFT, HOP, MELS = 1024, 240, 64  # harmonics are told apart; 100 frames/s
LOW, HIGH = 50.0, 7600.0  # Hz: what a recording at 16 kHz holds
FLOOR = 1e-3  # of a mel magnitude, with speech at audio.LEVEL
DEEP = 4.0  # nepers below the loudest frame: what is quieter does not count among the means
WIDTH, WIDE, ATTENTION, SIZE = 160, 320, 64, 128
DILATIONS = (1, 2, 3, 4)
JUDGED = Parts(300 * SAMPLE_RATE)  # samples of padded audio that are embedded at once


class Block(nn.Module):
    """x [B, C, F] + a separable convolution over 5 frames."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.along = nn.Conv1d(WIDTH, WIDTH, 5, padding=2 * dilation, dilation=dilation, groups=WIDTH, bias=False)
        self.across = nn.Conv1d(WIDTH, WIDTH, 1, bias=False)
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + relu(self.norm(self.across(self.along(x))))


class Judge(nn.Module):
    """wav [B, T] at 24 kHz, trimmed and at one level, lens [B] -> embeddings [B, 128] of unit length.

    `trained`: with the weights of the package, and ready to judge.
    """

    stranger = 0.0  # cosine of different speakers, about: 0.03 on average
    analysis: Tensor
    filters: Tensor

    def __init__(self, trained: bool = True) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # its initial values are drawn, then replaced
            self.stem = nn.Conv1d(MELS, WIDTH, 5, stride=2, padding=2, bias=False)
            self.norm = nn.BatchNorm1d(WIDTH)
            self.blocks = nn.ModuleList(Block(dilation) for dilation in DILATIONS)
            self.widen = nn.Conv1d(WIDTH, WIDE, 1)
            self.attention = nn.Sequential(nn.Conv1d(WIDE, ATTENTION, 1), nn.Tanh(), nn.Conv1d(ATTENTION, WIDE, 1))
            self.pooled = nn.BatchNorm1d(2 * WIDE)
            self.linear = nn.Linear(2 * WIDE, SIZE)
        self.register_buffer("analysis", torch.hann_window(N_FFT), persistent=False)
        filters = filterbank(SAMPLE_RATE, N_FFT, MELS, LOW, HIGH).float()
        self.register_buffer("filters", filters, persistent=False)
        if trained:
            content = resources.files("coconut.losses").joinpath("assets/judge.safetensors").read_bytes()
            self.load_state_dict(load(content))
            self.requires_grad_(False).eval()

    def forward(self, wav: Tensor, lens: Tensor) -> Tensor:
        """In parts, as many items at once as memory holds."""
        return JUDGED.rows(self._embed, wav, lens, cost=max(1, wav.shape[-1]))

    def _embed(self, wav: Tensor, lens: Tensor) -> Tensor:
        return self.network(*self.features(wav, lens))

    def features(self, wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """(logarithms of mel magnitudes [B, 64, F], frames [B]) of wav [B, T]; frame k is centred at sample 240 k."""
        wav = wav.to(self.filters.dtype).masked_fill(~mask(lens, wav.shape[-1]), 0)
        spectrum = torch.stft(wav, N_FFT, HOP, window=self.analysis, pad_mode="constant", return_complex=True)
        return (self.filters @ spectrum.abs()).clamp_min(FLOOR).log(), lens // HOP + 1

    def network(self, mel: Tensor, frames: Tensor) -> Tensor:
        """Embeddings [B, 128] of unit length of mel [B, 64, F], of which so many frames [B] count."""
        x = centred(mel, mask(frames, mel.shape[-1])[:, None])
        inside = mask((frames + 1) // 2, (mel.shape[-1] + 1) // 2)[:, None]
        x = relu(self.norm(self.stem(x))) * inside
        for block in self.blocks:
            x = block(x) * inside
        x = relu(self.widen(x))
        weight = self.attention(x).masked_fill(~inside, -math.inf).softmax(-1)
        mean = (weight * x).sum(-1)
        spread = (weight * (x - mean[..., None]).square()).sum(-1).clamp_min(1e-6).sqrt()
        return normalize(self.linear(self.pooled(torch.cat([mean, spread], 1))), dim=-1)


def centred(mel: Tensor, inside: Tensor) -> Tensor:
    """mel [B, 64, F] without each band's mean over what is spoken, 0 outside; inside [B, 1, F]."""
    level = mel.mean(1, keepdim=True).masked_fill(~inside, -math.inf)
    spoken = inside & (level > level.amax(-1, keepdim=True) - DEEP)
    mean = (mel * spoken).sum(-1, keepdim=True) / spoken.sum(-1, keepdim=True).clamp_min(1)
    return (mel - mean) * inside
