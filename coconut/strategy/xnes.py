"""xNES, exponential natural evolution strategy.

Glasmachers, Schaul, Sun, Wierstra, Schmidhuber: Exponential Natural Evolution Strategies,
GECCO 2010, algorithm 2. Sampling x = m + s B z, with utilities u by rank:

    G_m = sum_k u_k z_k            G_M = sum_k u_k (z_k z_k^T - I)
    G_s = tr(G_M) / n              G_B = G_M - G_s I
    m <- m + s B G_m               s <- s exp(eta/2 G_s)               B <- B expm(eta/2 G_B)

with eta = 3 (3 + ln n) / (5 n sqrt n), at most 1, which it would exceed for n = 1 only.

Beyond the paper, for runs of any length: the exponent is cut at a norm that only candidates told from
afar reach, and every 1/eta generations the condition of B is kept within what float64 can invert.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coconut.strategy.gaussian import FAR, Gaussian, geometric_mean
from coconut.strategy.ranking import nes_utilities, share_ties

LIMIT = 2.0  # Frobenius norm of the exponent of B's growth
CONDITION = 64 * torch.finfo(torch.float64).eps  # least singular value of B over the largest


class Xnes(Gaussian):
    """xNES; `sigma_min` and `sigma_max` bound det(covariance)^(1/2n)."""

    kind = "xnes"
    state = (*Gaussian.state, "_step", "_shape")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.eta = min(1.0, 3 * (3 + math.log(self.dim)) / (5 * self.dim * math.sqrt(self.dim)))
        self.lazy_gap = math.ceil(1 / self.eta)
        self._utilities = nes_utilities(self.popsize)
        # B of determinant 1 for good, since G_B has no trace; sigma holds all of the volume
        self._step, self._shape = self._sigma0, torch.eye(self.dim, dtype=torch.float64)

    @property
    def sigma(self) -> float:
        return self._step

    def _sample(self, z: Tensor) -> Tensor:
        return self._mean + self._step * (z @ self._shape.T)

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        u = share_ties(self._utilities, ordered)
        y = (x - self._mean) / self._step
        z = torch.linalg.solve(self._shape, y.T).T.clamp(-FAR, FAR)
        gradient = (u * z.T) @ z
        trace = float(gradient.diagonal().mean())
        self._mean = self._mean + self.mean_rate * self._step * (self._shape @ (u @ z))
        self._shape = self._grown(gradient, trace)
        if (self.generation + 1) % self.lazy_gap == 0:
            self._shape = conditioned(self._shape)
        step = self._step * math.exp(min(1.0, max(-1.0, trace * self.eta / 2)))
        self._step = min(max(step, self.sigma_min), self.sigma_max)

    def _grown(self, gradient: Tensor, trace: float) -> Tensor:
        """B expm(eta/2 (G - trace I))."""
        values, axes = torch.linalg.eigh(gradient)
        rates = (values - trace) * (self.eta / 2)
        length = float(torch.linalg.vector_norm(rates))
        growth = (rates * min(1.0, LIMIT / length) if length else rates).exp()
        return (self._shape @ axes) * growth @ axes.T


def conditioned(shape: Tensor) -> Tensor:
    """`shape [D, D]` with determinant 1 and a condition of at most 1 / `CONDITION`, as it is if it has."""
    left, values, right = torch.linalg.svd(shape)
    low = values[0] * CONDITION
    if values[-1] >= low:
        return shape
    lifted = values.clamp(min=low)
    return (left * (lifted / geometric_mean(lifted))) @ right
