"""Batches side by side on the cores of a CPU.

A layer shared out among cores has them wait for one another thousands of times a second, and leaves
numpy's loops on one of them. So each core takes whole batches instead, longest first.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST = 8  # beyond, the interpreter's lock and the caches are in the way: cores then share a batch


def count(device: torch.device) -> int:
    """How many batches are computed at once."""
    return min(MOST, torch.get_num_threads()) if device.type == "cpu" else 1


def each(work: Callable[[Item], Result], items: Sequence[Item], device: torch.device) -> list[Result]:
    """[work(item) for item in items], side by side, without gradients. An item by itself gets all cores."""
    several = count(device)
    if several == 1 or len(items) == 1:
        return [work(item) for item in items]
    threads = torch.get_num_threads()
    return list(_pool(several, threads // several, threads).map(torch.no_grad()(work), items))


@cache
def _pool(several: int, threads: int, of: int) -> ThreadPoolExecutor:
    """Workers whose torch uses `threads` threads each; the caller's goes on using `of`."""
    ready = threading.Barrier(several + 1)

    def settle() -> None:
        torch.set_num_threads(threads)  # OpenMP's number is each thread's own,
        torch.get_num_threads()  # and torch fixes it at first use: now, while its global number is this one
        ready.wait()

    pool = ThreadPoolExecutor(several, "coconut", settle)
    for _ in range(several):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(of)
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
