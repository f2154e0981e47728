"""The contract of every strategy: ask, tell, mean, sigma, state_dict; with the checks they share.

A strategy minimises. Only the ranking of the losses is used, so any increasing transform
of the loss gives the same trajectory, bit for bit. A population of genomes costs microseconds
beside seconds of synthesis, so a strategy lives on the CPU in float64, whatever it is given.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor

from coconut.config import InputError
from coconut.strategy.ranking import ranked

TINY = torch.finfo(torch.float64).tiny
SMALLEST, LARGEST = TINY**0.5, TINY**-0.25  # bounds of every sigma: 1e-154 and 8e76


class Strategy(ABC):
    """A search distribution over genomes `[D]` that is asked for candidates and told their losses.

    Arguments shared by all kinds:
        mean: `[D]` start, floating point.
        sigma: initial step size.
        popsize: candidates per generation P; None: 4 + floor(3 ln D) (Hansen, arXiv:1604.00772).
        seed: of the own generator; the global one is never touched.
        sigma_min, sigma_max: bounds that `sigma` never leaves; None: 1e-154 and 8e76, what float64
            has room for, which no bound given extends.

    Raises InputError for arguments no search could start from.
    """

    kind: ClassVar[str]
    settings: ClassVar[tuple[str, ...]] = ("sigma_min", "sigma_max")
    """Names of the options beyond mean, sigma, popsize and seed."""
    searched: ClassVar[bool] = True
    """Whether a sweep tries this kind unless told otherwise."""
    needs_gradient: ClassVar[bool] = False
    """Whether `tell` needs the gradient of the losses."""
    fewest: ClassVar[int] = 2
    """The smallest population."""
    state: ClassVar[tuple[str, ...]] = ("_mean", "_sigma0", "generation")
    """Names of the attributes, tensors and plain numbers, that with the generator are the whole state."""

    def __init__(
        self,
        mean: Tensor,
        sigma: float,
        popsize: int | None = None,
        seed: int = 0,
        *,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
    ) -> None:
        self._mean = _checked_mean(mean)
        self.dim = self._mean.numel()
        self.popsize = _checked_popsize(popsize, self.dim, self.fewest)
        self.sigma_min = float(sigma_min) if sigma_min and not 0 < sigma_min < SMALLEST else SMALLEST
        self.sigma_max = LARGEST if sigma_max is None else min(float(sigma_max), LARGEST)
        self._sigma0 = _checked_sigma(sigma, self.sigma_min, self.sigma_max)
        self._generator = torch.Generator().manual_seed(int(seed))
        self._mute = False
        self.generation = 0

    @property
    def mean(self) -> Tensor:
        """`[D]` a copy of the centre of the distribution: the strategy's answer so far."""
        return self._mean.clone()

    @property
    @abstractmethod
    def sigma(self) -> float:
        """Geometric mean of the standard deviations."""

    def ask(self) -> Tensor:
        """`[P, D]` candidates, float64 on the CPU, a tensor of the caller's own."""
        return self._sample(self._noise())

    def tell(self, x: Tensor, losses: Tensor | Sequence[float], gradient: Tensor | None = None) -> None:
        """Move the distribution: `losses [P]` of the candidates `x [P, D]`, lower is better.

        `x` need not be what `ask` gave, nor in its order. NaN and infinite losses rank worst,
        as do candidates that are not finite themselves; a generation in which all losses are
        equal or none is finite leaves the distribution as it is, the latter with one warning.
        `gradient [P, D]` of the losses is for kinds that follow it; evolution strategies do not.
        Raises InputError where a shape is wrong.
        """
        x, losses = double(x), double(losses)
        if x.shape != (self.popsize, self.dim) or losses.shape != (self.popsize,):
            raise InputError(
                f"tell needs candidates [{self.popsize}, {self.dim}] and losses [{self.popsize}], "
                f"not {list(x.shape)} and {list(losses.shape)}."
            )
        self._learn(x, losses, gradient)
        self.generation += 1

    def _learn(self, x: Tensor, losses: Tensor, gradient: Tensor | None) -> None:
        """Move by the ranking of the losses; `x [P, D]` and `losses [P]` are of the right shapes and kinds."""
        # candidates that are not finite get the worst loss, and the mean in their place
        finite = x.isfinite().all(1)
        order, ordered = ranked(torch.where(finite, losses, math.nan))
        if ordered[0] < ordered[-1]:
            self._update(torch.where(finite[:, None], x, self._mean)[order], ordered)
        elif ordered[0] == math.inf:
            self._warn_of_nothing()

    def _warn_of_nothing(self) -> None:
        """Once: nothing of a generation was finite."""
        if not self._mute:
            self._mute = True
            warnings.warn(
                f"All {self.popsize} losses of a generation were non-finite; the {self.kind} "
                "distribution stays where it is in such generations.",
                RuntimeWarning,
                stacklevel=4,
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes, generator included: plain numbers, strings and CPU tensors (copies)."""
        state: dict[str, Any] = {"kind": self.kind, "dim": self.dim, "popsize": self.popsize}
        state.update((name.removeprefix("_"), _copied(getattr(self, name))) for name in self.state)
        state["generator"] = self._generator.get_state()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()` of a strategy of the same kind, dim, popsize and settings, bit for bit.

        The mean, sigma and seed that this one was built with are forgotten. Raises InputError when the
        state does not fit.
        """
        for name in ("kind", "dim", "popsize"):
            if state.get(name) != getattr(self, name):
                raise InputError(
                    f"The state to resume has {name} {state.get(name)!r}, this {self.kind} strategy has "
                    f"{getattr(self, name)!r}; resume with the settings it was saved with."
                )
        for name, mine in self.state_dict().items():
            if _form(state.get(name)) != _form(mine):
                raise InputError(f"The state to resume does not fit: {name} should be {_form(mine)}.")
        for name in self.state:
            setattr(self, name, _copied(state[name.removeprefix("_")]))
        self._generator.set_state(_copied(state["generator"]))

    @abstractmethod
    def _sample(self, z: Tensor) -> Tensor:
        """Candidates `[P, D]` from standard normal noise `z [P, D]`."""

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        """Move, given candidates `x [P, D]` from best to worst and their losses `ordered [P]`.

        Not all losses are equal. Changes only attributes named in `state`.
        """
        raise NotImplementedError

    def _noise(self) -> Tensor:
        """`[P, D]` standard normal."""
        return torch.randn((self.popsize, self.dim), generator=self._generator, dtype=torch.float64)


def default_popsize(dim: int) -> int:
    """4 + floor(3 ln n) (Hansen, arXiv:1604.00772, equation 48)."""
    return 4 + math.floor(3 * math.log(dim))


def double(value: Tensor | Sequence[float]) -> Tensor:
    """On the CPU in float64, without its graph."""
    if isinstance(value, Tensor):
        return value.detach().cpu().double()
    return torch.as_tensor(value, dtype=torch.float64)


def _copied(value: Any) -> Any:
    """A part of a state: a CPU tensor of its own, or a plain number."""
    return value.detach().cpu().clone() if isinstance(value, Tensor) else value


def _form(value: Any) -> str:
    """What two values of one place in a state must have in common."""
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor of shape {list(value.shape)}"
    return f"of type {type(value).__name__}"


def _checked_mean(mean: Tensor) -> Tensor:
    if not isinstance(mean, Tensor) or mean.ndim != 1 or mean.numel() == 0 or not mean.is_floating_point():
        raise InputError("mean must be a floating-point tensor of shape [D] with D of at least 1.")
    if not bool(mean.isfinite().all()):
        raise InputError("mean holds NaN or infinite numbers; a search needs a finite start.")
    return double(mean).clone()


def _checked_popsize(popsize: int | None, dim: int, fewest: int) -> int:
    if popsize is None:
        return default_popsize(dim)
    if isinstance(popsize, bool) or not isinstance(popsize, Integral) or popsize < fewest:
        raise InputError(f"popsize is {popsize}; it must be a whole number of at least {fewest}.")
    return int(popsize)


def _checked_sigma(sigma: float, low: float, high: float) -> float:
    sigma = float(sigma)
    if not (math.isfinite(sigma) and sigma > 0):
        raise InputError(f"sigma is {sigma:g}; it must be a positive finite number.")
    if not 0 < low <= high:
        raise InputError(f"sigma_min {low:g} and sigma_max {high:g} must be positive and in this order.")
    if not low <= sigma <= high:
        raise InputError(f"sigma is {sigma:g}; it must lie between sigma_min {low:g} and sigma_max {high:g}.")
    return sigma
