"""Evolution paths and cumulative step-size adaptation, shared by cmaes and sepcmaes.

Hansen: The CMA Evolution Strategy: A Tutorial, arXiv:1604.00772; equation numbers are its.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coconut.strategy.gaussian import Gaussian
from coconut.strategy.ranking import CmaWeights, share_ties


def chi(dim: int) -> float:
    """E||N(0, I)|| of `dim` dimensions, by the tutorial's series."""
    return math.sqrt(dim) * (1 - 1 / (4 * dim) + 1 / (21 * dim**2))


class PathStrategy(Gaussian):
    """State and rates of CMA-ES that do not depend on how the covariance is kept."""

    state = (*Gaussian.state, "_step", "_path_sigma", "_path_c")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        n, popsize, self.weights = self.dim, self.popsize, CmaWeights.of(self.popsize)
        mu_eff = self.weights.mu_eff
        self.c_sigma = (mu_eff + 2) / (n + mu_eff + 5)  # (55)
        self.d_sigma = 1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + self.c_sigma  # (55)
        self.c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)  # (56)
        self.c_1 = 2 / ((n + 1.3) ** 2 + mu_eff)  # (57)
        self.c_mu = min(1 - self.c_1, 2 * (mu_eff - 2 + 1 / mu_eff) / ((n + 2) ** 2 + mu_eff))  # (58)
        self._chi = chi(n)
        self._step = self._sigma0
        self._path_sigma = torch.zeros_like(self._mean)
        self._path_c = torch.zeros_like(self._mean)
        # the chance that two ranks belong to z and -z
        self._paired = (popsize // 2) * 2 / (popsize * (popsize - 1)) if self.mirrored else 0.0

    def _set_weights(self, definite: bool = True) -> None:
        """Fix the weights, once c_1 and c_mu are known; `definite` as in `CmaWeights.active`."""
        active = self.weights.active(self.dim, self.c_1, self.c_mu, definite)  # (53)
        self._weights = torch.stack([self.weights.positive, active])
        self.decay = 1 - self.c_1 - self.c_mu * float(active.sum())

    def _shared(self, ordered: Tensor) -> tuple[Tensor, Tensor, float]:
        """Recombination and covariance weights `[P]`, ties sharing theirs, and mu_eff of the former.

        Shared weights have a larger mu_eff, and so have mirrored candidates, where z and -z may both be
        selected and cancel out (Auger et al., GECCO 2011, Mirrored sampling in evolution strategies with
        weighted recombination): with it, the paths keep the length of N(0, I) under no selection.
        """
        positive, active = share_ties(self._weights, ordered)
        squares = float((positive * positive).sum())
        # n / E||sum w z||^2 under random ranks: 1 / (sum w^2 - sum over pairs of their w w')
        return positive, active, 1 / (squares - self._paired * (1 - squares))

    def _travel(self, z_mean: Tensor, y_mean: Tensor, mu_eff: float) -> tuple[float, float]:
        """Extend both paths; return h_sigma (0 or 1) and the factor of the step size.

        `y_mean [D]` is the mean's move in steps, `z_mean [D]` the same, C^(-1/2) applied.
        """
        c = self.c_sigma
        self._path_sigma = (1 - c) * self._path_sigma + math.sqrt(c * (2 - c) * mu_eff) * z_mean  # (43)
        length = float(torch.linalg.vector_norm(self._path_sigma))
        settled = math.sqrt(1 - (1 - c) ** (2 * (self.generation + 1)))
        moving = float(length < settled * (1.4 + 2 / (self.dim + 1)) * self._chi)
        push = moving * math.sqrt(self.c_c * (2 - self.c_c) * mu_eff)
        self._path_c = (1 - self.c_c) * self._path_c + push * y_mean  # (45)
        return moving, math.exp(min(1.0, (length / self._chi - 1) * c / self.d_sigma))  # (44)

    def _decay(self, moving: float) -> float:
        """What is left of the covariance, with the loss of a stalled path made up for, as in (47)."""
        return self.decay + (1 - moving) * self.c_1 * self.c_c * (2 - self.c_c)

    def _rescaled(self, volume: float) -> float:
        """The unit to divide the covariance's root by so that its volume is near 1; the path of C has changed to it.

        Where sigma meets a bound, or the covariance shrinks for good (a mean at the end of its
        precision), step and covariance would drift apart until one leaves the range of float64, in
        cmaes after 4,000 generations at n = 2. A power of two rounds nothing.
        """
        unit = 2.0 ** round(math.log2(volume))
        self._path_c = self._path_c / unit
        return unit

    def _bounded(self, step: float, volume: float) -> float:
        """The step, with `sigma` = step * volume within its floor and ceiling."""
        return min(max(step * volume, self.sigma_min), self.sigma_max) / volume
