"""xNES, exponential natural evolution strategy.

Glasmachers, Schaul, Sun, Wierstra, Schmidhuber: Exponential Natural Evolution Strategies,
GECCO 2010, algorithm 2. Sampling x = m + s B z, with utilities u by rank:

    G_m = sum_k u_k z_k            G_M = sum_k u_k (z_k z_k^T - I)
    G_s = tr(G_M) / n              G_B = G_M - G_s I
    m <- m + s B G_m               s <- s exp(eta/2 G_s)               B <- B expm(eta/2 G_B)

with eta = 3 (3 + ln n) / (5 n sqrt n), at most 1, which it would exceed for n = 1 only.

Beyond the paper, for runs of any length: the exponent is cut at a norm that only candidates told from
afar reach, and every 1/eta generations the condition of B is kept within what its dtype can invert.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coconut.strategy.base import eigh
from coconut.strategy.gaussian import FAR, Gaussian
from coconut.strategy.ranking import nes_utilities

LIMIT = 2.0  # Frobenius norm of the exponent of B's growth
HALVINGS, DEGREE = 4, 8  # of the series: an exponent of norm 2 / 2^4 leaves less than 1e-12


class Xnes(Gaussian):
    """xNES; `sigma_min` and `sigma_max` bound det(covariance)^(1/2n)."""

    kind = "xnes"
    tensors = ("_mean", "_step", "_shape")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.eta = min(1.0, 3 * (3 + math.log(self.dim)) / (5 * self.dim * math.sqrt(self.dim)))
        self.lazy_gap = math.ceil(1 / self.eta)
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
        self._mean = self._mean + self.mean_rate * self._step * (self._shape @ (u @ z))
        self._shape = self._grown(gradient, trace)
        if (self.generation + 1) % self.lazy_gap == 0:
            self._shape = conditioned(self._shape)
        step = self._step * (trace * (self.eta / 2)).clamp(-1, 1).exp()
        self._step = step.clamp(self._low, self._high)

    def _grown(self, gradient: Tensor, trace: Tensor) -> Tensor:
        """B expm(eta/2 (G - trace I))."""
        if not self._on_cpu:  # eigh would wait for the device
            rates = (gradient - trace * torch.eye(self.dim, dtype=trace.dtype, device=trace.device)) * (self.eta / 2)
            return self._shape @ exponential(rates * (LIMIT / torch.linalg.vector_norm(rates)).clamp(max=1))
        values, axes = eigh(gradient)
        rates = (values - trace) * (self.eta / 2)
        length = float(torch.linalg.vector_norm(rates))
        growth = (rates if length < LIMIT else rates * (LIMIT / length)).exp()
        return (self._shape @ axes) * growth @ axes.T


def exponential(matrix: Tensor) -> Tensor:
    """expm of `[D, D]` of norm 2 at most, by a series and squarings of fixed number: nothing waits."""
    part, one = matrix / 2**HALVINGS, torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    power = one
    for k in range(DEGREE, 0, -1):
        power = one + part @ power / k
    for _ in range(HALVINGS):
        power = power @ power
    return power


def conditioned(shape: Tensor) -> Tensor:
    """`shape [D, D]` with determinant 1 and singular values apart by 1 / (64 eps) at most, as it is if they are."""
    left, values, right = torch.linalg.svd(shape.cpu() if shape.device.type == "mps" else shape)
    low = values[0] * (64 * torch.finfo(shape.dtype).eps)
    lifted = values.clamp(min=low)
    repaired = (left * (lifted / lifted.log().mean().exp()) @ right).to(shape)
    return torch.where((values[-1] < low).to(shape.device), repaired, shape)
