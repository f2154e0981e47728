"""Kokoro's layers as plain functions of [B, T, C] tensors, built once from the stock modules.

Channels lie last: AdaIN and snake then work on contiguous rows, and convolutions run in
oneDNN's and cuDNN's channels-last kernels. Weight norm is folded; so is all that can be:
the AdaIN layers of a network become one matrix (`StyleBank`), and the snake
x + sin(ax)^2 / a is computed on v = ax as v + sin(v)^2, with a in the AdaIN before it and
1/a in the convolution after it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import weight_norm as old_norm

from coconut.synthesis import ragged
from coconut.synthesis.elementwise import snake_
from coconut.synthesis.ragged import Lengths

WeightNorm = old_norm.__globals__["WeightNorm"]


def weight_of(module: nn.Module) -> Tensor:
    """The effective weight, whichever weight norm (hook or parametrization) the module carries."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            return hook.compute_weight(module).detach()
    return module.weight.detach()  # type: ignore[union-attr,operator]


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Tensor:
    """x [B, T, C], weight [C', C, 1, K] in channels-last memory -> [B, T', C']."""
    steps, pads, gaps = (1, stride), (0, padding), (1, dilation)
    x = x.transpose(1, 2).unsqueeze(2)
    if ragged.on_cpu(x) and x.dtype != torch.float64:  # F.conv2d leaves small ones to a slow kernel
        y = torch.mkldnn_convolution(x, weight, bias, pads, steps, gaps, 1)
    else:
        y = F.conv2d(x, weight, bias, steps, pads, gaps)
    return y.squeeze(2).transpose(1, 2)


def _typed(kernel: Any, x: Tensor, dtype: torch.dtype | None, *options: Any) -> Tensor:
    """kernel(x) in another dtype. Off the CPU the result stays in it: half the traffic."""
    if dtype is None or x.dtype == torch.float64:
        return kernel(x, *options)
    y = kernel(x.to(dtype), *options)
    return y.float() if ragged.on_cpu(x) else y


class Conv:
    """Conv1d on [B, T, C]. `gain` [C] multiplies its input channels."""

    def __init__(self, module: Any, gain: Tensor | None = None, dtype: torch.dtype | None = None) -> None:
        weight = weight_of(module)
        if gain is not None:
            weight = (weight.double() * gain.double()[:, None]).to(weight.dtype)
        self.dtype = dtype
        self.weight = weight.to(dtype).unsqueeze(2).contiguous(memory_format=torch.channels_last)
        self.bias = None if module.bias is None else module.bias.detach().to(dtype)
        self.shape = (module.stride[0], module.padding[0], module.dilation[0])

    def __call__(self, x: Tensor) -> Tensor:
        return _typed(convolve, x, self.dtype, self.weight, self.bias, *self.shape)


class Up:
    """ConvTranspose1d on [B, T, C]."""

    def __init__(self, module: Any, dtype: torch.dtype | None = None) -> None:
        self.dtype = dtype
        weight = weight_of(module).to(dtype).unsqueeze(2)
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.bias = None if module.bias is None else module.bias.detach().to(dtype)
        self.stride, self.padding = module.stride[0], module.padding[0]

    def __call__(self, x: Tensor) -> Tensor:
        return _typed(self._kernel, x, self.dtype)

    def _kernel(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2).unsqueeze(2)
        y = F.conv_transpose2d(x, self.weight, self.bias, (1, self.stride), (0, self.padding))
        return y.squeeze(2).transpose(1, 2)


class Pool:
    """The depthwise ConvTranspose1d(3, stride 2, padding 1, output padding 1) of an upsampling block.

    y[2t] = w1 x[t], y[2t+1] = w2 x[t] + w0 x[t+1], each plus the bias; x is 0 past its end.
    """

    def __init__(self, module: Any) -> None:
        self.taps = weight_of(module)[:, 0].T.contiguous()  # [3, C]
        self.bias = module.bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        y = x.new_empty(x.shape[0], x.shape[1], 2, x.shape[2])
        torch.addcmul(self.bias, x, self.taps[1], out=y[:, :, 0])
        torch.addcmul(self.bias, x, self.taps[2], out=y[:, :, 1])
        y[:, :-1, 1].addcmul_(x[:, 1:], self.taps[0])
        return y.flatten(1, 2)


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

    def __call__(
        self, x: Tensor, styles: Tensor, lengths: Lengths, moments: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """x [B, T, C], styles [B, width] -> [B, T, C]. `moments` of x, if they are known already."""
        mean, var = lengths.moments(x) if moments is None else moments
        scale = styles[:, None, self.scale] * (var + self.eps).rsqrt()
        shift = torch.addcmul(styles[:, None, self.shift], mean, scale, value=-1.0)
        return torch.addcmul(shift, x, scale)


class ResBlock:
    """Kokoro's AdainResBlk1d: two AdaIN, leaky ReLU, convolutions; optionally twice the rate."""

    def __init__(self, module: Any, bank: StyleBank) -> None:
        self.norm1, self.norm2 = bank.add(module.norm1), bank.add(module.norm2)
        self.conv1, self.conv2 = Conv(module.conv1), Conv(module.conv2)
        self.shortcut = Conv(module.conv1x1) if module.learned_sc else None
        self.upsample = module.upsample_type != "none"
        self.pool = Pool(module.pool) if self.upsample else None

    def __call__(self, x: Tensor, styles: Tensor, lengths: Lengths) -> Tensor:
        v = lengths.blank_(F.leaky_relu_(self.norm1(x, styles, lengths), 0.2))
        if self.pool is not None:
            lengths = lengths.times(2)
            v = lengths.blank_(self.pool(v))
            x = x.repeat_interleave(2, dim=1)
        v = self.conv1(v)
        v = self.conv2(lengths.blank_(F.leaky_relu_(self.norm2(v, styles, lengths), 0.2)))
        return v.add_(x if self.shortcut is None else self.shortcut(x)).mul_(2.0**-0.5)


def adain_snake(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    eps: float,
    padding: Tensor | None,
    count: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """AdaIN and snake of x [B, T, C] as one expression that a compiler can fuse; 0 where `padding`."""
    x = x.to(scale.dtype)
    if padding is None or count is None:
        var, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
    else:
        mean = x.masked_fill(padding, 0.0).sum(1, keepdim=True) / count
        var = (x - mean).masked_fill(padding, 0.0).square().sum(1, keepdim=True) / count
    v = (x - mean) * (scale * (var + eps).rsqrt()) + shift
    v = v + v.sin().square()
    return (v if padding is None else v.masked_fill(padding, 0.0)).to(dtype)


class SnakeBlock:
    """Kokoro's AdaINResBlock1: dilated residual convolutions after AdaIN and snake.

    `fused` is `adain_snake`, compiled or not; on CPU, where nothing can be compiled, the same is
    done by single calls of vectorised kernels.
    """

    def __init__(
        self, module: Any, bank: StyleBank, dtype: torch.dtype | None = None, fused: Any = adain_snake
    ) -> None:
        self.dtype, self.fused = dtype, fused
        self.layers = []
        stages = zip(module.convs1, module.convs2, module.adain1, module.adain2, strict=True)
        for (c1, c2, n1, n2), a1, a2 in zip(stages, module.alpha1, module.alpha2, strict=True):
            a, b = a1.detach().flatten(), a2.detach().flatten()
            first = (bank.add(n1, a), Conv(c1, 1 / a.double(), dtype))
            self.layers.append((*first, bank.add(n2, b), Conv(c2, 1 / b.double(), dtype)))

    def __call__(
        self, x: Tensor, styles: Tensor, lengths: Lengths, moments: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        for norm1, conv1, norm2, conv2 in self.layers:
            v = conv1(self._activate(norm1, x, styles, lengths, moments))
            v = conv2(self._activate(norm2, v, styles, lengths))
            x, moments = (v.add_(x) if v.dtype == x.dtype else x + v), None
        return x

    def _activate(
        self,
        norm: AdaIN,
        x: Tensor,
        styles: Tensor,
        lengths: Lengths,
        moments: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        if ragged.on_cpu(x):
            return lengths.blank_(snake_(norm(x, styles, lengths, moments)))
        scale, shift = styles[:, None, norm.scale], styles[:, None, norm.shift]
        padding, count = (None, None) if lengths.equal else (lengths.padding, lengths.tensor[:, None, None])
        return self.fused(x, scale, shift, norm.eps, padding, count, self.dtype or x.dtype)
