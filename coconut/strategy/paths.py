"""Evolution paths and cumulative step-size adaptation, shared by cmaes and sepcmaes.

Hansen: The CMA Evolution Strategy: A Tutorial, arXiv:1604.00772; equation numbers are its.
Scalars are Python floats on the CPU, where a tensor of one number costs more than the sum it is
part of; on any other device they stay tensors, so that nothing waits for it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coconut.strategy.gaussian import Gaussian
from coconut.strategy.ranking import CmaWeights, share_ties

Scalar = float | Tensor


def chi(dim: int) -> float:
    """E||N(0, I)|| of `dim` dimensions, by the tutorial's series."""
    return math.sqrt(dim) * (1 - 1 / (4 * dim) + 1 / (21 * dim**2))


def scalar(value: Tensor) -> Scalar:
    return float(value) if value.device.type == "cpu" else value


class PathStrategy(Gaussian):
    """State and rates of CMA-ES that do not depend on how the covariance is kept."""

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
        self._step = torch.full_like(self._mean[0], self._sigma0)
        self._path_sigma = torch.zeros_like(self._mean)
        self._path_c = torch.zeros_like(self._mean)
        # the chance that two ranks belong to z and -z
        self._paired = (popsize // 2) * 2 / (popsize * (popsize - 1)) if self.mirrored else 0.0
        self._mu_eff = self._mass(1 / mu_eff) if self.mirrored else mu_eff

    def _set_weights(self, definite: bool = True) -> None:
        """Fix the weights, once c_1 and c_mu are known; `definite` as in `CmaWeights.active`."""
        self._positive = self._constant(self.weights.positive)
        self._active = self._constant(self.weights.active(self.dim, self.c_1, self.c_mu, definite))  # (53)
        self._signed = self._active.clamp(min=0), self._active.clamp(max=0)
        self.decay = 1 - self.c_1 - self.c_mu * float(self._active.sum())

    def _shared(self, ordered: Tensor) -> tuple[Tensor, Tensor, Scalar]:
        """Recombination and covariance weights `[P]`, ties sharing theirs, and mu_eff of the former.

        Shared weights have a larger mu_eff, and so have mirrored candidates, where z and -z may both be
        selected and cancel out (Auger et al., GECCO 2011, Mirrored sampling in evolution strategies with
        weighted recombination): with it, the paths keep the length of N(0, I) under no selection.
        """
        if not self._tied:
            return self._positive, self._active, self._mu_eff
        positive = share_ties(self._positive, ordered)
        return positive, share_ties(self._active, ordered), self._mass(scalar((positive * positive).sum()))

    def _mass(self, squares: Scalar) -> Scalar:
        """n / E||sum w z||^2 under random ranks: 1 / (sum w^2 - sum over pairs of their w w')."""
        return 1 / (squares - self._paired * (1 - squares))

    def _travel(self, z_mean: Tensor, y_mean: Tensor, mu_eff: Scalar) -> tuple[Scalar, Scalar]:
        """Extend both paths; return h_sigma (0 or 1) and the factor of the step size.

        `y_mean [D]` is the mean's move in steps, `z_mean [D]` the same, C^(-1/2) applied.
        """
        c = self.c_sigma
        push = z_mean * (c * (2 - c) * mu_eff) ** 0.5
        self._path_sigma = torch.add(push, self._path_sigma, alpha=1 - c)  # (43)
        length = scalar(torch.linalg.vector_norm(self._path_sigma))
        settled = math.sqrt(1 - (1 - c) ** (2 * (self.generation + 1)))
        short = length < settled * (1.4 + 2 / (self.dim + 1)) * self._chi
        moving = short.to(length) if isinstance(short, Tensor) else float(short)  # type: ignore[arg-type]
        push = y_mean * (moving * (self.c_c * (2 - self.c_c) * mu_eff) ** 0.5)
        self._path_c = torch.add(push, self._path_c, alpha=1 - self.c_c)  # (45)

        change = (length / self._chi - 1) * (c / self.d_sigma)  # (44)
        if isinstance(change, float):
            return moving, math.exp(min(change, 1.0))
        return moving, change.clamp(max=1).exp()

    def _decay(self, moving: Scalar) -> Scalar:
        """What is left of the covariance, with the loss of a stalled path made up for, as in (47)."""
        return self.decay + (1 - moving) * (self.c_1 * self.c_c * (2 - self.c_c))

    def _relative(self, active: Tensor, squares: Tensor) -> Tensor:
        """(46): negative weights relative to the squared Mahalanobis lengths `squares [P]`."""
        untied = active is self._active
        positive, negative = self._signed if untied else (active.clamp(min=0), active.clamp(max=0))
        return torch.addcdiv(positive, negative, squares.clamp_(min=1e-12), value=self.dim)

    def _rescaled(self, volume: Scalar) -> Scalar | None:
        """The unit to divide the covariance's root by so that its volume is near 1, None for as it is.

        Where sigma meets a bound, or the covariance shrinks for good (a mean at the end of its
        precision), step and covariance would drift apart until one leaves the dtype's range. The unit
        is a power of two, which rounds nothing; the path of the covariance changes with it.
        """
        if isinstance(volume, float):
            if 2**-8 < volume < 2**8:
                return None
            unit: Scalar = 2.0 ** round(math.log2(volume))
        else:
            unit = volume.log2().round().exp2()
        self._path_c = self._path_c / unit
        return unit

    def _bounded(self, step: Scalar, volume: Scalar) -> Tensor:
        """The step as a tensor, with `sigma` = step * volume within its floor and ceiling."""
        sigma = step * volume
        if isinstance(sigma, float):
            return self._mean.new_tensor(min(max(sigma, self.sigma_min), self.sigma_max) / volume)
        return sigma.clamp(self.sigma_min, self.sigma_max) / volume
