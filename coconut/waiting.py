"""Bars on the terminal while something long goes on that is no fit: reading, downloading, ranking, measuring.

All of a process stand in one display on standard error, and each goes when its work ends. There are none where
standard error is no terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TypeVar

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

T = TypeVar("T")


class Traffic:
    """What came over the network since the process began, in bytes, and why nothing comes now: a few words, or none."""

    def __init__(self) -> None:
        self.bytes, self.waiting = 0, ""
        self._lock = Lock()

    def count(self, size: int) -> None:
        """Add bytes that came, in any thread."""
        with self._lock:
            self.bytes += size


traffic = Traffic()


class Fetched(ProgressColumn):
    """The bytes that came since a bar began, and what is waited for."""

    def render(self, task: Task) -> Text:
        """As in rich."""
        size = traffic.bytes - int(task.fields["before"])
        return Text("  ".join(filter(None, [decimal(size) if size else "", traffic.waiting])))


@contextmanager
def bar(label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A bar beside `label`; what it gives is to be told how many of `total` are done. None: nobody knows how many."""
    display = _display()
    if not display.console.is_terminal:
        yield lambda done: None
        return
    task = display.add_task(label, total=total, before=traffic.bytes)
    display.start()
    try:
        yield lambda done: display.update(task, completed=done)
    finally:
        if len(display.tasks) == 1:
            display.stop()
        display.remove_task(task)


def watched(items: Sequence[T], label: str) -> Iterable[T]:
    """`items`, one after another, with a bar; there is none for a single item."""
    if len(items) < 2:
        yield from items
        return
    with bar(label, len(items)) as tell:
        for done, item in enumerate(items, 1):
            yield item
            tell(done)


@cache
def _display() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Fetched()
    return Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
