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
from coconut.strategy.gaussian import FAR, Gaussian
from coconut.strategy.ranking import CmaWeights, share_ties


def chi(dim: int) -> float:
    """E||N(0, I)|| of `dim` dimensions, by the tutorial's series."""
    return math.sqrt(dim) * (1 - 1 / (4 * dim) + 1 / (21 * dim**2))


class Cmaes(Gaussian):
    """CMA-ES; `sigma_min` and `sigma_max` bound det(covariance)^(1/2n)."""

    kind = "cmaes"
    tensors = ("_mean", "_step", "_path_sigma", "_path_c", "_covariance", "_axes", "_lengths", "_volume")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        n, weights = self.dim, CmaWeights.of(self.popsize)
        mu_eff = weights.mu_eff
        self.c_sigma = (mu_eff + 2) / (n + mu_eff + 5)  # (55)
        self.d_sigma = 1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + self.c_sigma  # (55)
        self.c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)  # (56)
        self.c_1 = 2 / ((n + 1.3) ** 2 + mu_eff)  # (57)
        self.c_mu = min(1 - self.c_1, 2 * (mu_eff - 2 + 1 / mu_eff) / ((n + 2) ** 2 + mu_eff))  # (58)
        active = weights.active(n, self.c_1, self.c_mu)  # (53)
        self.mu_eff = mu_eff
        self.decay = 1 - self.c_1 - self.c_mu * float(active.sum())
        self.lazy_gap = max(1, math.ceil(1 / (10 * n * (self.c_1 + self.c_mu))))  # appendix B.2
        self._weights = self._constant(torch.stack([weights.positive, active]))
        self._one = torch.ones_like(self._mean[:1])
        self._step = torch.full_like(self._mean[0], self._sigma0)
        self._path_sigma = torch.zeros_like(self._mean)
        self._path_c = torch.zeros_like(self._mean)
        self._covariance = self._covariance0
        self._factor()
        self._bound()

    @property
    def sigma(self) -> float:
        return float(self._step * self._volume) / math.exp(self._log_scale)

    def _sample(self, z: Tensor) -> Tensor:
        return torch.addcmul(self._mean, (z * self._lengths) @ self._axes.T, self._step)

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        n = self.dim
        positive, active = share_ties(self._weights, ordered)
        y = ((x - self._mean) / self._step).clamp_(-FAR, FAR)
        z = (y @ self._axes) / self._lengths  # B^T C^(-1/2) y
        y_mean = positive @ y  # (41)
        self._mean = torch.addcmul(self._mean, self._step, y_mean, value=self.mean_rate)  # (42)

        # shared weights of ties have a larger effective mass: under no selection the paths stay N(0, I)
        mass = positive.norm()
        push = (self._axes @ (positive @ z)) * (math.sqrt(self.c_sigma * (2 - self.c_sigma)) / mass)
        self._path_sigma = torch.add(push, self._path_sigma, alpha=1 - self.c_sigma)  # (43)
        length = self._path_sigma.norm()
        settled = math.sqrt(1 - (1 - self.c_sigma) ** (2 * (self.generation + 1)))
        moving = (length < settled * (1.4 + 2 / (n + 1)) * chi(n)).to(length)  # h_sigma
        push = y_mean * (moving * math.sqrt(self.c_c * (2 - self.c_c)) / mass)
        self._path_c = torch.add(push, self._path_c, alpha=1 - self.c_c)  # (45)

        # (46): negative weights relative to the Mahalanobis length
        w = torch.where(active < 0, active * (n / (z * z).sum(1).clamp_(min=1e-12)), active)
        rows = torch.cat([self._path_c[None], y])
        rates = torch.cat([self._one * self.c_1, self.c_mu * w])
        decay = self.decay + (1 - moving) * (self.c_1 * self.c_c * (2 - self.c_c))
        self._covariance = torch.addmm(self._covariance * decay, rows.T, rates[:, None] * rows)  # (47)

        change = ((length / chi(n) - 1) * (self.c_sigma / self.d_sigma)).clamp(max=1)
        self._step = self._step * change.exp()  # (44)
        if (self.generation + 1) % self.lazy_gap == 0:
            self._factor()
        self._bound()

    def _factor(self) -> None:
        """B, D and det(D)^(1/n) of the covariance; eigenvalues lost to rounding are lifted."""
        values, self._axes = eigh(self._covariance)
        values = torch.maximum(values, values[-1:] * (self.dim * torch.finfo(values.dtype).eps))
        self._lengths = values.sqrt()
        self._volume = self._lengths.log().mean().exp()

    def _bound(self) -> None:
        """Keep `sigma` within its floor and ceiling."""
        unit = math.exp(self._log_scale) / self._volume
        self._step = torch.clamp(self._step, self.sigma_min * unit, self.sigma_max * unit)
