"""sep-CMA-ES: CMA-ES with a diagonal covariance, linear in the dimension, learning n times faster.

Ros, Hansen: A Simple Modification in CMA-ES Achieving Linear Time and Space Complexity,
PPSN 2008, LNCS 5199, 296-305. All else as in `cmaes`, whose equation numbers are used here.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coconut.strategy.cmaes import chi
from coconut.strategy.gaussian import FAR, Gaussian, geometric_mean
from coconut.strategy.ranking import CmaWeights, share_ties


class Sepcmaes(Gaussian):
    """sep-CMA-ES; `sigma_min` and `sigma_max` bound the geometric mean of the standard deviations."""

    kind = "sepcmaes"
    tensors = ("_mean", "_step", "_path_sigma", "_path_c", "_variances")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        n, weights = self.dim, CmaWeights.of(self.popsize)
        mu_eff = weights.mu_eff
        self.c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
        self.d_sigma = 1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + self.c_sigma
        self.c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)
        faster = (n + 2) / 3  # Ros & Hansen 2008, section 3
        self.c_1 = min(1.0, faster * 2 / ((n + 1.3) ** 2 + mu_eff))
        self.c_mu = min(1 - self.c_1, faster * 2 * (mu_eff - 2 + 1 / mu_eff) / ((n + 2) ** 2 + mu_eff))
        active = weights.active(n, self.c_1, self.c_mu)
        self.mu_eff = mu_eff
        self.decay = 1 - self.c_1 - self.c_mu * float(active.sum())
        self._weights = self._constant(torch.stack([weights.positive, active]))
        self._step = torch.full_like(self._mean[0], self._sigma0)
        self._path_sigma = torch.zeros_like(self._mean)
        self._path_c = torch.zeros_like(self._mean)
        self._variances = self._covariance0.diagonal().clone()
        self._bound()

    @property
    def sigma(self) -> float:
        return geometric_mean(self._step * self._variances.sqrt(), self._log_scale)

    def _sample(self, z: Tensor) -> Tensor:
        return torch.addcmul(self._mean, z, self._step * self._variances.sqrt())

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        n = self.dim
        weights = share_ties(self._weights, ordered)
        positive, active = weights
        std = self._variances.sqrt()
        z = ((x - self._mean) / (self._step * std)).clamp_(-FAR, FAR)
        z_mean = positive @ z
        y_mean = std * z_mean
        self._mean = torch.addcmul(self._mean, self._step, y_mean, value=self.mean_rate)  # (42)

        mass = positive.norm()
        push = z_mean * (math.sqrt(self.c_sigma * (2 - self.c_sigma)) / mass)
        self._path_sigma = torch.add(push, self._path_sigma, alpha=1 - self.c_sigma)  # (43)
        length = self._path_sigma.norm()
        settled = math.sqrt(1 - (1 - self.c_sigma) ** (2 * (self.generation + 1)))
        moving = (length < settled * (1.4 + 2 / (n + 1)) * chi(n)).to(length)
        push = y_mean * (moving * math.sqrt(self.c_c * (2 - self.c_c)) / mass)
        self._path_c = torch.add(push, self._path_c, alpha=1 - self.c_c)  # (45)

        squares = z * z
        w = torch.where(active < 0, active * (n / squares.sum(1).clamp_(min=1e-12)), active)
        decay = self.decay + (1 - moving) * (self.c_1 * self.c_c * (2 - self.c_c))
        self._variances = self._variances * (decay + self.c_mu * (w @ squares)) + self.c_1 * self._path_c**2
        change = ((length / chi(n) - 1) * (self.c_sigma / self.d_sigma)).clamp(max=1)
        self._step = self._step * change.exp()  # (44)
        self._bound()

    def _bound(self) -> None:
        unit = (self._log_scale - self._variances.log().mean() / 2).exp()
        self._step = torch.clamp(self._step, self.sigma_min * unit, self.sigma_max * unit)
