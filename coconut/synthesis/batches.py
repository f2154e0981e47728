"""Which items are computed together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch


def batches(frames: Sequence[int], budget: int, waste: float) -> Iterator[list[int]]:
    """Indices of items, longest first, in batches of neighbours.

    A batch padded to its longest item holds at most `budget` frames, or a single item, and at most
    a share `waste` of it is padding.
    """
    order = sorted(range(len(frames)), key=lambda i: -frames[i])
    batch: list[int] = []
    used = 0
    for i in order:
        if batch:
            padded = frames[batch[0]] * (len(batch) + 1)
            if padded > budget or used + frames[i] < (1 - waste) * padded:
                yield batch
                batch, used = [], 0
        batch.append(i)
        used += frames[i]
    if batch:
        yield batch


def padding_share(frames: Sequence[int], budget: int, waste: float) -> float:
    """The share of padded frames among all that `batches` would compute."""
    padded = sum(frames[b[0]] * len(b) for b in batches(frames, budget, waste))
    return 1 - sum(frames) / padded if padded else 0.0


def halving(batch: list[int], work: Callable[[list[int]], None]) -> bool:
    """Run work(batch); where memory does not suffice, run its halves. True if it had to be cut."""
    try:
        work(batch)
        return False
    except RuntimeError as error:
        if len(batch) == 1 or not _out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(batch) // 2
    halving(batch[:middle], work)
    halving(batch[middle:], work)
    return True


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
