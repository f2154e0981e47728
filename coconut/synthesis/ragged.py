"""Batches of items of unequal length: which steps are valid, and what that changes.

A padded batch is [B, T, C]. Whatever looks along time (a convolution, a mean) must not see
the padding: `blank_` zeroes it, `moments` leaves it out. When all items are equally long both
cost nothing extra.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from coconut.synthesis.transfer import upload


def on_cpu(x: Tensor) -> bool:
    """Whether x takes the paths made for a CPU: items one by one, oneDNN's and numpy's kernels, in place.

    They have no gradient; what is to have one takes the plain paths.
    """
    return x.device.type == "cpu" and not x.requires_grad


def var_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Biased variance and mean of x [B, T, C] over time, both [B, 1, C]."""
    if x.device.type != "cpu":
        return torch.var_mean(x, dim=1, correction=0, keepdim=True)
    mean = x.mean(1, keepdim=True)  # the kernel of torch.var_mean over rows is slow there
    return (x - mean).square().mean(1, keepdim=True), mean


class Lengths:
    """Valid steps of the B items of a batch padded to `total` steps. `tensor`: the same on the device, if known."""

    def __init__(
        self, steps: Sequence[int], device: torch.device, total: int | None = None, tensor: Tensor | None = None
    ) -> None:
        self.steps = list(steps)
        self.total = max(self.steps) if total is None else total
        self.device = device
        self.equal = all(n == self.total for n in self.steps)
        self._tensor = tensor
        self._padding: Tensor | None = None
        self._derived: dict[tuple[str, int, int], Lengths] = {}

    def times(self, rate: int, extra: int = 0) -> Lengths:
        """The same items at `rate` steps for one, plus `extra` steps each."""
        return self._at(("times", rate, extra), lambda n: n * rate + extra if extra else n * rate)

    def blocks(self, size: int) -> Lengths:
        """The same items in whole blocks of `size` steps, and one more."""
        return self._at(("blocks", size, 1), lambda n: n // size + 1)

    def _at(self, key: tuple[str, int, int], steps: Callable[[Any], Any]) -> Lengths:
        """The items at steps(n) for n, made once; where their tensor is known, that of the others is computed there."""
        if key not in self._derived:
            tensor = None if self._tensor is None else steps(self._tensor)
            self._derived[key] = Lengths([steps(n) for n in self.steps], self.device, steps(self.total), tensor)
        return self._derived[key]

    @property
    def tensor(self) -> Tensor:
        """[B] long, on the device."""
        if self._tensor is None:
            self._tensor = upload(self.steps, self.device)
        return self._tensor

    @property
    def padding(self) -> Tensor:
        """[B, T, 1] bool, True beyond the end of an item."""
        if self._padding is None:
            steps = torch.arange(self.total, device=self.device)
            self._padding = (steps >= self.tensor[:, None]).unsqueeze(-1)
        return self._padding

    def blank_(self, x: Tensor) -> Tensor:
        """Zero x [B, T, C] beyond the end of each item, in place."""
        if self.equal:
            return x
        if not on_cpu(x):
            return x.masked_fill_(self.padding, 0.0)
        for item, n in zip(x, self.steps, strict=True):
            item[n:] = 0.0
        return x

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of x [B, T, C] over the valid steps: two [B, 1, C]."""
        if on_cpu(x):
            return self._moments_cpu(x)
        if self.equal:
            var, mean = var_mean(x)
            return mean, var
        count = self.tensor[:, None, None].to(x.dtype)
        mean = x.masked_fill(self.padding, 0.0).sum(1, keepdim=True) / count
        var = (x - mean).masked_fill(self.padding, 0.0).square().sum(1, keepdim=True) / count
        return mean, var

    def _moments_cpu(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # On CPU torch.var_mean over rows is 40 times slower than batch norm's channels-last kernel.
        pairs = [
            torch.batch_norm_update_stats(item[:n].T[None, :, None], None, None, 0.0)
            for item, n in zip(x, self.steps, strict=True)
        ]
        if len(pairs) == 1:
            mean, var = pairs[0]
            return mean[None, None], var[None, None]
        return torch.stack([m for m, _ in pairs])[:, None], torch.stack([v for _, v in pairs])[:, None]

    def reversal(self) -> Tensor:
        """[B, T] indices that turn each item's valid steps round and leave its padding in place."""
        steps = torch.arange(self.total, device=self.device)
        return torch.where(steps < self.tensor[:, None], self.tensor[:, None] - 1 - steps, steps)
