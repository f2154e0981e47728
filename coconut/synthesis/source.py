"""The excitation of Kokoro's vocoder: fixed noise, the harmonic sine source, the short-time transform.

The sine source integrates F0 into a phase. It is summed in float64 at F0's own rate whatever the
model's precision, and wrapped before it is narrowed: an error in a phase never goes away again.
Formulas: kokoro/istftnet.py (SineGen, SourceModuleHnNSF, TorchSTFT) and kokoro/custom_stft.py.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coconut.synthesis.layers import sine_
from coconut.synthesis.ragged import Lengths

NOISE_BLOCK = 24_000


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
            self.samples = torch.cat([self.samples.cpu(), *blocks]).to(device)
        return self.samples[:n].to(device, dtype)


class SineSource:
    """F0 [B, N] in Hz and noise [B, N * hop] -> excitation [B, N * hop] (SourceModuleHnNSF)."""

    def __init__(self, module: Any) -> None:
        sines = module.l_sin_gen
        self.rate, self.hop, self.harmonics = sines.sampling_rate, sines.upsample_scale, sines.dim
        self.amplitude, self.noise_std = sines.sine_amp, sines.noise_std
        self.threshold = sines.voiced_threshold
        self.weight, self.bias = module.l_linear.weight.detach()[0], module.l_linear.bias.detach()
        self.noise_gain = self.weight.norm()  # nine harmonics of noise, summed by `weight`, are one Gaussian

    def __call__(self, f0: Tensor, noise: Tensor) -> Tensor:
        """f0 must be 0 past the end of an item: then the phase stands still, as at the stock right edge."""
        voiced = (f0 > self.threshold).to(f0.dtype)[..., None]  # [B, N, 1]
        sines = sine_(self.cycles(f0).mul_(2 * math.pi)) @ (self.weight * self.amplitude)  # [B, N * hop]
        level = voiced * self.noise_std + (1 - voiced) * self.amplitude / 3
        mixed = (sines.unflatten(1, (-1, self.hop)) * voiced).flatten(1)
        hiss = (noise.unflatten(1, (-1, self.hop)) * (level * self.noise_gain)).flatten(1)
        return mixed.add_(hiss).add_(self.bias).tanh_()

    def cycles(self, f0: Tensor) -> Tensor:
        """Phase of every harmonic at every sample, [B, N * hop, harmonics], in cycles within [0, 1).

        The stock source sums the phase at frame rate and draws straight lines between frame centres,
        (i + 1/2) hop; it holds the first and the last value to the edges.
        """
        double = f0.to(torch.float64) if f0.device.type != "mps" else f0
        orders = torch.arange(1, self.harmonics + 1, device=f0.device, dtype=double.dtype)
        step = (double[..., None] * orders / self.rate).remainder(1.0) * self.hop  # [B, N, H] cycles a frame
        centre = step.cumsum(1)
        start = torch.cat([centre[:, :1], centre], 1).remainder(1.0)  # [B, N + 1, H] line starts
        slope = F.pad(step[:, 1:], (0, 0, 1, 1))  # flat before the first centre and after the last
        along = (torch.arange(self.hop, device=f0.device, dtype=f0.dtype) + 0.5) / self.hop
        lines = torch.addcmul(
            start.to(f0.dtype)[:, :, None], slope.to(f0.dtype)[:, :, None], along[:, None]
        )  # [B, N + 1, hop, H]
        lines = lines.sub_(lines.floor()).flatten(1, 2)
        half = self.hop // 2
        return lines[:, half : lines.shape[1] - (self.hop - half)]


class Stft:
    """The generator's analysis and synthesis, as two small matrix products, exact at every item's edge.

    TorchSTFT reflects at the edges and divides by the window envelope; CustomSTFT replicates and does
    not divide.
    """

    def __init__(self, module: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.size, self.hop = module.filter_length, module.hop_length
        self.custom = hasattr(module, "weight_forward_real")
        self.bins = self.size // 2 + 1
        window = module.window.detach().to("cpu", torch.float64)
        if self.custom:
            analysis = [module.weight_forward_real[:, 0].T, module.weight_forward_imag[:, 0].T]
            synthesis = [module.weight_backward_real[:, 0], -module.weight_backward_imag[:, 0]]
        else:
            analysis, synthesis = self._fourier(window)
        self.analysis = torch.cat([m.detach().to(device, dtype) for m in analysis], 1)  # [size, 2 bins]
        self.synthesis = torch.cat([m.detach().to(device, dtype) for m in synthesis], 0)  # [2 bins, size]
        self.energy = window.square().to(device, dtype)

    def _fourier(self, window: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Windowed real DFT and its inverse; DC and Nyquist have exactly no imaginary part."""
        n = torch.arange(self.size, dtype=torch.float64)
        angle = 2 * math.pi * torch.outer(n, n[: self.bins]).remainder(self.size) / self.size
        cos, sin = angle.cos(), angle.sin()
        sin[:, 0] = sin[:, self.size // 2] = 0.0
        share = torch.full((self.bins, 1), 2.0 / self.size, dtype=torch.float64)
        share[0] = share[-1] = 1.0 / self.size
        forward = [cos * window[:, None], -sin * window[:, None]]
        return forward, [share * cos.T * window, -share * sin.T * window]

    def transform(self, wave: Tensor, lengths: Lengths) -> Tensor:
        """wave [B, L] -> magnitudes and phases [B, L / hop + 1, 2 bins], zero beyond each item's end."""
        frames = self._padded(wave, lengths).unfold(1, self.size, self.hop) @ self.analysis
        real, imag = frames[..., : self.bins], frames[..., self.bins :] + 0.0  # -0 becomes 0
        floor = 1e-14 if self.custom else 0.0
        out = torch.cat([(real.square() + imag.square() + floor).sqrt(), torch.atan2(imag, real)], -1)
        return self.frames(lengths).blank_(out)

    def frames(self, lengths: Lengths) -> Lengths:
        steps = [n // self.hop + 1 for n in lengths.steps]
        return Lengths(steps, lengths.device, lengths.total // self.hop + 1)

    def _padded(self, wave: Tensor, lengths: Lengths) -> Tensor:
        half = self.size // 2
        inner = torch.arange(half, device=wave.device)
        end = lengths.tensor[:, None]
        if self.custom:
            left, right = torch.zeros_like(inner), (end - 1).expand(-1, half)
        else:
            left, right = half - inner, end - 2 - inner
        padded = F.pad(torch.cat([wave[:, left], wave], 1), (0, half))
        return padded.scatter_(1, end + half + inner, wave.gather(1, right))

    def inverse(self, magnitude: Tensor, phase: Tensor, frames: Lengths) -> Tensor:
        """Two [B, F, bins] -> wave [B, (F - 1) hop]; samples beyond an item's end are not zeroed."""
        spectrum = frames.blank_(torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], -1))
        wave = self._overlap(spectrum @ self.synthesis)
        if self.custom:
            return wave
        valid = torch.ones(1, frames.total, 1, dtype=wave.dtype, device=wave.device)
        if not frames.equal:
            valid = frames.blank_(valid.repeat(wave.shape[0], 1, 1))
        envelope = self._overlap(valid * self.energy)
        return wave.div_(envelope if frames.equal else envelope.clamp_min(1e-11))

    def _overlap(self, frames: Tensor) -> Tensor:
        """Overlap-add [B, F, size], half a frame trimmed at both ends."""
        parts = -(-self.size // self.hop)
        frames = F.pad(frames, (0, parts * self.hop - self.size)).unflatten(-1, (parts, self.hop))
        count = frames.shape[1]
        out = frames.new_zeros(frames.shape[0], count + parts - 1, self.hop)
        for part in range(parts):
            out[:, part : part + count] += frames[:, :, part]
        half = self.size // 2
        return out.flatten(1)[:, half : half + (count - 1) * self.hop]
