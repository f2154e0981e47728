"""How many frames may be computed at once: measured bytes per frame against free memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU_BYTES = 64 << 20  # beyond a few caches' worth a larger batch is slower, measured: 32 to 128 MiB are alike
SHARE = 0.5  # of free memory on a GPU: convolutions want workspace that the measurement may not see
PROBE = (4, 12)


class Budget:
    """The frames of one batch. `measure` is called once; `shrink` after memory ran out all the same."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes_per_frame = 0.0
        self.limit: int | None = None

    def measure(self, run: Callable[[int], Any]) -> None:
        """run(frames) computes one item of so many frames; the slope of its peak is what a frame costs."""
        short, long = (peak_bytes(partial(run, frames), self.device) for frames in PROBE)
        self.bytes_per_frame = max(1.0, (long - short) / (PROBE[1] - PROBE[0]))

    @property
    def frames(self) -> int:
        frames = max(1, int(self.available() / self.bytes_per_frame))
        return frames if self.limit is None else min(frames, self.limit)

    def available(self) -> float:
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            idle = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            return SHARE * (free + idle)
        if self.device.type == "mps":
            return SHARE * (torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
        return min(CPU_BYTES, psutil.virtual_memory().available / 4)

    def shrink(self, frames: int) -> None:
        """A batch of so many frames did not fit."""
        self.limit = max(1, frames // 2)


def peak_bytes(work: Callable[[], Any], device: torch.device) -> int:
    """The most memory that tensors made within work() held at any moment."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _Meter() as meter:
        work()
    return meter.peak


class _Meter(TorchDispatchMode):
    """Counts the bytes of living storages that operations under it have made."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves(args) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in self.known | given:
                self._follow(leaf.untyped_storage())
        return out

    def _follow(self, storage: Any) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        self.known.add(address)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        self.known.discard(address)
        self.now -= size
