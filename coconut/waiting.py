"""A bar on the terminal while something long goes on that is no fit: reading, ranking, measuring."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def watched(items: Sequence[T], label: str) -> Iterable[T]:
    """`items`, one after another, with a bar on standard error that goes when all are done.

    There is none where standard error is no terminal, and for a single item.
    """
    console = Console(stderr=True)
    quiet = not console.is_terminal or len(items) < 2
    return items if quiet else track(items, label, console=console, transient=True)
