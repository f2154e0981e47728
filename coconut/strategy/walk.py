"""walk: the random walk of kvoicewalk, as a baseline.

github.com/RobViren/kvoicewalk: noise of d times the spread of the starting voices, d drawn from
U(0.01, 0.15), is added to the best voice so far, and kept if it scores better. A (1+1) hill climb;
here a generation holds the best so far and P - 1 steps from it:

    x_0 = m,    x_k = m + d_k * s * z_k,    d_k ~ U(1/15, 1),    z_k ~ N(0, I)

so sigma 0.15 in units of that spread is the original, and popsize 2 is the (1+1) climb. The best
is heard again in every generation, beside its challengers, so no lucky window makes it immortal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coconut.strategy.base import Strategy


class Walk(Strategy):
    """Hill climb with steps of fixed size; `mean` is the best so far, `sigma` stays as given."""

    kind = "walk"
    searched = False

    @property
    def sigma(self) -> float:
        return self._sigma0

    def _sample(self, z: Tensor) -> Tensor:
        reach = torch.rand((self.popsize, 1), generator=self._generator, dtype=z.dtype)
        x = self._mean + (self._sigma0 * (1 / 15 + 14 / 15 * reach)) * z
        x[0] = self._mean
        return x

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        # on equal losses the incumbent stays
        incumbent = (x == self._mean).all(1)
        to_beat = torch.where(incumbent, ordered, math.inf).amin()
        if ordered[0] < to_beat:
            self._mean = x[0]
