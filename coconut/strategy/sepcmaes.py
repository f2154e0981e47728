"""sep-CMA-ES: CMA-ES with a diagonal covariance, linear in the dimension, learning n times faster.

Ros, Hansen: A Simple Modification in CMA-ES Achieving Linear Time and Space Complexity,
PPSN 2008, LNCS 5199, 296-305. All else as in `cmaes`, whose equation numbers are used here.

The rates of C are those of pycma 4.5 and EvoTorch 0.6 for n degrees of freedom; the paper's, (n + 2)/3
times the full ones, need 2% fewer evaluations on the ellipsoid at n = 20, and 8% more at n = 256:

    c_1 = 1 / (n + 2 sqrt n + mu_eff / n)
    c_mu = (1/4 + mu_eff + 1/mu_eff - 2) / (n + 4 sqrt n + mu_eff / 2), at most 1 - c_1

The variances follow the exponential natural gradient, as those of SNES and of diagonal decoding (Akimoto,
Hansen: Diagonal Acceleration for Covariance Matrix Adaptation Evolution Strategies, ECJ 28 (2020) 405):

    c <- c exp(c_1 (p_c^2 / c - 1) + c_mu sum_i w_i (z_i^2 - 1))

They stay positive whatever the weights, so the negative ones are neither cut by (52) nor made relative to
their length by (46): that rejected candidates are longer than selected ones says that the step is too large.
Against the additive (47): 13 to 15% fewer evaluations on the ellipsoid and on different powers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coconut.strategy.base import TINY
from coconut.strategy.gaussian import FAR, geometric_mean
from coconut.strategy.paths import PathStrategy

GROWTH = 1.0  # greatest change of a log variance in one generation
ROOM = TINY**0.4  # least variance; the largest is 1 over it


class Sepcmaes(PathStrategy):
    """sep-CMA-ES; `sigma_min` and `sigma_max` bound the geometric mean of the standard deviations."""

    kind = "sepcmaes"
    block = 32
    state = (*PathStrategy.state, "_variances")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        n, mu_eff = self.dim, self.weights.mu_eff
        self.c_1 = 1 / (n + 2 * math.sqrt(n) + mu_eff / n)
        self.c_mu = min(1 - self.c_1, (mu_eff + 1 / mu_eff - 1.75) / (n + 4 * math.sqrt(n) + mu_eff / 2))
        self._set_weights(definite=False)
        self._variances = torch.ones_like(self._mean)

    @property
    def sigma(self) -> float:
        return self._step * geometric_mean(self._variances.sqrt())

    def _sample(self, z: Tensor) -> Tensor:
        return torch.addcmul(self._mean, z, self._variances.sqrt() * self._step)

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        positive, active, mu_eff = self._shared(ordered)
        step, std = self._step, self._variances.sqrt()
        z = ((x - self._mean) / (std * step)).clamp(-FAR, FAR)
        z_mean = positive @ z
        y_mean = std * z_mean  # (41)
        self._mean = self._mean + y_mean * (self.mean_rate * step)  # (42)
        moving, change = self._travel(z_mean, y_mean, mu_eff)

        growth = self.c_mu * (active @ (z * z)) + self.c_1 * self._path_c**2 / self._variances
        growth = growth + (self._decay(moving) - 1)
        variances = self._variances * growth.clamp(-GROWTH, GROWTH).exp()

        volume = geometric_mean(variances.sqrt())
        unit = self._rescaled(volume)
        self._variances = (variances / unit**2).clamp(ROOM, 1 / ROOM)
        self._step = self._bounded(step * change * unit, volume / unit)
