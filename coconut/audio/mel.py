"""Mel filters and the log-mel spectrogram."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn

from coconut.audio.level import HOP, SAMPLE_RATE, mask


@cache
def filterbank(rate: int, n_fft: int, n_mels: int, low: float = 0.0, high: float | None = None) -> Tensor:
    """Triangular mel filters of unit area, [n_mels, n_fft // 2 + 1] float64.

    Slaney's scale (Auditory Toolbox, 1998): 200/3 Hz per mel up to 1 kHz, above it 27 mels for
    each factor of 6.4. All who ask for the same get the same tensor.
    """
    knee, step = 1000.0, math.log(6.4) / 27

    def mel(f: float) -> float:
        return f * 3 / 200 if f < knee else 15 + math.log(f / knee) / step

    m = torch.linspace(mel(low), mel(high or rate / 2), n_mels + 2, dtype=torch.float64)
    edges = torch.where(m < 15, m * 200 / 3, knee * torch.exp(step * (m - 15)))
    f = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    rise = (f - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - f) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp_min(0) * (2 / (edges[2:] - edges[:-2]))[:, None]


class LogMel(nn.Module):
    """Natural logarithm of a magnitude mel spectrogram, Slaney's filters.

    wav [..., T], lens [...] -> (mel [..., n_mels, F], frames [...]) with frames = lens // hop + 1;
    frame k is centred at sample hop k, and zeros surround each item. Values below `floor` are
    raised to it: 3e-4 is what white noise 47 dB below LEVEL gives.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, n_fft: int = 1024, n_mels: int = 80, floor: float = 3e-4, hop: int = HOP) -> None:
        super().__init__()
        self.n_fft, self.floor, self.hop = n_fft, floor, hop
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("filters", filterbank(SAMPLE_RATE, n_fft, n_mels).float(), persistent=False)

    def forward(self, wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        wav = wav.masked_fill(~mask(lens, wav.shape[-1]), 0)
        spectrum = torch.stft(
            wav.flatten(0, -2) if wav.dim() > 1 else wav[None],
            self.n_fft,
            self.hop,
            window=self.window.to(wav.dtype),
            pad_mode="constant",
            return_complex=True,
        )
        mel = (self.filters.to(wav.dtype) @ spectrum.abs()).clamp_min(self.floor).log()
        frames = self.frames(lens)
        mel = mel.unflatten(0, wav.shape[:-1]) if wav.dim() > 1 else mel[0]
        outside = ~mask(frames, mel.shape[-1]).unsqueeze(-2)
        return mel.masked_fill(outside, math.log(self.floor)), frames

    def frames(self, lens: Tensor) -> Tensor:
        """Frames of items of so many samples."""
        return lens // self.hop + 1

    def heard(self, mel: Tensor) -> Tensor:
        """[..., n_mels] true up to the highest band that rises a neper above the floor in mel [..., F].

        A recording at 16 kHz holds nothing above 8 kHz, which says nothing about its speaker.
        """
        rises = mel.amax(-1) > math.log(self.floor) + 1
        return rises.flip(-1).cumsum(-1).flip(-1) > 0
