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
        mirrored: bool = False,
        mean_rate: float = 1.0,
        covariance: Covariance = None,
        **shared: Any,
    ) -> None:
        super().__init__(mean, sigma, popsize, seed, **shared)
        if not 0 < mean_rate < float("inf"):
            raise InputError(f"mean_rate is {mean_rate:g}; it must be a positive finite number.")
        self.mirrored = bool(mirrored)
        self.mean_rate = float(mean_rate)
        self._covariance0 = self._matrix(covariance)

    def _noise(self) -> Tensor:
        z = super()._noise()
        half = self.popsize // 2
        return torch.cat([z[:half], -z[:half], z[2 * half :]]) if self.mirrored else z

    def _constant(self, weights: Tensor) -> Tensor:
        return weights.to(device=self._mean.device, dtype=self._mean.dtype)


def geometric_mean(values: Tensor, log_scale: float) -> float:
    """exp(mean ln values - log_scale)."""
    return float((values.log().mean() - log_scale).exp())
