"""adam: gradient descent with momentum and a step size for every coordinate.

Kingma and Ba: Adam: a method for stochastic optimization, ICLR 2015 (arXiv:1412.6980), algorithm 1.
With the gradient g of a point x, cut to a norm of at most `clip`:

    m <- b1 m + (1 - b1) g,    v <- b2 v + (1 - b2) g^2
    x <- x - a_t * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + e),    a_t = a (1 - decay)^(t - 1)

It draws nothing and ranks nothing: each of its P points climbs by itself. Genomes are whitened, so that a
step size of 0.1 moves every coordinate by at most about a tenth of the spread of the stock voices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coconut.config import InputError
from coconut.strategy.base import Strategy, double

EPSILON = 1e-8
MEMORY = 0.9  # of the running average of a point's losses
STEEPEST = 1e100  # beyond, float64 has no room for squares


class Adam(Strategy):
    """P points that climb at once: the mean, and P - 1 drawn from N(mean, sigma^2).

    `mean` is the point whose running average of losses is lowest; `sigma` stays as given. A point whose
    loss or gradient is not finite goes back to where both last were, and loses its momentum.

    Further arguments:
        learning_rate: a, in units of the genome.
        beta1, beta2: b1 and b2.
        clip: longest gradient; 0: any.
        decay: share of the step size that is lost from step to step.
    """

    kind = "adam"
    needs_gradient = True
    fewest = 1
    settings = (*Strategy.settings, "learning_rate", "beta1", "beta2", "clip", "decay")
    state = (*Strategy.state, "_points", "_before", "_first", "_second", "_steps", "_average")

    def __init__(
        self,
        *args: Any,
        learning_rate: float = 0.1,
        beta1: float = 0.9,
        beta2: float = 0.999,
        clip: float = 1.0,
        decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.learning_rate, self.clip, self.decay = float(learning_rate), float(clip), float(decay)
        self.beta1, self.beta2 = float(beta1), float(beta2)
        if not (0 < self.learning_rate < float("inf") and self.clip >= 0):
            raise InputError("learning_rate must be a positive number, and clip one of at least 0.")
        if not all(0 <= share < 1 for share in (self.beta1, self.beta2, self.decay)):
            raise InputError("beta1, beta2 and decay must be at least 0 and below 1.")
        self._points = self._mean + self._sigma0 * self._noise()
        self._points[0] = self._mean
        self._before = self._points.clone()
        self._first, self._second = torch.zeros_like(self._points), torch.zeros_like(self._points)
        self._steps, self._average = torch.zeros(2, self.popsize, dtype=torch.float64)

    @property
    def sigma(self) -> float:
        return self._sigma0

    @property
    def mean(self) -> Tensor:
        average = self._average / (1 - MEMORY**self._steps).clamp_min(EPSILON)
        return self._points[average.where(self._steps > 0, float("inf")).argmin()].clone()

    def _sample(self, z: Tensor) -> Tensor:
        return self._points.clone()

    def _learn(self, x: Tensor, losses: Tensor, gradient: Tensor | None) -> None:
        if gradient is None:
            raise InputError("adam follows a gradient: tell it one, [candidates, dimensions], beside the losses.")
        slope = double(gradient)
        if slope.shape != x.shape:
            raise InputError(f"tell needs a gradient {list(x.shape)}, not {list(slope.shape)}.")
        good = losses.isfinite() & x.isfinite().all(1) & (slope.abs().amax(1) < STEEPEST)
        if not good.any():
            self._warn_of_nothing()
        self._average = torch.where(good, MEMORY * self._average + (1 - MEMORY) * losses, self._average)
        self._steps = self._steps + good
        good = good[:, None]
        slope = self._clipped(slope.where(good, 0.0))
        self._first = torch.where(good, self.beta1 * self._first + (1 - self.beta1) * slope, 0.0)
        self._second = torch.where(good, self.beta2 * self._second + (1 - self.beta2) * slope.square(), self._second)
        self._before = torch.where(good, x, self._before)
        self._points = self._before - self._step().where(good, 0.0)

    def _step(self) -> Tensor:
        """[P, D]"""
        t = self._steps[:, None].clamp_min(1)
        first, second = self._first / (1 - self.beta1**t), self._second / (1 - self.beta2**t)
        return self.learning_rate * (1 - self.decay) ** (t - 1) * first / (second.sqrt() + EPSILON)

    def _clipped(self, slope: Tensor) -> Tensor:
        if not self.clip:
            return slope
        length = torch.linalg.vector_norm(slope, dim=1, keepdim=True)
        return slope * (self.clip / length.clamp_min(self.clip))
