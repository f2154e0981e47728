"""AdaIN and snake as one function with a gradient of its own, which keeps of a layer its input alone.

Step by step a tape would hold five tensors of the size of that input, and there are 48 such layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coconut.synthesis import elementwise, ragged
from coconut.synthesis.kernels import ACTIVATE, MOMENTS, Kernel


class AdainSnake(torch.autograd.Function):
    """x [B, T, C], scale and shift [B, 1, C], eps -> v + sin(v)^2 with v = scale (x - mean) / std + shift.

    Mean and variance are those over time. With g = dL/dv, n = (x - mean) / std and h = scale g,
    dL/dx = (h - mean(h) - n mean(h n)) / std, as of any instance norm.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
        x = x.to(scale.dtype)
        if MOMENTS.serves((x,)):
            moments = MOMENTS(x, None)
            mean, inverse = moments[:, :1], (moments[:, 1:] + eps).rsqrt()
            y = ACTIVATE(x, moments, scale, shift, eps, None, None, x.dtype)
        else:
            var, mean = ragged.var_mean(x)
            inverse = (var + eps).rsqrt()
            y = elementwise.snake_(((x - mean) * inverse).mul_(scale).add_(shift))
        ctx.save_for_backward(x, scale, shift, mean, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        x, scale, shift, mean, inverse = ctx.saved_tensors
        return *SLOPES(x, outer[0], mean, inverse, scale, shift), None


def _slopes(
    x: Tensor, outer: Tensor, mean: Tensor, inverse: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    n = (x - mean).mul_(inverse)
    slope = torch.addcmul(shift, n, scale).mul_(2)
    slope = elementwise.sin(slope, out=slope).add_(1).mul_(outer.to(x.dtype))
    along = (slope * n).sum(1, keepdim=True)
    total = slope.sum(1, keepdim=True)
    h = slope.sub_(total / x.shape[1]).sub_(n.mul_(along / x.shape[1])).mul_(scale * inverse)
    return h, along, total


def _example(device: torch.device) -> tuple:
    x, outer = (torch.arange(6000.0, device=device).view(2, 2, 300, 5) * 0.7).sin()
    return x, outer, x[:, :1], x[:, 1:2] + 2, x[:, 2:3], x[:, 3:4]


SLOPES = Kernel(  # of what AdainSnake gives, by its gradient `outer`: the gradients by x, scale and shift
    "slopes(Tensor x, Tensor outer, Tensor mean, Tensor inverse, Tensor scale, Tensor shift)"
    " -> (Tensor, Tensor, Tensor)",
    _slopes,
    _example,
    launches=3,
)
