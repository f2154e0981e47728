"""How many frames may be computed at once: measured bytes per frame against the memory that is this process's own."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from coconut.synthesis.memory import CONTEXT, Parts

CPU_BYTES = 64 << 20  # beyond a few caches' worth a larger batch is slower, measured: 32 to 128 MiB are alike
SHARE = 0.5  # of a GPU's: models, losses, and convolutions' workspace, which the measurement may not see, take theirs
MOST = 8192  # frames on a GPU: 200 s of audio fill it, and twice as many would take memory that other fits want
PROBE = (4, 12)


class Budget(Parts):
    """The frames of one batch. `measure` is called once; a batch that does not fit makes later ones smaller.

    On a GPU it is planned from the share of the device that is this process's, used or not: what neighbours
    take at the moment must not change the shapes of batches, and with them the last bits of what is computed.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.bytes_per_frame = 0.0

    def measure(self, run: Callable[[int], Any], items: int = 1) -> None:
        """run(frames) computes `items` items of so many frames; the slope of its peak is what a frame costs."""
        short, long = (peak_bytes(partial(run, frames), self.device) for frames in PROBE)
        self.bytes_per_frame = max(1.0, (long - short) / (PROBE[1] - PROBE[0]) / items)

    @property
    def frames(self) -> int:
        if self.device.type == "cuda":
            planned = float(frames_of(self._own(), self.bytes_per_frame))
        else:
            planned = self.available() / self.bytes_per_frame
        return max(1, int(min(planned, self.limit)))

    @contextlib.contextmanager
    def within(self, frames: float) -> Iterator[None]:
        """At most so many frames meanwhile; what is learnt of memory that runs out holds on."""
        before = self.limit
        self.limit = given = min(before, frames)
        try:
            yield
        finally:
            if self.limit == given:
                self.limit = before

    def holds(self, cost: float) -> int:
        return max(1, int(self.frames / cost))

    def available(self) -> float:
        """Bytes for a batch."""
        if self.device.type == "cuda":
            return SHARE * self._own()
        if self.device.type == "mps":
            return SHARE * (torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
        return min(CPU_BYTES, psutil.virtual_memory().available / 4)

    def _own(self) -> float:
        """Bytes that torch may take of the GPU in this process, used or not."""
        _, total = torch.cuda.mem_get_info(self.device)
        return max(0.0, min(torch.cuda.get_per_process_memory_fraction(self.device) * total, total - CONTEXT))


def frames_of(own: float, bytes_per_frame: float) -> int:
    """Frames of a batch on a GPU of which torch may take `own` bytes in this process."""
    return max(1, int(min(SHARE * own / bytes_per_frame, MOST)))


def trials_of(total: float, need: float) -> int:
    """How many fits a GPU of `total` bytes holds at once, each of which takes `need` bytes beside its context.

    Their shares are whole percents, as one types them.
    """
    percent = math.ceil(100 * (need + CONTEXT) / total)
    return 100 // percent


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
