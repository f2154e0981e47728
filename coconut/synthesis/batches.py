"""Which items are computed together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence


def bucket(frames: int) -> int:
    """The next length on a grid of 16 steps an octave: 2 to 3% of padding on average.

    A convolution of a new shape first has to be planned (on CPU: compiled, about 1 ms each), and the
    plans of some twenty lengths are kept. Few lengths that recur beat many that fit.
    """
    step = max(1, 1 << max(0, (frames - 1).bit_length() - 5))
    return -(-frames // step) * step


def exactly(frames: int) -> int:
    """The length itself: for populations that share their durations, whose few lengths recur."""
    return frames


def batches(
    frames: Sequence[int], budget: int, waste: float, room: Callable[[int], int] = bucket
) -> Iterator[list[int]]:
    """Indices of items, longest first, in batches of neighbours. Items of 0 frames are left out.

    A batch padded to the `room` of its longest item holds at most `budget` frames, or a single item,
    and at most a share `waste` of it is padding to that item's own length.
    """
    order = sorted((i for i, n in enumerate(frames) if n), key=lambda i: -frames[i])
    batch: list[int] = []
    for i in order:
        if batch:
            longest = frames[batch[0]]
            if room(longest) * (len(batch) + 1) > budget or frames[i] < (1 - waste) * longest:
                yield batch
                batch = []
        batch.append(i)
    if batch:
        yield batch


def plan(frames: Sequence[int], texts: int, waste: float) -> tuple[float, Callable[[int], int]]:
    """waste and room for the items of a population, [P, texts] in a row: none where candidates share their lengths.

    Items of 0 frames, which are not computed, have no say.
    """
    lengths = [set(frames[u::texts]) - {0} for u in range(texts)]
    several = sum(n > 0 for n in frames) > sum(map(len, lengths))
    shared = several and all(len(found) <= 1 for found in lengths)
    return (0.0, exactly) if shared else (waste, bucket)


def padding_share(frames: Sequence[int], budget: int, waste: float, room: Callable[[int], int] = bucket) -> float:
    """The share of padded frames among all that `batches` would compute."""
    padded = sum(room(frames[b[0]]) * len(b) for b in batches(frames, budget, waste, room))
    return 1 - sum(frames) / padded if padded else 0.0
