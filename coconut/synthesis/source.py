"""The excitation of Kokoro's vocoder: fixed noise and the harmonic sine source.

The sine source integrates F0 into a phase. It is summed in float64 at F0's own rate whatever the
model's precision, and wrapped before it is narrowed: an error in a phase never goes away again.
Formulas: kokoro/istftnet.py, SineGen and SourceModuleHnNSF.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coconut.audio import SAMPLE_RATE
from coconut.synthesis import elementwise
from coconut.synthesis.kernels import Kernel
from coconut.synthesis.transfer import upload

NOISE_BLOCK = SAMPLE_RATE


class UnitNoise:
    """An endless row of standard normal samples that depends on (seed, text) alone.

    Drawn on the CPU in blocks of one second, so that the first n samples are the same for every n,
    device, precision and company.
    """

    def __init__(self, seed: int, text: str) -> None:
        digest = hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=8).digest()
        self.generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
        self.samples = torch.empty(0)

    def first(self, n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """[n] samples."""
        missing = n - len(self.samples)
        if missing > 0:
            blocks = [torch.randn(NOISE_BLOCK, generator=self.generator) for _ in range(-(-missing // NOISE_BLOCK))]
            more = upload(torch.cat(blocks), device)
            self.samples = torch.cat([self.samples.to(device), more]) if len(self.samples) else more
        return self.samples[:n].to(device, dtype)


class SineSource:
    """F0 [B, N] in Hz and noise [B, N * hop] -> excitation [B, N * hop] (SourceModuleHnNSF)."""

    def __init__(self, module: Any) -> None:
        sines = module.l_sin_gen
        self.rate, self.hop, self.harmonics = sines.sampling_rate, sines.upsample_scale, sines.dim
        self.amplitude, self.noise_std = sines.sine_amp, sines.noise_std
        self.threshold = sines.voiced_threshold
        self.weight, self.bias = module.l_linear.weight.detach()[0], module.l_linear.bias.detach()
        self.weights = (self.weight.double() * self.amplitude).tolist()
        self.noise_gain = self.weight.norm()  # nine harmonics of noise, summed by `weight`, are one Gaussian

    def __call__(self, f0: Tensor, noise: Tensor) -> Tensor:
        """f0 must be 0 past the end of an item: then the phase stands still, as at the stock right edge."""
        voiced = (f0 > self.threshold).to(f0.dtype)[..., None]  # [B, N, 1]
        level = voiced * self.noise_std + (1 - voiced) * self.amplitude / 3
        mixed = self.sines(f0).unflatten(1, (-1, self.hop)).mul(voiced)
        mixed.addcmul_(noise.unflatten(1, (-1, self.hop)), level * self.noise_gain).add_(self.bias)
        return elementwise.tanh(mixed, out=mixed).flatten(1)

    def sines(self, f0: Tensor) -> Tensor:
        """The weighted sum of all harmonics, [B, N * hop], as if every frame were voiced.

        The stock source sums the phase at frame rate and draws straight lines between frame centres,
        at (i + 1/2) hop; it holds the first and the last value to the edges.
        """
        starts, slopes = self.lines(f0)  # [H, B * (N + 1), 1] each
        half = self.hop // 2
        if f0.requires_grad:
            along = _along(self.hop, starts)
            phase = (2 * math.pi * (slopes * along + starts).frac()).to(f0.dtype)
            weights = upload(torch.tensor(self.weights, dtype=f0.dtype), f0.device)[:, None, None]
            return (weights * phase.sin()).sum(0).view(len(f0), -1)[:, half : half - self.hop]
        total = SINES(f0, starts, slopes, self.weights, self.hop)
        return total.view(len(f0), -1)[:, half : half - self.hop]

    def lines(self, f0: Tensor) -> tuple[Tensor, Tensor]:
        """Starts and slopes, in cycles, of every harmonic's N + 1 straight lines: [H, B * (N + 1), 1], float64."""
        wide = f0.to(torch.float64) if f0.device.type != "mps" else f0  # MPS has no float64
        orders = torch.arange(1, self.harmonics + 1, device=f0.device, dtype=wide.dtype)[:, None, None]
        step = (wide * orders / self.rate).remainder(1.0) * self.hop  # [H, B, N] cycles a frame
        centre = step.cumsum(-1)
        start = torch.cat([centre[..., :1], centre], -1)
        slope = F.pad(step[..., 1:], (1, 1))  # flat before the first centre and after the last
        return start.flatten(1)[..., None], slope.flatten(1)[..., None]


def _along(hop: int, like: Tensor) -> Tensor:
    """Where the samples of a line lie along it: [hop], 0 to 1."""
    return (torch.arange(hop, device=like.device, dtype=like.dtype) + 0.5) / hop


def _sines(f0: Tensor, starts: Tensor, slopes: Tensor, weights: Sequence[float], hop: int) -> Tensor:
    along = _along(hop, starts)
    total = f0.new_zeros(starts.shape[1], hop)
    cycles, phase = torch.empty_like(total, dtype=starts.dtype), torch.empty_like(total)
    for start, slope, weight in zip(starts, slopes, weights, strict=True):
        torch.mul(slope, along, out=cycles).add_(start).frac_()
        phase.copy_(cycles).mul_(2 * math.pi)
        total.add_(elementwise.sin(phase, out=phase), alpha=weight)
    return total


def _example(device: torch.device) -> tuple:
    f0 = torch.arange(6.0, device=device).view(2, 3) * 50
    lines = torch.arange(32, device=device, dtype=torch.float64).view(2, 16, 1) * 40.7
    return f0, lines, lines / 7, [0.3, -0.2], 5


SINES = Kernel(  # of lines of phase in cycles [H, L, 1], the weighted sum over H of their sines: [L, hop], typed as f0
    "sines(Tensor f0, Tensor starts, Tensor slopes, float[] weights, int hop) -> Tensor", _sines, _example
)
