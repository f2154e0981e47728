"""sep-CMA-ES: CMA-ES with a diagonal covariance, linear in the dimension, learning n times faster.

Ros, Hansen: A Simple Modification in CMA-ES Achieving Linear Time and Space Complexity,
PPSN 2008, LNCS 5199, 296-305. All else as in `cmaes`, whose equation numbers are used here.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coconut.strategy.gaussian import FAR, geometric_mean
from coconut.strategy.paths import PathStrategy, Scalar, scalar


class Sepcmaes(PathStrategy):
    """sep-CMA-ES; `sigma_min` and `sigma_max` bound the geometric mean of the standard deviations."""

    kind = "sepcmaes"
    block = 32
    tensors = ("_mean", "_step", "_path_sigma", "_path_c", "_variances")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        faster = (self.dim + 2) / 3  # Ros & Hansen 2008, section 3
        self.c_1 = min(1.0, faster * self.c_1)
        self.c_mu = min(1 - self.c_1, faster * self.c_mu)
        self._set_weights()
        self._variances = self._covariance0.diagonal().clone()
        self._step = self._bounded(scalar(self._step), self._volume())

    @property
    def sigma(self) -> float:
        return geometric_mean(self._step * self._variances.sqrt(), self._log_scale)

    def _sample(self, z: Tensor) -> Tensor:
        return torch.addcmul(self._mean, z, self._variances.sqrt().mul_(self._step))

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        positive, active, mu_eff = self._shared(ordered)
        step, std = scalar(self._step), self._variances.sqrt()
        z = ((x - self._mean) / (std * step)).clamp_(-FAR, FAR)
        z_mean = positive @ z
        y_mean = std * z_mean  # (41)
        self._mean = self._mean + y_mean * (self.mean_rate * step)  # (42)
        moving, change = self._travel(z_mean, y_mean, mu_eff)

        squares = z * z
        w = self._relative(active, squares.sum(1))
        kept = self._variances * self._decay(moving)
        kept = kept.addcmul_(self._variances, w @ squares, value=self.c_mu)
        self._variances = torch.addcmul(kept, self._path_c, self._path_c, value=self.c_1)  # (47)
        self._step = self._bounded(step * change, self._volume())

    def _volume(self) -> Scalar:
        """Geometric mean of the standard deviations for step 1, in units of scale."""
        log_volume = scalar(self._variances.log().mean()) / 2 - self._log_scale
        return math.exp(log_volume) if isinstance(log_volume, float) else log_volume.exp()
