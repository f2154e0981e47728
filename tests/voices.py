"""Synthetic stock voices with the structure that real voicepacks have."""

import torch
from torch import Tensor

from coconut.voicepack import ROWS, STYLE


def stock(count: int = 8, seed: int = 0) -> dict[str, Tensor]:
    """`count` voicepacks base + profile[r] slope: smooth over rows, different from each other."""
    generator = torch.Generator().manual_seed(seed)
    base = 0.2 * torch.randn(count, STYLE, generator=generator)
    slope = 0.05 * torch.randn(count, STYLE, generator=generator)
    rows = torch.arange(ROWS, dtype=torch.float32)
    profile = 7.0 * torch.exp(-rows / 25) - 0.35
    packs = base[:, None] + profile[None, :, None] * slope[:, None]
    return {f"v_{i:02d}": pack[:, None].contiguous() for i, pack in enumerate(packs)}
