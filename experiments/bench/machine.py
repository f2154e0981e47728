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


@dataclass
class Ceiling:
    """What this machine reaches at most, in this run."""

    gflops: dict[str, float]
    copy: float

    @classmethod
    def measure(cls, device: torch.device) -> Ceiling:
        size = 8192 if device.type == "cuda" else 2048
        found = {}
        for name, dtype in (("exact", torch.float32), ("fast", torch.bfloat16)):
            a = torch.randn(size, size, device=device, dtype=dtype)
            matmul = 2 * size**3 / fastest(partial(torch.mm, a, a), device) / 1e9
            x = torch.randn(4, 256, 1, 4096, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
            w = torch.randn(256, 256, 1, 11, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
            work = 2 * 4 * 256 * 256 * 11 * 4096
            conv = work / fastest(partial(torch.conv2d, x, w, padding=(0, 5)), device) / 1e9
            found[name] = max(matmul, conv)
            print(f"ceiling {name} ({dtype}): matmul {matmul:,.0f} GFLOP/s, convolution {conv:,.0f} GFLOP/s")
        source = torch.empty(1 << 28 if device.type == "cuda" else 1 << 26, device=device)
        target = torch.empty_like(source)
        copy = 8 * source.numel() / fastest(lambda: target.copy_(source), device) / 1e9
        print(f"ceiling copy: {copy:,.0f} GB/s\n")
        return cls(found, copy)


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
