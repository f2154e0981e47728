"""Kokoro's layers as plain functions of [B, T, C] tensors, built once from the stock modules.

Channels lie last: AdaIN and snake then work on contiguous rows, and convolutions run in
oneDNN's and cuDNN's channels-last kernels. Weight norm is folded; so is all that can be:
the AdaIN layers of a network become one matrix (`StyleBank`), and the snake
x + sin(ax)^2 / a is computed on v = ax as v + sin(v)^2, with a in the AdaIN before it and
1/a in the convolution after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from coconut.synthesis import ragged
from coconut.synthesis.convolution import Conv, Pool
from coconut.synthesis.elementwise import snake_
from coconut.synthesis.kernels import ACTIVATE, ADD, BLEND, MOMENTS, ends
from coconut.synthesis.ragged import Lengths
from coconut.synthesis.taped import AdainSnake

TAPED = 1 << 26  # bytes that a block may leave on the tape; a larger one is computed again on the way back
TILE = 1 << 20  # elements of a stretch of time on a CPU, measured: 2^16 to 2^22; what is done to it stays in cache


class StyleBank:
    """All style projections of a network in one matrix: [B, style_dim] -> [B, sum of 2C].

    AdaIN is (1 + gamma) (w x^ + b) + beta with x^ = (x - mean) / std; as a function of x^ that is
    an affine map whose two coefficients are affine in the style. An optional gain [C] multiplies it.
    """

    def __init__(self) -> None:
        self.blocks: list[tuple[Tensor, Tensor]] = []
        self.width = 0

    def add(self, adain: Any, gain: Tensor | None = None) -> AdaIN:
        channels = adain.norm.num_features
        weight, bias = adain.fc.weight.detach().double(), adain.fc.bias.detach().double()
        w, b = torch.ones_like(bias[:channels]), torch.zeros_like(bias[:channels])
        if adain.norm.affine:
            w, b = adain.norm.weight.detach().double(), adain.norm.bias.detach().double()
        a = w if gain is None else w * gain.double()
        d = b if gain is None else b * gain.double()
        k = torch.ones_like(w) if gain is None else gain.double()
        gamma, beta = weight[:channels], weight[channels:]
        scale = (gamma * a[:, None], (1 + bias[:channels]) * a)
        shift = (gamma * d[:, None] + beta * k[:, None], (1 + bias[:channels]) * d + bias[channels:] * k)
        dtype = adain.fc.weight.dtype
        self.blocks.append((torch.cat([scale[0], shift[0]]).to(dtype), torch.cat([scale[1], shift[1]]).to(dtype)))
        self.width += 2 * channels
        return AdaIN(self.width - 2 * channels, channels, adain.norm.eps)

    def close(self) -> None:
        self.weight = torch.cat([w for w, _ in self.blocks])
        self.bias = torch.cat([b for _, b in self.blocks])
        self.blocks.clear()

    def __call__(self, style: Tensor) -> Tensor:
        return F.linear(style, self.weight, self.bias)


class AdaIN:
    """Adaptive instance norm over the valid steps; its coefficients are columns of the style bank."""

    def __init__(self, offset: int, channels: int, eps: float) -> None:
        self.scale = slice(offset, offset + channels)
        self.shift = slice(offset + channels, offset + 2 * channels)
        self.eps = eps

    def __call__(self, x: Tensor, styles: Tensor, lengths: Lengths) -> Tensor:
        """x [B, T, C], styles [B, width] -> [B, T, C]."""
        scale, shift = self.line(x, styles, lengths)
        return torch.addcmul(shift, x, scale)

    def line(
        self, x: Tensor, styles: Tensor, lengths: Lengths, moments: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Scale and shift [B, 1, C] that make up the layer for x. `moments` of x, if they are known already."""
        mean, var = lengths.moments(x) if moments is None else moments
        scale = styles[:, None, self.scale] * (var + self.eps).rsqrt()
        return scale, torch.addcmul(styles[:, None, self.shift], mean, scale, value=-1.0)

    def active(
        self,
        x: Tensor,
        styles: Tensor,
        lengths: Lengths,
        slope: float | None,
        moments: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """The layer and what follows it, as few passes over x [B, T, C]: leaky ReLU, or snake where there is no slope.

        0 past an item's end. `moments` of x [B, 2, C], if they are known already.
        """
        steps = ends(lengths)
        moments = MOMENTS(x, steps) if moments is None else moments
        scale, shift = styles[:, None, self.scale], styles[:, None, self.shift]
        return ACTIVATE(x, moments, scale, shift, self.eps, slope, steps, dtype or x.dtype)


def apart(x: Tensor, styles: Tensor) -> bool:
    """Whether a block is computed by torch's single operations: on a CPU, where its stretches stay in cache, and
    on a tape. Elsewhere kernels do several at once."""
    return ragged.on_cpu(x) or x.requires_grad or styles.requires_grad


class ResBlock:
    """Kokoro's AdainResBlk1d: two AdaIN, leaky ReLU, convolutions; optionally twice the rate."""

    def __init__(self, module: Any, bank: StyleBank) -> None:
        self.norm1, self.norm2 = bank.add(module.norm1), bank.add(module.norm2)
        self.conv1, self.conv2 = Conv(module.conv1), Conv(module.conv2)
        self.shortcut = Conv(module.conv1x1) if module.learned_sc else None
        self.upsample = module.upsample_type != "none"
        self.pool = Pool(module.pool) if self.upsample else None

    def __call__(self, x: Tensor, styles: Tensor, lengths: Lengths) -> Tensor:
        v = self._leaky(self.norm1, x, styles, lengths)
        if self.pool is not None:
            lengths = lengths.times(2)
            v = lengths.blank_(self.pool(v))
            x = x.repeat_interleave(2, dim=1)
        single = apart(x, styles)
        conv1, conv2 = (self.conv1, self.conv2) if single else (self.conv1.bare, self.conv2.bare)
        v = conv2(self._leaky(self.norm2, conv1(v), styles, lengths))
        x = x if self.shortcut is None else self.shortcut(x)
        if single:
            return v.add_(x).mul_(2.0**-0.5)
        return BLEND([v, x], self.conv2.bias, 2.0**-0.5, 1.0, ends(lengths))

    @staticmethod
    def _leaky(norm: AdaIN, x: Tensor, styles: Tensor, lengths: Lengths) -> Tensor:
        if apart(x, styles):
            return lengths.blank_(F.leaky_relu_(norm(x, styles, lengths), 0.2))
        return norm.active(x, styles, lengths, slope=0.2)


class SnakeBlock:
    """Kokoro's AdaINResBlock1: dilated residual convolutions after AdaIN and snake.

    On a CPU that is done one stretch of time after another. On a tape, a block of long audio keeps its input
    alone and is computed again on the way back (Chen et al., arXiv:1604.06174).
    """

    def __init__(self, module: Any, bank: StyleBank, dtype: torch.dtype | None = None) -> None:
        self.dtype = dtype
        self.layers = []
        stages = zip(module.convs1, module.convs2, module.adain1, module.adain2, strict=True)
        for (c1, c2, n1, n2), a1, a2 in zip(stages, module.alpha1, module.alpha2, strict=True):
            a, b = a1.detach().flatten(), a2.detach().flatten()
            first = (bank.add(n1, a), Conv(c1, 1 / a.double(), dtype))
            self.layers.append((*first, bank.add(n2, b), Conv(c2, 1 / b.double(), dtype)))

    def __call__(
        self, x: Tensor, styles: Tensor, lengths: Lengths, moments: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        if ragged.on_cpu(x) and ragged.on_cpu(styles):
            return self._in_stretches(x, styles, lengths, moments)
        if styles.requires_grad and 4 * len(self.layers) * x.nbytes > TAPED:
            return checkpoint(self._whole, x, styles, lengths, use_reentrant=False, preserve_rng_state=False)
        return self._whole(x, styles, lengths)

    def _whole(self, x: Tensor, styles: Tensor, lengths: Lengths) -> Tensor:
        for norm1, conv1, norm2, conv2 in self.layers:
            v = conv1(self._active(norm1, x, styles, lengths))
            v = conv2(self._active(norm2, v, styles, lengths))
            x = v.add_(x) if v.dtype == x.dtype else x + v
        return x

    def terms(
        self, x: Tensor, styles: Tensor, lengths: Lengths, moments: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """The two tensors and the bias that the block is the sum of, for who adds more to them.

        `moments` of x [B, 2, C], if they are known. A first convolution has no bias here: the norm behind it takes
        away the mean, and the bias with it.
        """
        found: list[Tensor] = []
        for k, (norm1, conv1, norm2, conv2) in enumerate(self.layers):
            if k:
                x, moments = ADD(found, self.layers[k - 1][3].bias, ends(lengths))
            v = conv1.bare(norm1.active(x, styles, lengths, None, moments, self.dtype))
            found = [x, conv2.bare(norm2.active(v, styles, lengths, None, None, self.dtype))]
        return found, self.layers[-1][3].bias

    def _active(self, norm: AdaIN, x: Tensor, styles: Tensor, lengths: Lengths) -> Tensor:
        if styles.requires_grad and lengths.equal:
            scale, shift = styles[:, None, norm.scale], styles[:, None, norm.shift]
            return AdainSnake.apply(x, scale, shift, norm.eps).to(self.dtype or x.dtype)
        return norm.active(x, styles, lengths, None, None, self.dtype)

    def _in_stretches(
        self, x: Tensor, styles: Tensor, lengths: Lengths, moments: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        v, y = torch.empty_like(x), torch.empty_like(x)
        for norm1, conv1, norm2, conv2 in self.layers:
            line = norm1.line(x, styles, lengths, moments)
            for start, stop, found in stretches(x, line, conv1, lengths):
                v[:, start:stop] = found
            for start, stop, found in stretches(v, norm2.line(v, styles, lengths), conv2, lengths):
                torch.add(found, x[:, start:stop], out=y[:, start:stop])
            x, moments = y, None
        return x


def stretches(
    x: Tensor, line: tuple[Tensor, Tensor], conv: Conv, lengths: Lengths
) -> Iterator[tuple[int, int, Tensor]]:
    """conv(snake(scale x + shift)) of x [B, T, C] as (start, stop, [B, stop - start, C'])."""
    scale, shift = line
    total, count = x.shape[1], -(-x.numel() // TILE)
    step = -(-total // (count * conv.grain)) * conv.grain
    for start in range(0, total, step):
        stop = min(start + step, total)
        size = -(-(stop - start) // conv.grain) * conv.grain
        first, last = start - conv.lead, start - conv.lead + size + conv.reach
        low, high = max(first, 0), min(last, total)
        a = snake_(torch.addcmul(shift, x[:, low:high], scale))
        for item, n in zip(a, lengths.steps, strict=True):
            item[max(n - low, 0) :] = 0.0
        yield start, stop, conv.valid(F.pad(a, (0, 0, low - first, last - high)))[:, : stop - start]
