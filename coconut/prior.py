"""What the stock voices of a model have in common: where they lie in style space, and how far apart.

A voicepack is almost `base + profile[row] * slope`. Bases and slopes are described as normal distributions
by their mean, principal components and spread. `mini` ships its own, so that a genome of the `pca` space means
the same voice on every machine; for other models it is computed from their voices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from coconut.voicepack import ROWS


@dataclass(frozen=True)
class Normal:
    """mean [S]; components [K, S] of unit length; spread [K], the standard deviation along each, falling."""

    mean: Tensor
    components: Tensor
    spread: Tensor

    @classmethod
    def of(cls, points: Tensor) -> Normal:
        """The distribution of points [V, S]. Components along which they do not differ are dropped."""
        mean = points.mean(0)
        _, sizes, axes = torch.linalg.svd((points - mean).double(), full_matrices=False)
        spread = sizes / math.sqrt(max(1, len(points) - 1))
        keep = int((sizes > 1e-6 * sizes[0].clamp_min(1e-12)).sum())
        signs = torch.sign(axes.gather(1, axes.abs().argmax(1, keepdim=True)))  # SVD leaves signs open
        return cls(mean, (axes * signs)[:keep].to(points), spread[:keep].to(points))

    def axes(self, count: int, whiten: bool) -> Tensor:
        """The first `count` components, [<= count, S], as long as the spread along them where whitened."""
        return self.components[:count] * (self.spread[:count, None] if whiten else 1.0)

    def whole(self, unseen: float) -> Normal:
        """The same over all S dims: those in which the points do not differ come last, with the spread `unseen`,
        or that of the last component where that is less."""
        size = self.components.shape[1]
        full, _ = torch.linalg.qr(torch.cat([self.components, torch.eye(size).to(self.components)]).double().T)
        rest = full.T[len(self.components) : size].to(self.components)
        least = min(unseen, float(self.spread[-1]))
        spread = torch.cat([self.spread, torch.full((len(rest),), least).to(self.spread)])
        return Normal(self.mean, torch.cat([self.components, rest]), spread)


def unseen_spread(points: Tensor) -> float:
    """Root mean square, per dim, of what each of points [V, S] has outside the span of all others.

    It is the spread to expect of a new point along each of the dims in which the known ones do not differ.
    """
    squares, (count, size) = 0.0, points.shape
    for left in range(count):
        others = torch.cat([points[:left], points[left + 1 :]]).double()
        centre = others.mean(0)
        axes = torch.linalg.svd(others - centre, full_matrices=False)[2][: count - 2]
        away = points[left].double() - centre
        squares += float(away.square().sum() - (axes @ away).square().sum())
    return math.sqrt(max(squares, 0.0) / count / max(1, size - count + 2))


@dataclass(frozen=True)
class Prior:
    """profile [510] over rows, of unit mean square; distributions of bases and slopes over 256 dims."""

    profile: Tensor
    base: Normal
    slope: Normal

    @classmethod
    def of(cls, packs: Tensor) -> Prior:
        """From stock voices [V, 510, 256]."""
        profile = row_profile(packs)
        base, slope = base_and_slope(packs, profile)
        return cls(profile, Normal.of(base), Normal.of(slope))

    @classmethod
    def from_tensors(cls, store: dict[str, Tensor]) -> Prior:
        """The inverse of `tensors`."""
        parts = (
            Normal(*(store[f"{name}.{field}"].float() for field in ("mean", "components", "spread")))
            for name in ("base", "slope")
        )
        return cls(store["profile"].float(), *parts)

    def tensors(self) -> dict[str, Tensor]:
        """By name, as in a safetensors file: profile, {base,slope}.{mean,components,spread}."""
        found = {"profile": self.profile}
        for name, normal in (("base", self.base), ("slope", self.slope)):
            found |= {f"{name}.{field}": value.contiguous() for field, value in vars(normal).items()}
        return found

    def to(self, device: torch.device | str) -> Prior:
        return Prior.from_tensors({key: value.to(device) for key, value in self.tensors().items()})


def row_profile(packs: Tensor) -> Tensor:
    """The profile over rows [510] that the stock voices [V, 510, 256] share: the leading left singular
    vector of their deviations from their own row means, of unit mean square, positive at row 0."""
    deviation = packs - packs.mean(1, keepdim=True)
    gram = torch.einsum("vrs,vqs->rq", deviation.double(), deviation.double())
    values, vectors = torch.linalg.eigh(gram)
    if values[-1] <= 1e-12 * packs.double().square().sum():
        return torch.zeros(ROWS).to(packs)
    profile = vectors[:, -1] * math.sqrt(ROWS)
    return (profile * torch.sign(profile[0])).to(packs)


def base_and_slope(packs: Tensor, profile: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares base [V, 256] and slope [V, 256] of packs [V, 510, 256]."""
    base = packs.mean(1)
    power = profile.square().sum().clamp_min(1e-12)
    return base, torch.einsum("r,vrs->vs", profile, packs - base[:, None]) / power
