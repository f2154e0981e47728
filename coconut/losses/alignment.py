"""Dynamic time warping of many pairs at once (Sakoe and Chiba, IEEE ASSP-26, 1978).

The symmetric form without slope constraint, their eq. 9 and 20: a step along the diagonal counts
its cost twice, a step along one axis once, so that every path from corner to corner has the same
weight n + m, by which the sum is divided.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from coconut.synthesis.kernels import Kernel
from coconut.synthesis.memory import Parts
from coconut.synthesis.transfer import fetch, upload

BAND = 0.2  # how far, as a share of the whole, the two clocks may differ
CELLS = Parts(24_000_000)  # cells of the cost matrices held at once


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of all pairs of frames: a [B, C, N], b [B, C, M] -> [B, N, M]."""
    return torch.cdist(a.transpose(1, 2), b.transpose(1, 2), p=1.0) / a.shape[1]


def dtw(cost: Tensor, n: Tensor, m: Tensor, band: float = BAND, carried: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cost [B] of the best path through each cost[b, :n, :m], per step of weight 1; cost [B, N, M].

    Also the mean of `carried` [B, N, M] along that same path with the same weights (zeros
    without it). Cells further than `band` from the straight line are closed; the band opens far
    enough for a path to exist. All cells of one anti-diagonal are computed together.
    """
    return WARP(cost, n, m, band, carried)


def path(
    cost: Tensor, band: float = BAND, n: Tensor | None = None, m: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The best path through one matrix cost[:n, :m], by default all of [N, M]: rows, columns, and weights, all [K].

    (weights * cost[rows, columns]).sum() is what `dtw` gives, and (weights * carried[rows, columns]).sum()
    what it gives for `carried`: with the path known, both have a gradient. n and m are scalars on the device.
    """
    n, m = (upload([size], cost.device)[0] if k is None else k for k, size in zip((n, m), cost.shape, strict=True))
    grid = WARP_GRID(cost.detach()[None], n[None], m[None], band)
    found, costs, sizes = fetch(grid[:, 0], cost, torch.stack([n, m]))
    total, here = found.tolist(), costs.tolist()  # total[i + j][i]
    (rows, columns), taken = map(int, sizes.tolist()), []
    i, j = rows - 1, columns - 1
    while i or j:
        up = total[i + j - 1][i - 1] if i else math.inf
        left = total[i + j - 1][i] if j else math.inf
        across = total[i + j - 2][i - 1] + here[i][j] if i and j else math.inf
        diagonal = i > 0 and j > 0 and across <= min(up, left)
        taken.append((i, j, 1 + diagonal))
        back = j > 0 and (left <= up or not i)
        i, j = (i - 1, j - 1) if diagonal else (i, j - 1) if back else (i - 1, j)
    steps = upload(torch.tensor([*taken, (0, 0, 2)]), cost.device)
    return steps[:, 0], steps[:, 1], steps[:, 2].to(cost.dtype) / (rows + columns)


def _warp(cost: Tensor, n: Tensor, m: Tensor, band: float, carried: Tensor | None) -> tuple[Tensor, Tensor]:
    grid, other = _summed(cost, n, m, band, carried)
    item = torch.arange(len(cost), device=cost.device)
    end = (n + m - 2, item, n)  # column 0 of the grid is a border
    weight = (n + m).to(cost.dtype)
    return grid[end] / weight, (other[end] if other is not None else torch.zeros_like(weight)) / weight


def _warp_grid(cost: Tensor, n: Tensor, m: Tensor, band: float) -> Tensor:
    return _summed(cost, n, m, band, None)[0][:, :, 1:]


def _summed(cost: Tensor, n: Tensor, m: Tensor, band: float, carried: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Costs of the best paths to all cells, and of `carried` along them, as `_skewed` lays them out."""
    _, rows, columns = cost.shape
    steps = rows + columns - 1
    grid = _skewed(cost.masked_fill(_closed(n, m, rows, columns, band), math.inf), math.inf)
    other = _skewed(carried, 0.0) if carried is not None else None
    grid[0, :, 1] *= 2  # the first cell counts as a diagonal step
    if other is not None:
        other[0, :, 1] *= 2
    for k in range(1, steps):
        here, one, two = grid[k], grid[k - 1], grid[max(k - 2, 0)]
        straight = torch.minimum(one[:, 1:], one[:, :-1])
        if k > 1:
            diagonal = two[:, :-1] + here[:, 1:]
            if other is not None:
                _carry(other, k, one, straight, diagonal)
            straight = torch.minimum(straight, diagonal)
        elif other is not None:
            _carry(other, k, one, straight, torch.full_like(straight, math.inf))
        here[:, 1:].add_(straight)
    return grid, other


def _carry(other: Tensor, k: int, one: Tensor, straight: Tensor, diagonal: Tensor) -> None:
    """Add to anti-diagonal k of `other` the sum of the predecessor that the path takes."""
    here = other[k][:, 1:]
    side = torch.where(one[:, 1:] <= one[:, :-1], other[k - 1][:, 1:], other[k - 1][:, :-1])
    across = diagonal <= straight  # of equal paths the straighter
    before = torch.where(across, other[k - 2][:, :-1] + here if k > 1 else side, side)
    here += before


def _closed(n: Tensor, m: Tensor, rows: int, columns: int, band: float) -> Tensor:
    """[B, N, M] true outside the item or its band."""
    i = torch.arange(rows, device=n.device)
    j = torch.arange(columns, device=n.device)
    last_n, last_m = (n - 1).clamp_min(1), (m - 1).clamp_min(1)
    apart = (i / last_n[:, None])[:, :, None] - (j / last_m[:, None])[:, None, :]
    width = (1 / torch.minimum(last_n, last_m)).clamp_min(band)[:, None, None]
    outside = (i >= n[:, None])[:, :, None] | (j >= m[:, None])[:, None, :]
    return outside | (apart.abs() > width + 1e-6)


def _skewed(matrix: Tensor, fill: float) -> Tensor:
    """out [N + M - 1, B, 1 + N] with out[i + j, b, 1 + i] = matrix[b, i, j], elsewhere `fill`."""
    size, rows, columns = matrix.shape
    flat = pad(matrix, (0, rows), value=fill).flatten(1)[:, : rows * (rows + columns - 1)]
    out = matrix.new_full((rows + columns - 1, size, rows + 1), fill)
    out[:, :, 1:] = flat.unflatten(1, (rows, rows + columns - 1)).permute(2, 0, 1)
    return out


def _example(device: torch.device) -> tuple:
    cost = (torch.arange(2 * 40 * 30.0, device=device) * 0.7).sin().abs().view(2, 40, 30)
    sizes = torch.arange(2, device=device)
    return cost, 40 - 7 * sizes, 30 - 9 * sizes, BAND


WARP = Kernel(  # what `dtw` gives
    "warp(Tensor cost, Tensor n, Tensor m, float band, Tensor? carried) -> (Tensor, Tensor)",
    _warp,
    lambda device: (*_example(device), _example(device)[0].square()),
)
WARP_GRID = Kernel(  # [N + M - 1, B, N]: the cost of the best path to cell i, j at [i + j, :, i], as far as items reach
    "warp_grid(Tensor cost, Tensor n, Tensor m, float band) -> Tensor",
    _warp_grid,
    lambda device: tuple(x[:1] if isinstance(x, Tensor) else x for x in _example(device)),
)
