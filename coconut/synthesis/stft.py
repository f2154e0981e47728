"""The generator's short-time transform and its inverse, exact at the edges of every item of a batch.

With the wave cut into blocks of one hop, both are convolutions over blocks: a frame is a weighted
sum of `parts` neighbouring blocks, a block a weighted sum of `parts` neighbouring frames. Formulas:
kokoro/istftnet.py, TorchSTFT (reflects at the edges, divides by the window envelope) and
kokoro/custom_stft.py, CustomSTFT (replicates, does not divide).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coconut.synthesis import elementwise
from coconut.synthesis.convolution import convolve
from coconut.synthesis.ragged import Lengths


class Stft:
    def __init__(self, module: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.size, self.hop = module.filter_length, module.hop_length
        self.half, self.parts = self.size // 2, -(-self.size // self.hop)
        self.custom = hasattr(module, "weight_forward_real")
        window = module.window.detach().to("cpu", torch.float64)
        if self.custom:
            analysis = torch.stack([module.weight_forward_real[:, 0], module.weight_forward_imag[:, 0]])
            synthesis = torch.cat([module.weight_backward_real[:, 0], -module.weight_backward_imag[:, 0]])
        else:
            analysis, synthesis = self._fourier(window)
        self.real, self.imag = (self._by_blocks(m).to(device, dtype) for m in analysis.detach())
        synthesis = self._by_blocks(synthesis.detach().to("cpu", torch.float64))  # [2 bins, hop, 1, parts]
        self.edge: tuple[Tensor, Tensor] | None = None
        if not self.custom:
            envelope = self._by_blocks(window.square()[None]).sum(-1).flatten()  # [hop], away from the edges
            synthesis = synthesis / envelope[:, None, None]
            self.edge = self._edges(window.square(), envelope, device, dtype)
        flipped = synthesis.transpose(0, 1).flip(-1).to(device, dtype)
        self.synthesis = flipped.contiguous(memory_format=torch.channels_last)  # [hop, 2 bins, 1, parts]

    def _fourier(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Windowed real DFT and its inverse; DC and Nyquist have exactly no imaginary part."""
        bins = self.half + 1
        n = torch.arange(self.size, dtype=torch.float64)
        angle = 2 * math.pi * torch.outer(n[:bins], n).remainder(self.size) / self.size
        cos, sin = angle.cos(), angle.sin()
        sin[0] = sin[self.half] = 0.0
        share = torch.full((bins, 1), 2.0 / self.size, dtype=torch.float64)
        share[0] = share[-1] = 1.0 / self.size
        return torch.stack([cos, -sin]) * window, torch.cat([share * cos, -share * sin]) * window

    def _by_blocks(self, matrix: Tensor) -> Tensor:
        """[N, size] -> [N, hop, 1, parts], channels last."""
        padded = F.pad(matrix, (0, self.parts * self.hop - self.size))
        blocks = padded.unflatten(1, (self.parts, self.hop)).transpose(1, 2).unsqueeze(2)
        return blocks.contiguous(memory_format=torch.channels_last)

    def _edges(
        self, energy: Tensor, envelope: Tensor, device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Gains of the first and the last samples, where fewer frames overlap than elsewhere."""
        count = 4 * self.parts
        total = torch.zeros(count * self.hop + self.size, dtype=torch.float64)
        for frame in range(count):
            total[frame * self.hop : frame * self.hop + self.size] += energy
        total = total[self.half : self.half + (count - 1) * self.hop]
        phase = (torch.arange(len(total)) + self.half) % self.hop
        gain = (envelope[phase] / total).to(device, dtype)
        return gain[: self.half], gain[-self.half :]

    def transform(self, wave: Tensor, lengths: Lengths) -> Tensor:
        """wave [B, L] -> magnitudes and phases [B, L / hop + 1, 2 bins], zero beyond each item's end."""
        blocks = self._padded(wave, lengths).unflatten(1, (-1, self.hop))
        real, imag = convolve(blocks, self.real, None), convolve(blocks, self.imag, None)
        phase = elementwise.atan2(imag.add_(0.0), real)  # -0 becomes 0
        power = real * real + imag * imag if wave.requires_grad else real.square_().addcmul_(imag, imag)
        magnitude = (power.add_(1e-14) if self.custom else power).sqrt_()
        return self.frames(lengths).blank_(torch.cat([magnitude, phase], -1))

    def frames(self, lengths: Lengths) -> Lengths:
        return lengths.blocks(self.hop)

    def _padded(self, wave: Tensor, lengths: Lengths) -> Tensor:
        """Half a frame more at both ends of every item; whole blocks."""
        inner = torch.arange(self.half, device=wave.device)
        end = lengths.tensor[:, None]
        if self.custom:
            left, right = torch.zeros_like(inner), (end - 1).expand(-1, self.half)
        else:
            left, right = self.half - inner, end - 2 - inner
        blocks = lengths.total // self.hop + self.parts
        padded = wave.new_zeros(len(wave), blocks * self.hop)
        padded[:, : self.half] = wave[:, left]
        padded[:, self.half : self.half + wave.shape[1]] = wave
        return padded.scatter_(1, end + self.half + inner, wave.gather(1, right))

    def inverse(self, magnitude: Tensor, phase: Tensor, frames: Lengths) -> Tensor:
        """Magnitude and phase [B, F, bins] -> wave [B, (F - 1) hop], undefined beyond an item's end."""
        real = elementwise.cos(phase).mul_(magnitude)
        imag = elementwise.sin(phase).mul_(magnitude)
        spectrum = frames.blank_(torch.cat([real, imag], -1))
        blocks = convolve(spectrum, self.synthesis, None, padding=self.parts - 1)  # [B, F + parts - 1, hop]
        wave = blocks.flatten(1)[:, self.half : self.half + (frames.total - 1) * self.hop]
        if self.edge is None:
            return wave
        head, tail = self.edge
        wave[:, : self.half] *= head
        last = frames.tensor[:, None] * self.hop - self.hop - self.half + torch.arange(self.half, device=wave.device)
        return wave.scatter(1, last, wave.gather(1, last) * tail)
