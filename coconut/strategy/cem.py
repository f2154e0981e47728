"""CEM, the cross-entropy method with independent coordinates, kept alive.

Rubinstein: The Cross-Entropy Method for Combinatorial and Continuous Optimization,
Methodology and Computing in Applied Probability 1 (1999) 127-190. Of P candidates the best
round(rho P) are the elites E; mean and variances move to theirs:

    m' <- mean of E        s^2 <- (1 - a) s^2 + a * mean over E of (x - m)^2,        a = |E| / (|E| + n)

Two departures keep it from collapsing before the optimum. The variance is taken about the
*old* mean (Hansen, arXiv:1604.00772, section 3.1): var about m = var about m' + (m' - m)^2, so
the spread never falls below the step just made, one elite included. And it is smoothed (de Boer
et al., Annals of Operations Research 134 (2005) 19-67, section 3.4), with a rate `a` that was
chosen by bench: |E| / (|E| + sqrt n) collapsed under noise, |E| / (|E| + 4 n) was four times slower.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coconut.config import InputError
from coconut.strategy.gaussian import Separable
from coconut.strategy.ranking import share_ties


class Cem(Separable):
    """CEM; `rho` in (0, 1] is the share of elites, at least one. The other arguments are `Gaussian`'s."""

    kind = "cem"
    settings = (*Separable.settings, "rho")

    def __init__(self, *args: Any, rho: float = 0.25, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not 0 < rho <= 1:
            raise InputError(f"rho is {rho:g}; the share of elites must lie in (0, 1].")
        elites = max(1, round(rho * self.popsize))
        self.rate = elites / (elites + self.dim)
        self._weights = (torch.arange(self.popsize) < elites).double() / elites

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        w, z = share_ties(self._weights, ordered), self._standardise(x)
        self._move(w @ z, (1 - self.rate + self.rate * (w @ (z * z))).sqrt())
