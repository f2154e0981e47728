"""SNES, separable natural evolution strategy.

Wierstra, Schaul, Glasmachers, Sun, Peters, Schmidhuber: Natural Evolution Strategies,
JMLR 15 (2014) 949-980, algorithm 6. With z = (x - m) / s and utilities u by rank:

    m <- m + s * sum_k u_k z_k
    s <- s * exp(eta/2 * sum_k u_k (z_k^2 - 1)),      eta = (3 + ln n) / (5 sqrt n)
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from coconut.strategy.gaussian import Separable
from coconut.strategy.ranking import nes_utilities, share_ties


class Snes(Separable):
    """SNES; the arguments are those of `Gaussian`, `Separable` says what the bounds of sigma hold for."""

    kind = "snes"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.eta = (3 + math.log(self.dim)) / (5 * math.sqrt(self.dim))
        self._utilities = nes_utilities(self.popsize)

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        u, z = share_ties(self._utilities, ordered), self._standardise(x)
        # utilities sum to 0, so sum u (z^2 - 1) = sum u z^2
        self._move(u @ z, (self.eta / 2 * (u @ (z * z))).clamp(-1, 1).exp())
