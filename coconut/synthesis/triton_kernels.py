"""Kernels in Triton, imported only where there is a GPU and Triton; `kernels.py` says what uses them.

Tensors of audio features are [B, T, C], channels last; `steps` [B] are the valid steps of each item, None where
all last to the end. Programs own a block of channels, so that neighbouring threads read neighbouring numbers.
What a program computes of an item depends on that item alone, in a fixed order: not on who shares its batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

CHUNK = 256  # steps whose moments one program finds
TILE = 2048  # numbers that a program holds at once
WIDEST = 64  # channels of a program
JOINED = 32  # chunks whose moments are joined at once
SAMPLES = 1024  # of the excitation, in one program


@triton.jit
def _length(steps, item, total, EQUAL: tl.constexpr):
    if EQUAL:
        length = total
    else:
        length = tl.load(steps + item).to(tl.int32)
    return length


@triton.jit
def _summed(a, b, c, bias, at, column, valid, TERMS: tl.constexpr, BIASED: tl.constexpr):
    x = tl.load(a + at, mask=valid, other=0.0).to(tl.float32)
    if TERMS > 1:
        x += tl.load(b + at, mask=valid, other=0.0).to(tl.float32)
    if TERMS > 2:
        x += tl.load(c + at, mask=valid, other=0.0).to(tl.float32)
    if BIASED:
        x += tl.load(bias + column[None, :] + 0 * at, mask=valid, other=0.0).to(tl.float32)
    return x


@triton.jit(do_not_specialize=["total", "chunks"])
def _chunk_moments(
    a, b, c, bias, out, found, steps, total, chunks, channels,
    EQUAL: tl.constexpr, TERMS: tl.constexpr, BIASED: tl.constexpr,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Mean and sum of squared deviations of CHUNK steps, by sums of x - K: K is the mean of the first ROWS of them."""
    chunk, block, item = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = _length(steps, item, total, EQUAL)
    column = block * WIDTH + tl.arange(0, WIDTH)
    inside = column < channels
    base = item.to(tl.int64) * total * channels
    count = tl.minimum(tl.maximum(length - chunk * CHUNK, 0), CHUNK)
    row = chunk * CHUNK + tl.arange(0, ROWS)
    valid = (row < length)[:, None] & inside[None, :]
    x = _summed(a, b, c, bias, base + row[:, None] * channels + column[None, :], column, valid, TERMS, BIASED)
    centre = tl.sum(x, 0) / tl.maximum(tl.minimum(count, ROWS), 1)
    total_of = tl.zeros([ROWS, WIDTH], tl.float32)
    squares = tl.zeros([ROWS, WIDTH], tl.float32)
    for start in range(0, CHUNK, ROWS):
        row = chunk * CHUNK + start + tl.arange(0, ROWS)
        valid = (row < length)[:, None] & inside[None, :]
        at = base + row[:, None] * channels + column[None, :]
        x = _summed(a, b, c, bias, at, column, valid, TERMS, BIASED)
        if TERMS > 1:
            tl.store(out + at, x, mask=(row < total)[:, None] & inside[None, :])
        apart = tl.where(valid, x - centre[None, :], 0.0)
        total_of += apart
        squares += apart * apart
    sums = tl.sum(total_of, 0)
    shift = sums / tl.maximum(count, 1)
    to = found + (item.to(tl.int64) * chunks + chunk) * 2 * channels + column
    tl.store(to, centre + shift, mask=inside)
    tl.store(to + channels, tl.maximum(tl.sum(squares, 0) - sums * shift, 0.0), mask=inside)


@triton.jit(do_not_specialize=["total", "chunks"])
def _item_moments(
    found, out, steps, total, chunks, channels,
    EQUAL: tl.constexpr, CHUNK: tl.constexpr, JOINED: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Mean and variance of an item from those of its chunks (Chan, Golub and LeVeque, 1979)."""
    block, item = tl.program_id(0), tl.program_id(1)
    length = _length(steps, item, total, EQUAL)
    column = block * WIDTH + tl.arange(0, WIDTH)
    inside = column < channels
    start = found + item.to(tl.int64) * chunks * 2 * channels + column
    centre = tl.load(start, mask=inside, other=0.0)
    sums = tl.zeros([JOINED, WIDTH], tl.float32)
    for first in range(0, chunks, JOINED):
        chunk = first + tl.arange(0, JOINED)
        count = tl.minimum(tl.maximum(length - chunk * CHUNK, 0), CHUNK)
        used = (count > 0)[:, None] & inside[None, :]
        mean = tl.load(start[None, :] + chunk[:, None] * 2 * channels, mask=used, other=0.0)
        sums += tl.where(used, count[:, None] * (mean - centre[None, :]), 0.0)
    mean_of = centre + tl.sum(sums, 0) / tl.maximum(length, 1)
    sums = tl.zeros([JOINED, WIDTH], tl.float32)
    for first in range(0, chunks, JOINED):
        chunk = first + tl.arange(0, JOINED)
        count = tl.minimum(tl.maximum(length - chunk * CHUNK, 0), CHUNK)
        used = (count > 0)[:, None] & inside[None, :]
        at = start[None, :] + chunk[:, None] * 2 * channels
        apart = tl.load(at, mask=used, other=0.0) - mean_of[None, :]
        squares = tl.load(at + channels, mask=used, other=0.0)
        sums += tl.where(used, squares + count[:, None] * apart * apart, 0.0)
    to = out + item * 2 * channels + column
    tl.store(to, mean_of, mask=inside)
    tl.store(to + channels, tl.sum(sums, 0) / tl.maximum(length, 1), mask=inside)


@triton.jit(do_not_specialize=["total"])
def _activate(
    x, moments, scale, shift, y, steps, total, channels, stride, eps, slope,
    EQUAL: tl.constexpr, SNAKE: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    tile, block, item = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = _length(steps, item, total, EQUAL)
    column = block * WIDTH + tl.arange(0, WIDTH)
    inside = column < channels
    of = moments + item * 2 * channels + column
    mean, var = tl.load(of, mask=inside, other=0.0), tl.load(of + channels, mask=inside, other=1.0)
    gain = tl.load(scale + item * stride + column, mask=inside, other=0.0) * tl.rsqrt(var + eps)
    offset = tl.load(shift + item * stride + column, mask=inside, other=0.0)
    row = tile * ROWS + tl.arange(0, ROWS)
    valid = (row < length)[:, None] & inside[None, :]
    at = item.to(tl.int64) * total * channels + row[:, None] * channels + column[None, :]
    v = tl.load(x + at, mask=valid, other=0.0).to(tl.float32)
    v = (v - mean[None, :]) * gain[None, :] + offset[None, :]
    if SNAKE:
        wave = tl.sin(v)
        v += wave * wave
    else:
        v = tl.where(v > 0, v, v * slope)
    v = tl.where(valid, v, 0.0)
    tl.store(y + at, v.to(y.dtype.element_ty), mask=(row < total)[:, None] & inside[None, :])


@triton.jit(do_not_specialize=["total"])
def _blend(
    a, b, c, bias, y, steps, total, channels, factor, slope,
    EQUAL: tl.constexpr, TERMS: tl.constexpr, BIASED: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    tile, block, item = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = _length(steps, item, total, EQUAL)
    column = block * WIDTH + tl.arange(0, WIDTH)
    inside = column < channels
    row = tile * ROWS + tl.arange(0, ROWS)
    valid = (row < length)[:, None] & inside[None, :]
    at = item.to(tl.int64) * total * channels + row[:, None] * channels + column[None, :]
    x = _summed(a, b, c, bias, at, column, valid, TERMS, BIASED) * factor
    tl.store(y + at, tl.where(x > 0, x, x * slope), mask=(row < total)[:, None] & inside[None, :])


@triton.jit
def _slope(x, outer, mean, inverse, scale, shift, at, of, valid, inside):
    """n = (x - mean) / std, the gradient dL/dv, and scale / std: those of a tile, and of its channels."""
    of_std = tl.load(inverse + of, mask=inside, other=0.0)
    gain, offset = tl.load(scale + of, mask=inside, other=0.0), tl.load(shift + of, mask=inside, other=0.0)
    n = (tl.load(x + at, mask=valid, other=0.0) - tl.load(mean + of, mask=inside, other=0.0)[None, :]) * of_std[None, :]
    v = n * gain[None, :] + offset[None, :]
    slope = tl.load(outer + at, mask=valid, other=0.0).to(tl.float32) * (1.0 + tl.sin(2.0 * v))
    return n, slope, gain * of_std


@triton.jit(do_not_specialize=["total", "chunks"])
def _chunk_slopes(
    x, outer, mean, inverse, scale, shift, found, total, chunks, channels,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Over CHUNK steps, the sums of dL/dv n and of dL/dv."""
    chunk, block, item = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    column = block * WIDTH + tl.arange(0, WIDTH)
    inside = column < channels
    along = tl.zeros([ROWS, WIDTH], tl.float32)
    alone = tl.zeros([ROWS, WIDTH], tl.float32)
    for start in range(0, CHUNK, ROWS):
        row = chunk * CHUNK + start + tl.arange(0, ROWS)
        valid = (row < total)[:, None] & inside[None, :]
        at = item.to(tl.int64) * total * channels + row[:, None] * channels + column[None, :]
        n, slope, _ = _slope(x, outer, mean, inverse, scale, shift, at, item * channels + column, valid, inside)
        along += n * slope
        alone += slope
    to = found + ((item.to(tl.int64) * chunks + chunk) * 2) * channels + column
    tl.store(to, tl.sum(along, 0), mask=inside)
    tl.store(to + channels, tl.sum(alone, 0), mask=inside)


@triton.jit(do_not_specialize=["total"])
def _slopes(x, outer, mean, inverse, scale, shift, sums, out, total, channels, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    tile, block, item = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    column = block * WIDTH + tl.arange(0, WIDTH)
    inside = column < channels
    row = tile * ROWS + tl.arange(0, ROWS)
    valid = (row < total)[:, None] & inside[None, :]
    at = item.to(tl.int64) * total * channels + row[:, None] * channels + column[None, :]
    n, slope, gain = _slope(x, outer, mean, inverse, scale, shift, at, item * channels + column, valid, inside)
    of = sums + item * 2 * channels + column
    along, alone = tl.load(of, mask=inside, other=0.0) / total, tl.load(of + channels, mask=inside, other=0.0) / total
    tl.store(out + at, (slope - alone[None, :] - n * along[None, :]) * gain[None, :], mask=valid)


@triton.jit(do_not_specialize=["lines"])
def _sines(starts, slopes, weights, out, lines, harmonics, hop, turn, SAMPLES: tl.constexpr):
    at = tl.program_id(0) * SAMPLES + tl.arange(0, SAMPLES)
    inside = at < lines * hop
    line = at // hop
    along = ((at % hop).to(tl.float64) + 0.5) / hop
    total = tl.zeros([SAMPLES], tl.float32)
    for harmonic in range(0, harmonics):
        start = tl.load(starts + harmonic * lines + line, mask=inside, other=0.0)
        cycles = tl.load(slopes + harmonic * lines + line, mask=inside, other=0.0) * along + start
        phase = (cycles - tl.floor(cycles)).to(tl.float32) * turn
        total += tl.load(weights + harmonic) * tl.sin(phase)
    tl.store(out + at, total, mask=inside)


@triton.jit(do_not_specialize=["rows", "columns", "depth"])
def _warp(
    cost, carried, sizes_n, sizes_m, grid, others, ends, along, band, rows, columns, depth,
    CARRIED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One pair of sequences, one anti-diagonal i + j = k after another; lane i is row i.

    Of the three predecessors of a cell two are in registers: to the left, and across. The one above lies with
    the next lane, and comes through memory: `grid` keeps the latest `depth` anti-diagonals, at least two.
    """
    item, items = tl.program_id(0), tl.num_programs(0)
    n, m = tl.load(sizes_n + item).to(tl.int32), tl.load(sizes_m + item).to(tl.int32)
    last_n, last_m = tl.maximum(n - 1, 1).to(tl.float32), tl.maximum(m - 1, 1).to(tl.float32)
    width = tl.maximum(tl.div_rn(1.0, tl.minimum(last_n, last_m)), band) + 1e-6
    i = tl.arange(0, BLOCK)
    place = tl.div_rn(i.to(tl.float32), last_n)
    left = tl.full([BLOCK], float("inf"), tl.float32)
    across, other_left, other_across = left, tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for k in range(0, n + m - 1):
        j = k - i
        closed = tl.abs(place - tl.div_rn(j.to(tl.float32), last_m)) > width
        inside = (i < n) & (j >= 0) & (j < m) & (closed == 0)
        at = item.to(tl.int64) * rows * columns + i * columns + j
        here = tl.load(cost + at, mask=inside, other=float("inf"))
        tl.debug_barrier()  # what other lanes stored of anti-diagonal k - 1 is there
        above = ((k + depth - 1) % depth * items + item).to(tl.int64) * rows + i - 1
        known = (i > 0) & (i < rows) & (k > 0)
        up = tl.load(grid + above, mask=known, other=float("inf"))
        straight = tl.minimum(left, up, propagate_nan=tl.PropagateNan.ALL)
        diagonal = across + here
        value = here + tl.minimum(straight, diagonal, propagate_nan=tl.PropagateNan.ALL)
        value = tl.where(k == 0, 2 * here, value)
        to = (k % depth * items + item).to(tl.int64) * rows + i
        tl.store(grid + to, value, mask=i < rows)
        if CARRIED:
            there = tl.load(carried + at, mask=inside, other=0.0)
            other_up = tl.load(others + above, mask=known, other=0.0)
            before = tl.where(left <= up, other_left, other_up)
            before = tl.where((diagonal <= straight) & (k > 1), other_across + there, before)
            other_left = tl.where(k == 0, 2 * there, there + before)
            other_across = other_up
            tl.store(others + to, other_left, mask=i < rows)
        left, across = value, up
    weight = (n + m).to(tl.float32)
    tl.store(ends + item + 0 * i, tl.div_rn(left, weight), mask=i == n - 1)
    tl.store(along + item + 0 * i, tl.div_rn(other_left, weight), mask=i == n - 1)


def moments(x: Tensor, steps: Tensor | None) -> Tensor:
    return _reduced([x], None, steps)[1]


def add(terms: Sequence[Tensor], bias: Tensor | None, steps: Tensor | None) -> tuple[Tensor, Tensor]:
    return _reduced(terms, bias, steps)


def activate(
    x: Tensor,
    moments: Tensor,
    scale: Tensor,
    shift: Tensor,
    eps: float,
    slope: float | None,
    steps: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    x, moments, (width, rows) = x.contiguous(), moments.contiguous(), _block(x)
    y = torch.empty_like(x, dtype=dtype)
    with torch.cuda.device_of(x):
        _activate[(triton.cdiv(x.shape[1], rows), triton.cdiv(x.shape[2], width), len(x))](
            x, moments, scale, shift, y, x if steps is None else steps, x.shape[1], x.shape[2], scale.stride(0),
            eps, slope or 0.0, EQUAL=steps is None, SNAKE=slope is None, ROWS=rows, WIDTH=width,
        )  # fmt: skip
    return y


def blend(terms: Sequence[Tensor], bias: Tensor | None, factor: float, slope: float, steps: Tensor | None) -> Tensor:
    a, b, c, x = _three(terms)
    width, rows = _block(x)
    y = torch.empty_like(x, dtype=torch.float32)
    with torch.cuda.device_of(x):
        _blend[(triton.cdiv(x.shape[1], rows), triton.cdiv(x.shape[2], width), len(x))](
            a, b, c, x if bias is None else bias, y, x if steps is None else steps, x.shape[1], x.shape[2], factor,
            slope, EQUAL=steps is None, TERMS=len(terms), BIASED=bias is not None, ROWS=rows, WIDTH=width,
        )  # fmt: skip
    return y


def slopes(
    x: Tensor, outer: Tensor, mean: Tensor, inverse: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    given = [t.contiguous() for t in (x, outer, mean, inverse, scale, shift)]
    size, total, channels = x.shape
    (width, rows), chunks = _block(x), triton.cdiv(total, CHUNK)
    partial = torch.empty(size, chunks, 2, channels, device=x.device)
    out, blocks = torch.empty_like(given[0]), triton.cdiv(channels, width)
    with torch.cuda.device_of(x):
        _chunk_slopes[(chunks, blocks, size)](
            *given, partial, total, chunks, channels, CHUNK=CHUNK, ROWS=rows, WIDTH=width
        )
        sums = partial.sum(1)
        _slopes[(triton.cdiv(total, rows), blocks, size)](*given, sums, out, total, channels, ROWS=rows, WIDTH=width)
    return out, sums[:, :1], sums[:, 1:]


def sines(f0: Tensor, starts: Tensor, slopes: Tensor, weights: Sequence[float], hop: int) -> Tensor:
    lines = starts.shape[1]
    out = f0.new_empty(lines, hop)
    with torch.cuda.device_of(f0):
        _sines[(triton.cdiv(lines * hop, SAMPLES),)](
            starts.contiguous(), slopes.contiguous(), _constants(tuple(weights), f0.device), out,
            lines, len(weights), hop, 2 * math.pi, SAMPLES=SAMPLES,
        )  # fmt: skip
    return out


def warp(cost: Tensor, n: Tensor, m: Tensor, band: float, carried: Tensor | None) -> tuple[Tensor, Tensor]:
    return _warped(cost, n, m, band, carried, 2)[1:]


def warp_grid(cost: Tensor, n: Tensor, m: Tensor, band: float) -> Tensor:
    return _warped(cost, n, m, band, None, cost.shape[1] + cost.shape[2] - 1)[0]


def _warped(
    cost: Tensor, n: Tensor, m: Tensor, band: float, carried: Tensor | None, depth: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The latest `depth` anti-diagonals [depth, B, N], and the two means [B]."""
    cost = cost.contiguous()
    size, rows, columns = cost.shape
    grid = cost.new_empty(depth, size, rows)
    others = grid if carried is None else torch.empty_like(grid)
    ends, along = cost.new_empty(2, size)
    block = triton.next_power_of_2(rows)
    with torch.cuda.device_of(cost):
        _warp[(size,)](
            cost, cost if carried is None else carried.contiguous(), n.contiguous(), m.contiguous(), grid, others,
            ends, along, band, rows, columns, depth, CARRIED=carried is not None, BLOCK=block,
            num_warps=min(16, max(1, block // 128)), num_stages=1,
        )  # fmt: skip
    return grid, ends, along


def _reduced(terms: Sequence[Tensor], bias: Tensor | None, steps: Tensor | None) -> tuple[Tensor, Tensor]:
    """The sum of terms and bias, of a single term that itself, and the moments [B, 2, C] of it."""
    a, b, c, x = _three(terms)
    size, total, channels = x.shape
    (width, rows), chunks = _block(x), triton.cdiv(total, CHUNK)
    out = x if len(terms) == 1 else torch.empty_like(x, dtype=torch.float32)
    partial = torch.empty(size, chunks, 2, channels, device=x.device)
    found = torch.empty(size, 2, channels, device=x.device)
    lengths, blocks = x if steps is None else steps, triton.cdiv(channels, width)
    with torch.cuda.device_of(x):
        _chunk_moments[(chunks, blocks, size)](
            a, b, c, x if bias is None else bias, out, partial, lengths, total, chunks, channels,
            EQUAL=steps is None, TERMS=len(terms), BIASED=bias is not None, CHUNK=CHUNK, ROWS=rows, WIDTH=width,
        )  # fmt: skip
        _item_moments[(blocks, size)](
            partial, found, lengths, total, chunks, channels,
            EQUAL=steps is None, CHUNK=CHUNK, JOINED=JOINED, WIDTH=width,
        )  # fmt: skip
    return out, found


def _three(terms: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One to three terms, the missing ones stood for by the first; and the first."""
    a, *others = (x.contiguous() for x in terms)
    b, c = [*others, a, a][:2]
    return a, b, c, a


def _block(x: Tensor) -> tuple[int, int]:
    """Channels and steps that a program holds at once."""
    width = min(WIDEST, triton.next_power_of_2(x.shape[2]))
    return width, min(CHUNK, TILE // width)


@cache
def _constants(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)
