"""xNES, exponential natural evolution strategy.

Glasmachers, Schaul, Sun, Wierstra, Schmidhuber: Exponential Natural Evolution Strategies,
GECCO 2010, algorithm 2. Sampling x = m + s B z, with utilities u by rank:

    G_m = sum_k u_k z_k            G_M = sum_k u_k (z_k z_k^T - I)
    G_s = tr(G_M) / n              G_B = G_M - G_s I
    m <- m + s B G_m               s <- s exp(eta/2 G_s)               B <- B expm(eta/2 G_B)

with eta = 3 (3 + ln n) / (5 n sqrt n), at most 1, which it would exceed for n = 1 only.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coconut.strategy.base import eigh
from coconut.strategy.gaussian import FAR, Gaussian
from coconut.strategy.ranking import nes_utilities


class Xnes(Gaussian):
    """xNES; `sigma_min` and `sigma_max` bound det(covariance)^(1/2n)."""

    kind = "xnes"
    tensors = ("_mean", "_step", "_shape")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.eta = min(1.0, 3 * (3 + math.log(self.dim)) / (5 * self.dim * math.sqrt(self.dim)))
        self._utilities = self._constant(nes_utilities(self.popsize))
        variances, axes = eigh(self._covariance0)
        # B of determinant 1 for good, since G_B has no trace; sigma holds all of the volume
        log_volume = variances.log().mean() / 2
        self._shape = axes * (variances.sqrt() / log_volume.exp()) @ axes.T
        step = self._sigma0 * log_volume.exp()
        unit = math.exp(self._log_scale)
        self._low, self._high = self.sigma_min * unit, self.sigma_max * unit
        self._step = step.clamp(self._low, self._high)

    @property
    def sigma(self) -> float:
        return float(self._step) / math.exp(self._log_scale)

    def _sample(self, z: Tensor) -> Tensor:
        return self._mean + self._step * (z @ self._shape.T)

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        u = self._by_rank(self._utilities, ordered)
        y = (x - self._mean) / self._step
        z = torch.linalg.solve_ex(self._shape, y.T).result.T.clamp(-FAR, FAR)
        gradient = (u * z.T) @ z
        trace = gradient.diagonal().mean()
        values, axes = eigh(gradient)
        # expm(eta/2 (G - trace I)) through the eigenvalues of G
        growth = ((values - trace) * (self.eta / 2)).clamp(-1, 1).exp()
        self._mean = self._mean + self.mean_rate * self._step * (self._shape @ (u @ z))
        self._shape = (self._shape @ axes) * growth @ axes.T
        step = self._step * (trace * (self.eta / 2)).clamp(-1, 1).exp()
        self._step = step.clamp(self._low, self._high)
