"""CMA-ES: full covariance, weighted recombination, active update, cumulative step-size adaptation.

Hansen: The CMA Evolution Strategy: A Tutorial, arXiv:1604.00772; equation numbers are its.
Sampling x = m + s y, y = B D z, C = B D^2 B^T, with the factors refreshed lazily.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coconut.strategy.gaussian import FAR, geometric_mean
from coconut.strategy.paths import PathStrategy

EPS = torch.finfo(torch.float64).eps


class Cmaes(PathStrategy):
    """CMA-ES; `sigma_min` and `sigma_max` bound det(covariance)^(1/2n)."""

    kind = "cmaes"
    state = (*PathStrategy.state, "_covariance", "_axes", "_lengths", "_volume")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._set_weights()
        self.lazy_gap = max(1, math.ceil(1 / (10 * self.dim * (self.c_1 + self.c_mu))))  # appendix B.2
        self._covariance = torch.eye(self.dim, dtype=torch.float64)
        self._axes, self._lengths, self._volume = self._covariance, torch.ones_like(self._mean), 1.0

    @property
    def sigma(self) -> float:
        return self._step * self._volume

    def _sample(self, z: Tensor) -> Tensor:
        return torch.addmm(self._mean, z * (self._lengths * self._step), self._axes.T)

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        positive, active, mu_eff = self._shared(ordered)
        step = self._step
        y = ((x - self._mean) / step).clamp(-FAR, FAR)
        z = (y @ self._axes) / self._lengths  # B^T C^(-1/2) y
        y_mean = positive @ y  # (41)
        self._mean = self._mean + y_mean * (self.mean_rate * step)  # (42)
        moving, change = self._travel(self._axes @ (positive @ z), y_mean, mu_eff)

        # (46): negative weights relative to the squared Mahalanobis lengths
        lengths = (z * z).sum(1).clamp(min=1e-12)
        w = torch.where(active < 0, active * self.dim / lengths, active)
        grown = torch.addmm(self._covariance * self._decay(moving), y.T, (self.c_mu * w)[:, None] * y)
        self._covariance = torch.addr(grown, self._path_c, self._path_c, alpha=self.c_1)  # (47)
        if (self.generation + 1) % self.lazy_gap == 0:
            step = step * self._factor()
        self._step = self._bounded(step * change, self._volume)

    def _factor(self) -> float:
        """B, D and det(D)^(1/n) of the covariance; eigenvalues lost to rounding are lifted.

        Returns what the step must be multiplied by, for the covariance may have changed its unit.
        """
        # rounding would let the halves part for good: (47) forgets nothing where the weights sum to -c_1 / c_mu
        lower = self._covariance.tril()
        self._covariance = lower + lower.tril(-1).T
        values, self._axes = torch.linalg.eigh(self._covariance)
        low = values[-1] * (self.dim * EPS)
        if values[0] < low:
            values = values.clamp(min=low)
            self._covariance = (self._axes * values) @ self._axes.T
        lengths = values.sqrt()
        volume = geometric_mean(lengths)
        unit = self._rescaled(volume)
        self._covariance = self._covariance / unit**2
        self._lengths, self._volume = lengths / unit, volume / unit
        return unit
