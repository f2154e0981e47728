"""Between host and device: a value that is read stops the queue of a GPU's kernels, and so does a plain copy to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def upload(values: Tensor | Sequence[int], device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """`values` on the device. Nothing waits for a copy to a GPU: it is made from pinned memory."""
    values = values if isinstance(values, Tensor) else torch.tensor(values)
    if torch.device(device).type != "cuda" or values.device.type != "cpu":
        return values.to(device, dtype)
    return values.to(dtype=dtype).pin_memory().to(device, non_blocking=True)


def fetch(*tensors: Tensor) -> list[Tensor]:
    """Tensors of one device on the CPU in float64, each in its shape, all in one copy: the host waits once."""
    wide = torch.float32 if tensors[0].device.type == "mps" else torch.float64  # MPS has no float64
    together = torch.cat([x.detach().to(wide).flatten() for x in tensors]).cpu().double()
    parts = together.split([x.numel() for x in tensors])
    return [part.view(x.shape) for part, x in zip(parts, tensors, strict=True)]
