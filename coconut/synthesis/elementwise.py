"""Sines and the like. On a CPU with few threads numpy's vectorised float32 loops do them.

Both are accurate to a few units in the last place; on one thread numpy takes a third of torch's
time (0.4 ns against 1.0 for a sine, 0.2 against 2.3 for tanh), from three threads on torch wins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from coconut.synthesis import ragged


def _numpy(x: Tensor) -> bool:
    return ragged.on_cpu(x) and x.dtype == torch.float32 and torch.get_num_threads() <= 2


def _map(x: Tensor, out: Tensor | None, loop: Any, kernel: Any) -> Tensor:
    if x.requires_grad:
        return kernel(x)
    if not _numpy(x):
        return kernel(x, out=out)
    out = torch.empty_like(x) if out is None else out
    with np.errstate(all="ignore"):
        loop(x.numpy(), out=out.numpy())
    return out


def sin(x: Tensor, out: Tensor | None = None) -> Tensor:
    return _map(x, out, np.sin, torch.sin)


def cos(x: Tensor, out: Tensor | None = None) -> Tensor:
    return _map(x, out, np.cos, torch.cos)


def exp(x: Tensor, out: Tensor | None = None) -> Tensor:
    return _map(x, out, np.exp, torch.exp)


def tanh(x: Tensor, out: Tensor | None = None) -> Tensor:
    return _map(x, out, np.tanh, torch.tanh)


def atan2(y: Tensor, x: Tensor) -> Tensor:
    if not _numpy(x):
        return torch.atan2(y, x)
    out = torch.empty_like(x)
    np.arctan2(y.numpy(), x.numpy(), out=out.numpy())
    return out


def snake_(v: Tensor) -> Tensor:
    """v + sin(v)^2, in place."""
    t = sin(v)
    return v.addcmul_(t, t)
