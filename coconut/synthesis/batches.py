"""Which items are computed together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch


def bucket(frames: int) -> int:
    """The next length on a grid of 16 steps an octave: 2 to 3% of padding on average.

    A convolution of a new shape first has to be planned (on CPU: compiled, about 1 ms each), and the
    plans of some twenty lengths are kept. Few lengths that recur beat many that fit.
    """
    step = max(1, 1 << max(0, (frames - 1).bit_length() - 5))
    return -(-frames // step) * step


def batches(frames: Sequence[int], budget: int, waste: float) -> Iterator[list[int]]:
    """Indices of items, longest first, in batches of neighbours.

    A batch padded to the bucket of its longest item holds at most `budget` frames, or a single item,
    and at most a share `waste` of it is padding to that item's own length.
    """
    order = sorted(range(len(frames)), key=lambda i: -frames[i])
    batch: list[int] = []
    for i in order:
        if batch:
            longest = frames[batch[0]]
            if bucket(longest) * (len(batch) + 1) > budget or frames[i] < (1 - waste) * longest:
                yield batch
                batch = []
        batch.append(i)
    if batch:
        yield batch


def padding_share(frames: Sequence[int], budget: int, waste: float) -> float:
    """The share of padded frames among all that `batches` would compute."""
    padded = sum(bucket(frames[b[0]]) * len(b) for b in batches(frames, budget, waste))
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
