"""The acoustic half: aligned text, F0 and energy -> waveform.

A walk over the stock decoder's and generator's own submodules (kokoro/istftnet.py) for many items
at once. Reads only dims 0:128 of a style vector. Steps along the way, for T frames: T, 2T, then
the product of the upsampling rates, one more after the last of them, and 600 T samples.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coconut.synthesis import elementwise, ragged
from coconut.synthesis.convolution import Conv, Up
from coconut.synthesis.kernels import ADD, BLEND, ends
from coconut.synthesis.layers import ResBlock, SnakeBlock, StyleBank, apart
from coconut.synthesis.precision import Precision, tensor_cores
from coconut.synthesis.ragged import Lengths
from coconut.synthesis.source import SineSource
from coconut.synthesis.stft import Stft


class Acoustics:
    """The stock Decoder, for batches of any lengths."""

    def __init__(self, decoder: Any, precision: Precision | None = None) -> None:
        precision = precision or Precision("exact")
        self.bank = StyleBank()
        self.f0_conv, self.energy_conv = Conv(decoder.F0_conv), Conv(decoder.N_conv)
        self.text = Conv(decoder.asr_res[0])
        self.encode = ResBlock(decoder.encode, self.bank)
        self.decode = [ResBlock(block, self.bank) for block in decoder.decode]
        self.generator = Generator(decoder.generator, self.bank, precision)
        self.bank.close()
        self.samples_per_frame = 2 * self.generator.source.hop

    def __call__(
        self,
        text: Tensor,
        f0: Tensor,
        energy: Tensor,
        styles: Tensor,
        noise: Tensor,
        lengths: Lengths,
        pitch: Tensor | None = None,
    ) -> Tensor:
        """text [B, T, H], f0 and energy [B, 2T], styles [B, 128], noise [B, 600 T] -> wave [B, 600 T].

        f0 must be 0 past an item's end. What the wave holds there is undefined. `pitch` is what the
        source follows, f0 unless told otherwise: f0 without its gradient, for one.
        """
        projected = self.bank(styles)
        double = lengths.times(2)
        contours = [
            self.f0_conv(f0[..., None]),
            self.energy_conv(double.blank_(energy[..., None].clone())),
        ]
        x = self.encode(torch.cat([text, *contours], -1), projected, lengths)
        side = [self.text(text), *contours]
        for block in self.decode:
            x = block(torch.cat([x, *side], -1), projected, lengths)
        return self.generator(x, f0 if pitch is None else pitch, projected, noise, double)


class Generator:
    """The stock iSTFTNet generator."""

    def __init__(self, module: Any, bank: StyleBank, precision: Precision) -> None:
        weight = module.m_source.l_linear.weight
        self.source = SineSource(module.m_source)
        self.stft = Stft(module.stft, weight.dtype, weight.device)
        self.rates = [up.stride[0] for up in module.ups]
        dtype = precision.convolutions
        self.ups = [Up(up, dtype) for up in module.ups]
        self.noise_convs = [Conv(conv) for conv in module.noise_convs]
        self.noise_blocks = [SnakeBlock(block, bank, dtype) for block in module.noise_res]
        blocks = [SnakeBlock(block, bank, dtype) for block in module.resblocks]
        kernels = module.num_kernels
        self.blocks = [blocks[i : i + kernels] for i in range(0, len(blocks), kernels)]
        self.post = Conv(module.conv_post)
        self.bins = module.post_n_fft // 2 + 1

    def __call__(self, x: Tensor, f0: Tensor, styles: Tensor, noise: Tensor, lengths: Lengths) -> Tensor:
        """x [B, N, C], f0 [B, N] (N = 2T), noise [B, 300 N] -> wave [B, 300 N]."""
        wave_lengths = lengths.times(self.source.hop)
        with tensor_cores(x.device, False):
            har = self.stft.transform(self.source(f0, noise), wave_lengths)
        last = len(self.ups) - 1
        x = lengths.blank_(F.leaky_relu_(x, 0.1))
        for i, up in enumerate(self.ups):
            single = apart(x, styles)
            x = up(x) if single else up.bare(x)
            lengths = lengths.times(self.rates[i], extra=int(i == last))
            if i == last:
                x = torch.cat([x[:, 1:2], x], 1)  # ReflectionPad1d((1, 0))
            blocks = self._one_by_one if single else self._fused
            x = blocks(i, x, self.noise_convs[i](har), styles, lengths, 0.01 if i == last else 0.1)
        x = self.post(x)
        magnitude, phase = x[..., : self.bins].contiguous(), x[..., self.bins :].contiguous()
        magnitude, phase = elementwise.exp(magnitude, out=magnitude), elementwise.sin(phase, out=phase)
        with tensor_cores(x.device, False):
            return self.stft.inverse(magnitude, phase, lengths)

    def _one_by_one(self, i: int, x: Tensor, noise: Tensor, styles: Tensor, lengths: Lengths, slope: float) -> Tensor:
        """Stage i: blocks of the noise and of x [B, T, C], and the leaky ReLU of what follows; 0 past the end."""
        x = self.noise_blocks[i](noise, styles, lengths).add_(x)
        moments = lengths.moments(x) if ragged.on_cpu(x) else None
        first, *others = self.blocks[i]
        total = first(x, styles, lengths, moments)
        for block in others:
            total.add_(block(x, styles, lengths, moments))
        return lengths.blank_(F.leaky_relu_(total.div_(len(self.blocks[i])), slope))

    def _fused(self, i: int, x: Tensor, noise: Tensor, styles: Tensor, lengths: Lengths, slope: float) -> Tensor:
        """The same with sums, means, moments and activation in as few passes as there can be; x lacks its bias."""
        steps = ends(lengths)
        terms, bias = self.noise_blocks[i].terms(noise, styles, lengths)
        x, moments = ADD([x, *terms], bias + self.ups[i].bias, steps)
        total: list[Tensor] = []
        for block in self.blocks[i]:
            terms, bias = block.terms(x, styles, lengths, moments)
            share = (1 / len(self.blocks[i]), slope) if block is self.blocks[i][-1] else (1.0, 1.0)
            total = [BLEND([*total, *terms], bias, *share, steps)]
        return total[0]
