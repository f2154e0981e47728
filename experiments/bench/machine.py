"""What a machine can do at most, and what a piece of work takes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from coconut.synthesis.budget import peak_bytes
from coconut.synthesis.precision import EXACT, FAST, available, tensor_cores


@dataclass
class Ceiling:
    """What this machine reaches at most, in this run: GFLOP/s by precision, and GB/s of a copy, read and write."""

    gflops: dict[str, float]
    copy: float

    @classmethod
    def measure(cls, device: torch.device, small: bool = False) -> Ceiling:
        """`small`: with operands that only show that it works."""
        size = 256 if small else 8192 if device.type == "cuda" else 2048
        found = {}
        for name in available(device):
            dtype = torch.bfloat16 if name == FAST else torch.float32
            with tensor_cores(device, name != EXACT):
                matmul, conv = _multiply(device, dtype, size), _convolve(device, dtype, size)
            found[name] = max(matmul, conv)
            print(f"ceiling {name} ({dtype}): matmul {matmul:,.0f} GFLOP/s, convolution {conv:,.0f} GFLOP/s")
        source = torch.empty(1 << (20 if small else 28 if device.type == "cuda" else 26), device=device)
        target = torch.empty_like(source)
        copy = 8 * source.numel() / fastest(lambda: target.copy_(source), device) / 1e9
        print(f"ceiling copy: {copy:,.0f} GB/s\n", flush=True)
        return cls(found, copy)


def _multiply(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """GFLOP/s of a product of two square matrices."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / fastest(partial(torch.mm, a, a), device) / 1e9


def _convolve(device: torch.device, dtype: torch.dtype, steps: int) -> float:
    """GFLOP/s of a convolution of the generator's shape, the better of both layouts in memory."""
    batch, channels, taps = 8, 256, 11
    work = 2 * batch * channels * channels * taps * steps
    x = torch.randn(batch, channels, 1, steps, device=device, dtype=dtype)
    w = torch.randn(channels, channels, 1, taps, device=device, dtype=dtype)
    layouts = (torch.contiguous_format, torch.channels_last)
    pairs = [(x.contiguous(memory_format=layout), w.contiguous(memory_format=layout)) for layout in layouts]
    return max(work / fastest(partial(torch.conv2d, *pair, padding=(0, taps // 2)), device) / 1e9 for pair in pairs)


clock = time.perf_counter


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    wait(device)
    start = clock()
    result = work()
    wait(device)
    return clock() - start, result


def fastest(work: Callable[[], Any], device: torch.device, repeats: int = 5) -> float:
    work()
    return min(seconds(work, device)[0] for _ in range(repeats))


class Traffic(TorchDispatchMode):
    """Bytes of all tensors that operations read and write; views move nothing."""

    moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.moved += sum(leaf.nbytes for leaf in tree_leaves((args, out)) if isinstance(leaf, Tensor))
        return out


def peak_above(work: Callable[[], Any], device: torch.device) -> str:
    """MiB that work() takes at most above what is held before it."""
    if device.type == "cuda":
        return f"{peak_bytes(work, device) / 2**20:,.0f}"
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
        before = resident("VmRSS")
        work()
        return f"{resident('VmHWM') - before:,.0f}"
    except OSError:
        return "-"


def resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
