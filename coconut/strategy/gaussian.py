"""What the strategies with a normal search distribution share: sampling, mirroring, bounds."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from coconut.config import InputError
from coconut.strategy.base import Strategy

FAR = 1e6  # standard deviations from the mean beyond which a told candidate is cut, so nothing overflows


class Gaussian(Strategy):
    """N(mean, sigma^2 C), with C = I at the start.

    Further arguments, for all Gaussian kinds:
        orthogonal: candidates are drawn at right angles to each other, which leaves each of them normal
            and needs fewer evaluations; without effect when P <= D/8.
        mirrored: noise comes in pairs z, -z (Brockhoff et al., PPSN 2010); of an odd P the last is single.
        mean_rate: learning rate of the mean.
    """

    settings = (*Strategy.settings, "orthogonal", "mirrored", "mean_rate")
    block: ClassVar[int] = 1 << 30
    """Candidates at right angles to each other; cheap kinds keep this factorisation cheap too."""

    def __init__(
        self,
        mean: Tensor,
        sigma: float,
        popsize: int | None = None,
        seed: int = 0,
        *,
        orthogonal: bool = True,
        mirrored: bool = False,
        mean_rate: float = 1.0,
        **shared: Any,
    ) -> None:
        super().__init__(mean, sigma, popsize, seed, **shared)
        if not 0 < mean_rate < float("inf"):
            raise InputError(f"mean_rate is {mean_rate:g}; it must be a positive finite number.")
        self.orthogonal = bool(orthogonal)
        self.mirrored = bool(mirrored)
        self.mean_rate = float(mean_rate)

    def _noise(self) -> Tensor:
        z = super()._noise()
        drawn = (self.popsize + 1) // 2 if self.mirrored else self.popsize
        z = z[:drawn]
        # far fewer than D random directions are nearly at right angles as they come
        if self.orthogonal and 8 * drawn > self.dim > 1:
            z = orthogonalise(z, self.block)
        return torch.cat([z, -z[: self.popsize - drawn]]) if self.mirrored else z


class Separable(Gaussian):
    """Independent coordinates, each with its standard deviation, as snes and cem keep them.

    `sigma_min` and `sigma_max` bound every coordinate's standard deviation.
    """

    block = 32
    state = (*Strategy.state, "_std")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._std = torch.full_like(self._mean, self._sigma0)

    @property
    def sigma(self) -> float:
        return geometric_mean(self._std)

    def _sample(self, z: Tensor) -> Tensor:
        return torch.addcmul(self._mean, z, self._std)

    def _standardise(self, x: Tensor) -> Tensor:
        """`[P, D]` z = (x - m) / s, cut at `FAR`."""
        return ((x - self._mean) / self._std).clamp(-FAR, FAR)

    def _move(self, step: Tensor, growth: Tensor) -> None:
        """m <- m + rate s step, s <- s growth within the bounds; `step [D]` in units of s."""
        self._mean = torch.addcmul(self._mean, self._std, step, value=self.mean_rate)
        self._std = (self._std * growth).clamp(self.sigma_min, self.sigma_max)


def orthogonalise(z: Tensor, block: int) -> Tensor:
    """Rows of `z [P, D]` turned to right angles in blocks of at most `block` or D, keeping their lengths.

    A row stays N(0, I): its direction is uniform (R of Z^T = Q R is made positive on the
    diagonal), its length untouched. Wang, Emmerich, Baeck: Mirrored orthogonal sampling for
    covariance matrix adaptation evolution strategies, Evolutionary Computation 27 (2019) 699.
    """
    turned = []
    for rows in z.split(min(block, z.shape[1])):
        packed, tau = torch.geqrf(rows.T)
        q = torch.linalg.householder_product(packed, tau)
        turned.append((q * packed.diagonal().sign() * torch.linalg.vector_norm(rows, dim=1)).T)
    return torch.cat(turned)


def geometric_mean(values: Tensor) -> float:
    """exp(mean ln values)."""
    return float(values.log().mean().exp())
