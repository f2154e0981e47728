"""From losses to weights: ranks, ties, and the two families of recombination weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def ranked(losses: Tensor) -> tuple[Tensor, Tensor]:
    """`(order [P], ordered [P])`: indices from best to worst, and the losses so ordered.

    NaN and both infinities become +inf, the worst. Equal losses keep the order given.
    """
    ordered, order = torch.sort(torch.nan_to_num(losses, math.inf, math.inf, math.inf), stable=True)
    return order, ordered


def share_ties(weights: Tensor, ordered: Tensor) -> Tensor:
    """Weights by rank `[..., P]`, each group of equal `ordered` losses sharing its mean weight.

    So candidates of equal loss count alike, whatever order they came in.
    """
    first = torch.searchsorted(ordered, ordered)
    after = torch.searchsorted(ordered, ordered, right=True)
    total = torch.nn.functional.pad(weights.cumsum(-1), (1, 0))
    count = after - first
    mean = (total[..., after] - total[..., first]) / count
    return torch.where(count == 1, weights, mean)


def nes_utilities(popsize: int) -> Tensor:
    """u_k = max(0, ln(P/2 + 1) - ln k) / sum - 1/P, float64 `[P]`; they sum to 0.

    Wierstra et al., Natural Evolution Strategies, JMLR 15 (2014) 949, section 3.1.
    """
    raw = (math.log(popsize / 2 + 1) - torch.arange(1, popsize + 1, dtype=torch.float64).log()).clamp(min=0)
    return raw / raw.sum() - 1 / popsize


@dataclass(frozen=True)
class CmaWeights:
    """Weights of CMA-ES by rank, float64 `[P]`, and their masses (arXiv:1604.00772, eqs. 49-53)."""

    raw: Tensor
    positive: Tensor
    mu_eff: float
    mu_eff_negative: float

    @classmethod
    def of(cls, popsize: int) -> CmaWeights:
        """w' = ln((P + 1)/2) - ln i; the first floor(P/2) recombine, normalised to sum 1."""
        raw = math.log((popsize + 1) / 2) - torch.arange(1, popsize + 1, dtype=torch.float64).log()
        above, below = raw.clone(), raw.clone()
        above[popsize // 2 :] = 0
        below[: popsize // 2] = 0
        return cls(raw, above / above.sum(), _mass(above), _mass(below))

    def active(self, dim: int, c_1: float, c_mu: float, definite: bool = True) -> Tensor:
        """Weights of the covariance update, float64 `[P]`; `definite`: the negative ones scaled to keep an additive
        update positive definite (eq. 52).
        """
        alpha = 1 + 2 * self.mu_eff_negative / (self.mu_eff + 2)
        if c_mu > 0:
            alpha = min(alpha, 1 + c_1 / c_mu)
            if definite:
                alpha = min(alpha, (1 - c_1 - c_mu) / (dim * c_mu))
        negative = self.raw.clamp(max=0)
        return self.positive + alpha * negative / negative.abs().sum()


def _mass(weights: Tensor) -> float:
    """(sum w)^2 / sum w^2, the number of equal weights that would average as well."""
    return float(weights.sum() ** 2 / (weights**2).sum())
