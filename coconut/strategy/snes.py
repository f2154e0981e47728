"""SNES, separable natural evolution strategy.

Wierstra, Schaul, Glasmachers, Sun, Peters, Schmidhuber: Natural Evolution Strategies,
JMLR 15 (2014) 949-980, algorithm 6. With z = (x - m) / s and utilities u by rank:

    m <- m + s * sum_k u_k z_k
    s <- s * exp(eta/2 * sum_k u_k (z_k^2 - 1)),      eta = (3 + ln n) / (5 sqrt n)
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coconut.strategy.gaussian import FAR, Gaussian, geometric_mean
from coconut.strategy.ranking import nes_utilities


class Snes(Gaussian):
    """SNES; `sigma_min` and `sigma_max` bound every coordinate's standard deviation."""

    kind = "snes"
    block = 32
    tensors = ("_mean", "_std")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.eta = (3 + math.log(self.dim)) / (5 * math.sqrt(self.dim))
        self._utilities = self._constant(nes_utilities(self.popsize))
        self._low, self._high = self.sigma_min * self._scale, self.sigma_max * self._scale
        std = self._sigma0 * self._covariance0.diagonal().sqrt()
        self._std = torch.clamp(std, self._low, self._high)

    @property
    def sigma(self) -> float:
        return geometric_mean(self._std, self._log_scale)

    def _sample(self, z: Tensor) -> Tensor:
        return torch.addcmul(self._mean, z, self._std)

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        u = self._by_rank(self._utilities, ordered)
        z = ((x - self._mean) / self._std).clamp_(-FAR, FAR)
        # utilities sum to 0, so sum u (z^2 - 1) = sum u z^2
        growth = (u @ (z * z)).mul_(self.eta / 2).clamp_(-1, 1).exp_()
        self._mean = torch.addcmul(self._mean, self._std, u @ z, value=self.mean_rate)
        self._std = torch.clamp(self._std * growth, self._low, self._high)
