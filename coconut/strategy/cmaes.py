"""CMA-ES: full covariance, weighted recombination, active update, cumulative step-size adaptation.

Hansen: The CMA Evolution Strategy: A Tutorial, arXiv:1604.00772; equation numbers are its.
Sampling x = m + s y, y = B D z, C = B D^2 B^T, with the factors refreshed lazily.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coconut.strategy.base import eigh
from coconut.strategy.gaussian import FAR
from coconut.strategy.paths import PathStrategy, Scalar, scalar


class Cmaes(PathStrategy):
    """CMA-ES; `sigma_min` and `sigma_max` bound det(covariance)^(1/2n)."""

    kind = "cmaes"
    tensors = ("_mean", "_step", "_path_sigma", "_path_c", "_covariance", "_axes", "_lengths", "_volume")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._set_weights()
        self.lazy_gap = max(1, math.ceil(1 / (10 * self.dim * (self.c_1 + self.c_mu))))  # appendix B.2
        self._covariance = self._covariance0
        unit = self._factor()
        self._step = self._bounded(scalar(self._step) * unit, scalar(self._volume))

    @property
    def sigma(self) -> float:
        return float(self._step * self._volume)

    def _sample(self, z: Tensor) -> Tensor:
        return torch.addmm(self._mean, z * (self._lengths * self._step), self._axes.T)

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        positive, active, mu_eff = self._shared(ordered)
        step = scalar(self._step)
        y = ((x - self._mean) / step).clamp_(-FAR, FAR)
        z = (y @ self._axes) / self._lengths  # B^T C^(-1/2) y
        y_mean = positive @ y  # (41)
        self._mean = self._mean + y_mean * (self.mean_rate * step)  # (42)
        moving, change = self._travel(self._axes @ (positive @ z), y_mean, mu_eff)

        w = self._relative(active, (z * z).sum(1))
        grown = torch.addmm(self._covariance * self._decay(moving), y.T, (self.c_mu * w)[:, None] * y)
        self._covariance = torch.addr(grown, self._path_c, self._path_c, alpha=self.c_1)  # (47)
        if (self.generation + 1) % self.lazy_gap == 0:
            step = step * self._factor()
        self._step = self._bounded(step * change, scalar(self._volume))

    def _factor(self) -> Scalar:
        """B, D and det(D)^(1/n) / scale of the covariance; eigenvalues lost to rounding are lifted.

        Returns what the step must be multiplied by, for the covariance may have changed its unit.
        """
        # rounding would let the halves part for good: (47) forgets nothing where the weights sum to -c_1 / c_mu
        lower = self._covariance.tril()
        self._covariance = lower + lower.tril(-1).T
        values, self._axes = eigh(self._covariance)
        low = values[-1] * (self.dim * torch.finfo(values.dtype).eps)
        if bool(values[0] < low):
            values = torch.maximum(values, low)
            self._covariance = (self._axes * values) @ self._axes.T
        self._lengths = values.sqrt()
        self._volume = (self._lengths.log().mean() - self._log_scale).exp()
        unit = self._rescaled(scalar(self._volume))
        if unit is None:
            return 1.0
        self._covariance = self._covariance / unit**2
        self._lengths, self._volume = self._lengths / unit, self._volume / unit
        return unit
