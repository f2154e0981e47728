"""Recordings treated a little before their turn, in threads: most of the work is numpy's and scipy's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from coconut.audio import Treated
from coconut.data import treated
from coconut.data.item import Item

LARGE = 2**22  # bytes of a file that may be long: it is treated in its turn, for several at once take much memory


class Ahead:
    """Treats recordings as `treated.treat` does, with so many `workers`; one worker is the caller itself."""

    def __init__(self, longest: float, workers: int) -> None:
        self.longest, self.workers = longest, workers
        self._begun: dict[int, tuple[Item, Future[Treated]]] = {}  # by the identity of an item's audio

    def over(self, items: Iterable[Item], needed: Callable[[], int]) -> Iterator[Item]:
        """`items` in their order, while those that come next are being treated: never more than are still `needed`."""
        if self.workers < 2:
            yield from items
            return
        source, queue = iter(items), deque[Item]()
        pool = ThreadPoolExecutor(self.workers, "treating")
        try:
            while True:
                while len(queue) < max(1, min(needed(), 2 * self.workers)) and (item := next(source, None)):
                    self._begin(pool, item)
                    queue.append(item)
                if not queue:
                    return
                yield queue[0]
                self._begun.pop(id(queue.popleft().audio), None)
        finally:
            pool.shutdown(cancel_futures=True)

    def treat(self, item: Item) -> Treated:
        """Raises what `audio.treat` raises."""
        assert item.audio is not None
        _, begun = self._begun.get(id(item.audio), (item, None))
        return begun.result() if begun else treated.treat(item.audio, item.name, self.longest)

    def _begin(self, pool: ThreadPoolExecutor, item: Item) -> None:
        if item.audio is None or item.problem is not None or not (item.text or "").strip() or _size(item.audio) > LARGE:
            return
        self._begun[id(item.audio)] = item, pool.submit(treated.treat, item.audio, item.name, self.longest)


def _size(source: Path | bytes) -> int:
    if isinstance(source, bytes):
        return len(source)
    try:
        return source.stat().st_size
    except OSError:  # which reading it will say in words
        return LARGE + 1
