"""What the strategies with a normal search distribution share: sampling, mirroring, warm start."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coconut.config import InputError
from coconut.strategy.base import Covariance, Strategy

FAR = 1e6  # standard deviations from the mean beyond which a told candidate is cut, so nothing overflows


class Gaussian(Strategy):
    """N(mean, sigma^2 S C S) with S = diag(scale) and the starting covariance C.

    Further arguments, for all Gaussian kinds:
        orthogonal: the directions of up to D candidates are drawn at right angles to each other, which
            leaves each candidate normal and needs fewer generations.
        mirrored: noise comes in pairs z, -z (Brockhoff et al., PPSN 2010); of an odd P the last is single.
        mean_rate: learning rate of the mean.
        covariance: `[D, D]` or its diagonal `[D]`, to start warm; separable kinds use the diagonal.
    """

    def __init__(
        self,
        mean: Tensor,
        sigma: float,
        popsize: int | None = None,
        seed: int = 0,
        *,
        orthogonal: bool = True,
        mirrored: bool = False,
        mean_rate: float = 1.0,
        covariance: Covariance = None,
        **shared: Any,
    ) -> None:
        super().__init__(mean, sigma, popsize, seed, **shared)
        if not 0 < mean_rate < float("inf"):
            raise InputError(f"mean_rate is {mean_rate:g}; it must be a positive finite number.")
        self.orthogonal = bool(orthogonal)
        self.mirrored = bool(mirrored)
        self.mean_rate = float(mean_rate)
        self._covariance0 = self._matrix(covariance)

    def _noise(self) -> Tensor:
        z = super()._noise()
        if not self.mirrored:
            return orthogonalise(z) if self.orthogonal else z
        half = z[: (self.popsize + 1) // 2]
        half = orthogonalise(half) if self.orthogonal else half
        return torch.cat([half, -half[: self.popsize // 2]])

    def _constant(self, weights: Tensor) -> Tensor:
        return weights.to(device=self._mean.device, dtype=self._mean.dtype)


def orthogonalise(z: Tensor) -> Tensor:
    """Rows of `z [P, D]` turned to right angles in blocks of D, each keeping its length.

    A row stays N(0, I): its direction is uniform (R of Z^T = Q R is made positive on the
    diagonal), its length untouched. Wang, Emmerich, Baeck: Mirrored orthogonal sampling for
    covariance matrix adaptation evolution strategies, Evolutionary Computation 27 (2019) 699.
    """
    device, blocks = z.device, []
    for block in z.split(z.shape[1]):
        q, r = torch.linalg.qr(block.T.cpu() if device.type == "mps" else block.T)
        blocks.append((q * r.diagonal().sign()).T.to(device))
    directions = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
    return directions * torch.linalg.vector_norm(z, dim=1, keepdim=True)


def geometric_mean(values: Tensor, log_scale: float) -> float:
    """exp(mean ln values - log_scale)."""
    return float((values.log().mean() - log_scale).exp())
