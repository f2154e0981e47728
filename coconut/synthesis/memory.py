"""Memory that runs out: how that is said, how work goes on in smaller parts, and what the user is told at last."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from coconut.config import InputError

Result = TypeVar("Result")

CONTEXT = 800 << 20  # bytes that CUDA, its libraries and kernels take of a GPU, for each process, beside torch's own
SAID = (
    "out of memory",  # torch's allocators, the CUDA runtime, MPS
    "allocate memory",  # torch's allocator on a CPU
    "not enough memory",  # the same on Windows
    "bad_alloc",  # of C++
    "ALLOC_FAILED",  # cuDNN and cuBLAS
    "STATUS_NOT_INITIALIZED",  # theirs too, where no memory is left for a handle
    "unable to find an engine",  # cuDNN, where no algorithm's workspace can be had
)


def ran_out(error: BaseException) -> bool:
    """Whether an error says, in whatever words, that memory did not suffice."""
    words = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(said.lower() in words for said in SAID)
    )


class Parts:
    """Work on many items, in parts that memory holds. Once it ran out, parts are smaller for good.

    `limit` is what a part may cost at most, in whatever unit the callers count; one item is always tried.
    """

    def __init__(self, limit: float = math.inf) -> None:
        self.limit = limit

    def holds(self, cost: float) -> int:
        """How many items of such a cost a part may have."""
        ratio = self.limit / max(cost, 1e-9)
        return max(1, int(ratio)) if math.isfinite(ratio) else 1 << 62

    def shrink(self, cost: float) -> None:
        """A part of such a cost did not fit."""
        self.limit = min(self.limit, cost / 2)

    def run(self, items: Sequence[int], work: Callable[[Sequence[int]], Result], cost: float) -> list[Result]:
        """work(part) of slices of `items`, in order. Raises what `work` raises, but for memory beyond one item."""
        done, found = 0, []
        while done < len(items):
            part = items[done : done + self.holds(cost)]
            try:
                found.append(work(part))
                done += len(part)
                continue
            except (RuntimeError, MemoryError) as error:
                if len(part) == 1 or not ran_out(error):
                    raise
            _give_back()  # only now: the error held on to what the work had made
            self.shrink(len(part) * cost)
        return found

    def rows(self, function: Callable[..., Tensor], *tensors: Tensor, cost: float) -> Tensor:
        """function(*tensors) [B, ...] of tensors [B, ...], whose rows cost so much each, part by part."""

        def work(part: Sequence[int]) -> Tensor:
            return function(*(x[part[0] : part[-1] + 1] for x in tensors))

        found = self.run(range(len(tensors[0])), work, cost)
        return found[0] if len(found) == 1 else torch.cat(found)


@contextlib.contextmanager
def enough_for(what: str) -> Iterator[None]:
    """Turns the last failure for lack of memory into an InputError, one sentence that names what helps."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        _give_back()
        raise InputError(
            f"Memory does not suffice for {what}, one at a time; use shorter recordings (--max-seconds), "
            "or run fewer fits on the device at once (of a sweep: a larger --gpus-per-trial)."
        ) from error


@contextlib.contextmanager
def lent(part: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """`part` on the device, where something is made of its weights; then back where it was."""
    home = next(part.parameters()).device
    try:
        yield part.to(device)
    finally:
        part.to(home)


def own(share: float, total: float) -> float:
    """Bytes that torch may take of a GPU of `total` bytes for a process with a share of it, 0 to 1.

    It is what is left of the share once CUDA's own part is taken off.
    """
    return max(share / 4 * total, share * total - CONTEXT)


def keep_within(share: float) -> None:
    """Give this process its share of the GPU, 0 to 1."""
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(own(share, total) / total)


def _give_back() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
