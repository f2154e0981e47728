"""Losses between waveforms: magnitudes at many resolutions, and complex spectra where the phase is known."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from coconut.audio import LogMel

SAMPLE_RATE = 24000
# window: highest frequency compared. Long windows see single harmonics, so they pay for periodicity.
WINDOWS = {256: 12000, 512: 12000, 1024: 12000, 2048: 12000, 4096: 8000}
COMPLEX = {1024: 5000, 2048: 2500}
# A steady tone needs a window as long as a segment: 1.2 s, whose every 96th bin is a multiple of 80 Hz.
STEADY = 28800
COMB = torch.arange(2, 121) * 96  # 160 Hz to 9.6 kHz: multiples of the rate of F0 and energy
HOP = torch.arange(1, 7) * 1920  # 1.6 kHz to 9.6 kHz: multiples of the rate of mini's iSTFT frames
NEAR = torch.arange(-2, 3)
BESIDE = torch.cat([torch.arange(-42, -9), torch.arange(10, 43)])  # 8 to 35 Hz away


@functools.cache
def _log_mel(device: torch.device) -> LogMel:
    return LogMel().to(device)


@functools.cache
def _window(n_fft: int, device: torch.device) -> Tensor:
    return torch.hann_window(n_fft, device=device)


@functools.cache
def _weight(n_fft: int, bins: int, device: torch.device) -> Tensor:
    """Weight of a bin: 2 below 1 kHz, falling to 1 above 2 kHz; in the longest window, which can see a comb at
    the frame rate, three times that beside multiples of 80 Hz.
    """
    hz = torch.arange(bins, device=device) * SAMPLE_RATE / n_fft
    weight = 1 + ((2000 - hz) / 1000).clamp(0, 1)
    on_comb = ((hz + 40) % 80 - 40).abs() < 5
    return weight * (1 + 2 * on_comb) if n_fft == max(WINDOWS) else weight


def stft(wav: Tensor, n_fft: int, hop: int) -> Tensor:
    """Complex spectra [B, bins, frames] of wav [B, T], scaled so that a sine of amplitude a gives a."""
    spectrum = torch.stft(wav, n_fft, hop, window=_window(n_fft, wav.device), return_complex=True)
    return spectrum * (4 / n_fft)


def losses(fake: Tensor, real: Tensor, voiced: Tensor) -> dict[str, Tensor]:
    """Terms between waveforms [B, T]; voiced [B, T] says where the phase of the harmonics is known."""
    terms: dict[str, list[Tensor]] = {"log": [], "converge": [], "mel": [], "phase": []}
    for n_fft, highest in WINDOWS.items():
        hop = n_fft // 4
        bins = highest * n_fft // SAMPLE_RATE + 1
        a, b = stft(fake, n_fft, hop)[:, :bins], stft(real, n_fft, hop)[:, :bins]
        mag_a = (a.real.square() + a.imag.square() + 1e-10).sqrt()
        mag_b = (b.real.square() + b.imag.square() + 1e-10).sqrt()
        weight = _weight(n_fft, bins, fake.device)[:, None]
        terms["log"].append(((mag_a + 1e-4).log() - (mag_b + 1e-4).log()).abs().mul(weight).mean())
        power = mag_b.square().sum((1, 2)) + 1e-3
        terms["converge"].append(((mag_a - mag_b).square().sum((1, 2)) / power).sqrt().mean())
        if n_fft in COMPLEX:
            terms["phase"].append(_complex(a, b, mag_b, voiced, n_fft, hop))
    lens = torch.full((len(fake),), fake.shape[1], device=fake.device)
    steady = [(_steady(x) + 1e-5).log() for x in (fake, real)]
    for name, at in (("comb", COMB), ("hop", HOP)):
        terms[name] = [(steady[0][..., at.to(fake.device)] - steady[1][..., at.to(fake.device)]).abs().mean()]
    mel = _log_mel(fake.device)
    terms["mel"].append((mel(fake, lens)[0] - mel(real, lens)[0]).abs().mean())
    return {k: torch.stack(v).mean() for k, v in terms.items()}


def _steady(wav: Tensor) -> Tensor:
    """Magnitudes [B, segments, bins] of whole segments of wav [B, T]."""
    return torch.fft.rfft(wav.unfold(1, STEADY, STEADY) * _window(STEADY, wav.device)).abs() * (4 / STEADY)


class Excess(nn.Module):
    """Excess of steady tones over those of the recordings, in log power: distances hide a mean of 5 dB in noise.

    One batch's excess is mostly noise too, whose gradient would drown the other terms. So a batch counts by the
    running mean of MEMORY batches: the term's gradient is that of half the squared mean, through the newest batch.
    """

    MEMORY = 10
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))  # on COMB below 3.3 kHz, on HOP below 5 kHz

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Waveforms [B, T] -> the term, which may be negative."""
        tones = (COMB[:39], HOP[:3])
        found = torch.stack([excess(fake, at) - excess(real, at) for at in tones])
        self.mean.lerp_(found.detach(), 1 / self.MEMORY)
        return (self.mean.clone() * found).mean()


def excess(wav: Tensor, at: Tensor) -> Tensor:
    """Mean over segments and tones of the log power at the bins `at` over that beside them; wav [B, T]."""
    power = _steady(wav).square() + 1e-10
    on, beside = (power[..., (at[:, None] + around).to(wav.device)].mean(-1) for around in (NEAR, BESIDE))
    return (on.log() - beside.log()).mean()


def _complex(a: Tensor, b: Tensor, magnitude: Tensor, voiced: Tensor, n_fft: int, hop: int) -> Tensor:
    """|A - B| over the frame's mean |B|, below a limit, in frames that are voiced all through."""
    bins = COMPLEX[n_fft] * n_fft // SAMPLE_RATE + 1
    a, b, magnitude = a[:, :bins], b[:, :bins], magnitude[:, :bins]
    share = torch.nn.functional.avg_pool1d(voiced[:, None], n_fft, hop, padding=n_fft // 2)[:, 0, : a.shape[2]]
    inside = (share > 0.9).float()[:, None]
    error = a - b
    error = (error.real.square() + error.imag.square() + 1e-10).sqrt()
    scale = magnitude.mean(1, keepdim=True) + 1e-3
    return (error / scale * inside).sum() / (inside.sum() * bins).clamp(min=1)
