"""The contract of every strategy: ask, tell, mean, sigma, state_dict; with the checks they share.

A strategy minimises. Only the ranking of the losses is used, so any increasing transform
of the loss gives the same trajectory, bit for bit.
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
from coconut.strategy.ranking import rank, share_ties

Covariance = Tensor | Sequence[float] | None


class Strategy(ABC):
    """A search distribution over genomes `[D]` that is asked for candidates and told their losses.

    Arguments shared by all kinds:
        mean: `[D]` start, floating point; its device and dtype are those of the whole state.
        sigma: initial step size, in units of `scale`.
        popsize: candidates per generation P; None: 4 + floor(3 ln D) (Hansen, arXiv:1604.00772).
        seed: of the own generator; the global one is never touched.
        scale: `[D]` positive multipliers of sigma per coordinate; None: ones.
        sigma_min, sigma_max: bounds that `sigma` never leaves; None: what the dtype has room for,
            1e-19 to 3e9 in float32, 1e-154 to 8e76 in float64, which no bound given extends.

    Raises InputError for arguments no search could start from.
    """

    kind: ClassVar[str]
    tensors: ClassVar[tuple[str, ...]]
    """Names of the attributes that, with the generator, are the whole state."""

    _mean: Tensor

    def __init__(
        self,
        mean: Tensor,
        sigma: float,
        popsize: int | None = None,
        seed: int = 0,
        *,
        scale: Tensor | Sequence[float] | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
    ) -> None:
        self._mean = _checked_mean(mean)
        self.dim = self._mean.numel()
        self.popsize = _checked_popsize(popsize, self.dim)
        tiny = torch.finfo(self._mean.dtype).tiny
        self.sigma_min = float(sigma_min) if sigma_min and not 0 < sigma_min < tiny**0.5 else tiny**0.5
        self.sigma_max = min(float("inf" if sigma_max is None else sigma_max), tiny**-0.25)
        self._sigma0 = _checked_sigma(sigma, self.sigma_min, self.sigma_max)
        self._scale = self._vector(scale, "scale") if scale is not None else torch.ones_like(self._mean)
        self._log_scale = float(self._scale.log().mean())
        self._generator = torch.Generator(device=self._mean.device).manual_seed(int(seed))
        self._on_cpu = self._mean.device.type == "cpu"
        self._mute = torch.zeros((), dtype=torch.bool, device=self._mean.device)
        self._warned = False
        self._tied = True  # whether losses may be equal; on other devices one would have to wait to know
        self.generation = 0

    @property
    def mean(self) -> Tensor:
        """`[D]` a copy of the centre of the distribution: the strategy's answer so far."""
        return self._mean.clone()

    @property
    @abstractmethod
    def sigma(self) -> float:
        """Geometric mean of the standard deviations, in units of `scale`. Waits for the device."""

    def ask(self) -> Tensor:
        """`[P, D]` candidates, a tensor of the caller's own."""
        return self._sample(self._noise())

    def tell(self, x: Tensor, losses: Tensor | Sequence[float]) -> None:
        """Move the distribution: `losses [P]` of the candidates `x [P, D]`, lower is better.

        `x` need not be what `ask` gave, nor in its order. NaN and infinite losses rank worst,
        as do candidates that are not finite themselves; a generation in which all losses are
        equal or none is finite leaves the distribution as it is, the latter with one warning
        (at once on the CPU, with the next `state_dict` on other devices, which are not waited for).
        Raises InputError where a shape is wrong.
        """
        x, losses = self._clean(*self._received(x, losses))
        order, ordered = rank(losses)
        x = x.index_select(0, order)
        if self._on_cpu:
            values = ordered.tolist()
            self._tied = len(set(values)) < self.popsize
            if values[0] < values[-1]:
                self._update(x, ordered)
            elif values[0] == math.inf:
                self._mute.fill_(True)
                self._warn_if_mute()
        else:
            # the same choice without waiting for the device
            before = {name: getattr(self, name) for name in self.tensors}
            flat = ordered[0] == ordered[-1]
            self._mute = self._mute | (ordered[0] == math.inf)
            self._update(x, ordered)
            for name, old in before.items():
                setattr(self, name, torch.where(flat, old, getattr(self, name)))
        self.generation += 1

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes, generator included: plain numbers, strings and tensors (copies)."""
        self._warn_if_mute()
        state: dict[str, Any] = {name.removeprefix("_"): getattr(self, name).clone() for name in self.tensors}
        state.update(kind=self.kind, dim=self.dim, popsize=self.popsize, generation=self.generation)
        state["generator"] = self._generator.get_state().clone()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()` of a strategy built with the same arguments, bit for bit.

        Raises InputError when the state is of another kind, size, dtype or kind of device.
        """
        for name in ("kind", "dim", "popsize"):
            if state.get(name) != getattr(self, name):
                raise InputError(
                    f"The state to resume has {name} {state.get(name)!r}, this {self.kind} strategy has "
                    f"{getattr(self, name)!r}; resume with the settings it was saved with."
                )
        restored: dict[str, Tensor] = {}
        for name in self.tensors:
            value, mine = state.get(name.removeprefix("_")), getattr(self, name)
            if not isinstance(value, Tensor) or value.shape != mine.shape or value.dtype != mine.dtype:
                raise InputError(
                    f"The state to resume does not fit: {name.removeprefix('_')} should be a {mine.dtype} "
                    f"tensor of shape {list(mine.shape)}."
                )
            restored[name] = value
        if not isinstance(state.get("generation"), int):
            raise InputError("The state to resume does not fit: generation should be a whole number.")
        generator, mine = state.get("generator"), self._generator.get_state()
        if not isinstance(generator, Tensor) or (generator.dtype, generator.shape) != (mine.dtype, mine.shape):
            raise InputError("The random state was saved on another kind of device; resume on that kind.")
        for name, value in restored.items():
            setattr(self, name, value.detach().to(self._mean.device, copy=True))
        self._generator.set_state(generator.cpu())
        self.generation = state["generation"]

    @abstractmethod
    def _sample(self, z: Tensor) -> Tensor:
        """Candidates `[P, D]` from standard normal noise `z [P, D]`."""

    @abstractmethod
    def _update(self, x: Tensor, ordered: Tensor) -> None:
        """Move, given candidates `x [P, D]` from best to worst and their losses `ordered [P]`.

        Assigns new tensors to the attributes named in `tensors`, and never writes into the old.
        """

    def _noise(self) -> Tensor:
        """`[P, D]` standard normal."""
        return torch.randn(
            (self.popsize, self.dim),
            generator=self._generator,
            dtype=self._mean.dtype,
            device=self._mean.device,
        )

    def _by_rank(self, weights: Tensor, ordered: Tensor) -> Tensor:
        """`weights` by rank, shared among equal losses."""
        return share_ties(weights, ordered) if self._tied else weights

    def _received(self, x: Tensor, losses: Tensor | Sequence[float]) -> tuple[Tensor, Tensor]:
        like = self._mean
        if not isinstance(x, Tensor) or x.dtype != like.dtype or x.device != like.device or x.requires_grad:
            x = torch.as_tensor(x, dtype=like.dtype, device=like.device).detach()
        widest = torch.float32 if like.device.type == "mps" else torch.float64
        if not isinstance(losses, Tensor):
            losses = torch.as_tensor(losses, dtype=torch.float64)
        if losses.device != like.device or losses.requires_grad:
            losses = losses.detach().to(like.device, widest)
        if x.shape != (self.popsize, self.dim) or losses.shape != (self.popsize,):
            raise InputError(
                f"tell needs candidates [{self.popsize}, {self.dim}] and losses [{self.popsize}], "
                f"not {list(x.shape)} and {list(losses.shape)}."
            )
        return x, losses if losses.is_floating_point() else losses.to(widest)

    def _clean(self, x: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates that are not finite get the worst loss, and the mean in their place."""
        if self._on_cpu and math.isfinite(float(x.sum())):
            return x, losses
        finite = x.isfinite().all(1)
        return torch.where(finite[:, None], x, self._mean), torch.where(finite, losses, math.nan)

    def _warn_if_mute(self) -> None:
        if not self._warned and bool(self._mute):
            self._warned = True
            warnings.warn(
                f"All {self.popsize} losses of a generation were non-finite; the {self.kind} "
                "distribution stays where it is in such generations.",
                RuntimeWarning,
                stacklevel=3,
            )

    def _vector(self, value: Any, name: str) -> Tensor:
        """`value` as a positive finite `[D]` like the mean."""
        vector = torch.as_tensor(value, dtype=self._mean.dtype, device=self._mean.device).detach().clone()
        if vector.shape != self._mean.shape or not bool(((vector > 0) & vector.isfinite()).all()):
            raise InputError(f"{name} must hold {self.dim} positive finite numbers, one per coordinate.")
        return vector

    def _diagonal(self, covariance: Covariance) -> Tensor:
        """The diagonal of `_matrix`, without the matrix where none is given."""
        if covariance is None:
            return self._scale**2
        if torch.as_tensor(covariance).ndim == 1:
            return self._vector(covariance, "covariance") * self._scale**2
        return self._matrix(covariance).diagonal().clone()

    def _matrix(self, covariance: Covariance) -> Tensor:
        """Starting covariance `[D, D]` for sigma 1: `covariance` (default: identity) between scales."""
        if covariance is None:
            return torch.diag(self._scale**2)
        value = torch.as_tensor(covariance, dtype=self._mean.dtype, device=self._mean.device).detach()
        if value.ndim == 1:
            return torch.diag(self._vector(value, "covariance") * self._scale**2)
        if value.shape != (self.dim, self.dim) or not bool(value.isfinite().all()):
            raise InputError(f"covariance must be a finite [{self.dim}] or [{self.dim}, {self.dim}] tensor.")
        if not torch.allclose(value, value.T, rtol=1e-4) or bool(eigh(value)[0][0] <= 0):
            raise InputError("covariance must be symmetric and positive definite.")
        return value * torch.outer(self._scale, self._scale)


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Ascending eigenvalues and eigenvectors of a symmetric matrix; on the CPU where the device has none."""
    if matrix.device.type != "mps":
        values, vectors = torch.linalg.eigh(matrix)
        return values, vectors
    values, vectors = torch.linalg.eigh(matrix.cpu())
    return values.to(matrix.device), vectors.to(matrix.device)


def default_popsize(dim: int) -> int:
    """4 + floor(3 ln n) (Hansen, arXiv:1604.00772, equation 48)."""
    return 4 + math.floor(3 * math.log(dim))


def _checked_mean(mean: Tensor) -> Tensor:
    if not isinstance(mean, Tensor) or mean.ndim != 1 or mean.numel() == 0 or not mean.is_floating_point():
        raise InputError("mean must be a floating-point tensor of shape [D] with D of at least 1.")
    if not bool(mean.isfinite().all()):
        raise InputError("mean holds NaN or infinite numbers; a search needs a finite start.")
    return mean.detach().clone()


def _checked_popsize(popsize: int | None, dim: int) -> int:
    if popsize is None:
        return default_popsize(dim)
    if isinstance(popsize, bool) or not isinstance(popsize, Integral) or popsize < 2:
        raise InputError(f"popsize is {popsize}; it must be a whole number of at least 2.")
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
