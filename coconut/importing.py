"""Imports without the garbage collector.

torch, transformers and Ray make millions of objects that stay as long as the process does. Walking them over and over
takes a fifth of the time of importing them, and as the process ends once more two to three seconds.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """A block of imports: nothing is collected inside, and what is there at its end is never looked at again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()


atexit.register(gc.freeze)
