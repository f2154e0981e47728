"""Kokoro's convolutions on [B, T, C] tensors, weight norm folded, channels last in memory.

On a CPU arithmetic is the limit, so long kernels over many channels are computed with fewer
multiplications. In M interleaved sequences x_i[n] = x[M n + i], a convolution is a Toeplitz matrix
of convolutions with the M interleaved parts of the kernel. Cut in halves it takes three in place
of four,

    y0 = h0 (x0 - x1) + (h0 + h1) x1,    y1 = h1 (x2 - x1) + (h0 + h1) x1,

and with M = 4, done twice, 9 of 16. Only sums are added, and float32 is as accurate as before.
Mou and Duhamel, "Short-length FIR filters and their use in fast nonrecursive filtering", 1991.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import weight_norm as old_norm

from coconut.synthesis import ragged

PARTS = 4
LONG = 7  # taps from which on the fast form pays, and taps times channels: measured
WIDE = 1024

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
    """Conv1d on [B, T, C]. `gain` [C] multiplies its input channels.

    `valid` computes a stretch of it: the outputs from t on read the inputs from t - `lead` on, `reach`
    more than there are outputs, whose number must be a multiple of `grain`.
    """

    def __init__(self, module: Any, gain: Tensor | None = None, dtype: torch.dtype | None = None) -> None:
        weight = weight_of(module)
        if gain is not None:
            weight = (weight.double() * gain.double()[:, None]).to(weight.dtype)
        self.dtype = dtype
        self.bias: Any = None if module.bias is None else module.bias.detach().to(dtype)
        stride, padding, dilation = module.stride[0], module.padding[0], module.dilation[0]
        self.shape = (stride, padding, dilation)
        taps, self.lead = weight.shape[-1], padding
        self.grain, self.reach = 1, (taps - 1) * dilation
        self.short: Short | None = None
        if ragged.on_cpu(weight) and dtype is None and stride == 1 and taps >= LONG and taps * weight.shape[1] >= WIDE:
            self.grain = PARTS * dilation
            self.reach = -(-taps // PARTS) * self.grain
            self.short = split([weight[..., i::PARTS].double() for i in range(PARTS)], weight.dtype)
        else:
            self.weight = channels_last(weight.to(dtype))

    def __call__(self, x: Tensor) -> Tensor:
        if self.short is None:
            return _typed(convolve, x, self.dtype, self.weight, self.bias, *self.shape)
        taken = -(-x.shape[1] // self.grain) * self.grain
        room = F.pad(x, (0, 0, self.lead, taken + self.reach - self.lead - x.shape[1]))
        return self.valid(room)[:, : x.shape[1]]

    def bare(self, x: Tensor) -> Tensor:
        """Without the bias, which takes cuDNN's convolutions another pass: for who adds it on the way, or cancels it.

        Not of convolutions in the fast form.
        """
        return _typed(convolve, x, self.dtype, self.weight, None, *self.shape)

    def valid(self, x: Tensor) -> Tensor:
        """x [B, T + reach, C] -> [B, T, C']."""
        dilation = self.shape[2]
        if self.short is None:
            return _typed(convolve, x, self.dtype, self.weight, self.bias, 1, 0, dilation)
        rows = x.unflatten(1, (-1, PARTS, dilation))
        steps = (x.shape[1] - self.reach) // self.grain
        ends = rows.shape[1] - 1
        parts = [rows[:, i // PARTS : i // PARTS + ends, i % PARTS].flatten(1, 2) for i in range(2 * PARTS - 1)]
        found = shorter(parts, self.short, self.bias, steps * dilation, dilation)
        return torch.stack([y.unflatten(1, (steps, dilation)) for y in found], 2).flatten(1, 3)


Short = Any  # a weight, or three of these: for x0 - x1, x1 and x2 - x1


def split(taps: list[Tensor], dtype: torch.dtype) -> Short:
    """M interleaved parts of a kernel, each [C', C, K_i] -> the weights of the short convolutions."""
    if len(taps) == 1:
        return channels_last(taps[0].to(dtype))
    half = len(taps) // 2
    longest = max(h.shape[-1] for h in taps)
    same = [F.pad(h, (0, longest - h.shape[-1])) for h in taps]
    both = [same[i] + same[i + half] for i in range(half)]
    return split(taps[:half], dtype), split(both, dtype), split(taps[half:], dtype)


def shorter(x: list[Tensor], short: Short, bias: Tensor | None, steps: int, dilation: int) -> list[Tensor]:
    """The M interleaved outputs [B, steps, C'] of 2 M - 1 interleaved inputs [B, T, C]."""
    if len(x) == 1:
        needed = steps + (short.shape[-1] - 1) * dilation
        return [convolve(x[0][:, :needed], short, bias, dilation=dilation)]
    half = (len(x) + 1) // 4
    x0, x1, x2 = (x[half * i : half * i + 2 * half - 1] for i in range(3))
    middle = shorter(x1, short[1], bias, steps, dilation)
    first = shorter([a - b for a, b in zip(x0, x1, strict=True)], short[0], None, steps, dilation)
    second = shorter([a - b for a, b in zip(x2, x1, strict=True)], short[2], None, steps, dilation)
    return [y.add_(z) for y, z in zip(first + second, middle + middle, strict=True)]


def channels_last(weight: Tensor) -> Tensor:
    """[C', C, K] -> [C', C, 1, K]."""
    return weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)


class Up:
    """ConvTranspose1d on [B, T, C]."""

    def __init__(self, module: Any, dtype: torch.dtype | None = None) -> None:
        self.dtype = dtype
        self.weight = channels_last(weight_of(module).to(dtype))
        self.bias: Any = None if module.bias is None else module.bias.detach().to(dtype)
        self.stride, self.padding = module.stride[0], module.padding[0]

    def __call__(self, x: Tensor) -> Tensor:
        return _typed(self._kernel, x, self.dtype, self.bias)

    def bare(self, x: Tensor) -> Tensor:
        """Without the bias, as of `Conv`."""
        return _typed(self._kernel, x, self.dtype, None)

    def _kernel(self, x: Tensor, bias: Tensor | None) -> Tensor:
        x = x.transpose(1, 2).unsqueeze(2)
        y = F.conv_transpose2d(x, self.weight, bias, (1, self.stride), (0, self.padding))
        return y.squeeze(2).transpose(1, 2)


class Pool:
    """The depthwise ConvTranspose1d(3, stride 2, padding 1, output padding 1) of an upsampling block.

    y[2t] = w1 x[t], y[2t+1] = w2 x[t] + w0 x[t+1], each plus the bias; x is 0 past its end.
    """

    def __init__(self, module: Any) -> None:
        self.taps = weight_of(module)[:, 0].T.contiguous()  # [3, C]
        self.bias = module.bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            odd = x * self.taps[2] + F.pad(x[:, 1:], (0, 0, 0, 1)) * self.taps[0]
            return torch.stack([x * self.taps[1], odd], 2).add(self.bias).flatten(1, 2)
        y = x.new_empty(x.shape[0], x.shape[1], 2, x.shape[2])
        torch.addcmul(self.bias, x, self.taps[1], out=y[:, :, 0])
        torch.addcmul(self.bias, x, self.taps[2], out=y[:, :, 1])
        y[:, :-1, 1].addcmul_(x[:, 1:], self.taps[0])
        return y.flatten(1, 2)
