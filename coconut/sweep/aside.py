"""What libraries print while a sweep runs goes to a file; the terminal is left to our own sentences."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rich.console import Console


@contextmanager
def aside(path: Path, console: Console) -> Iterator[None]:
    """Whatever is printed within the block, and what C++ writes to stderr, is added to the file at `path`.

    Ray tells of the death of its processes in both ways, with hundreds of lines of its own state. `console` stays where
    it was, and so does Python's stderr, which has our warnings. A file that stays empty is dropped.
    """
    stdout, stderr = sys.stdout, sys.stderr
    stdout.flush()
    stderr.flush()
    with (
        path.open("a", encoding="utf-8", buffering=1) as file,
        open(os.dup(2), "w", buffering=1) as ours,
        native_stderr_to(file),
    ):
        console.file, sys.stdout = stdout, file
        sys.stderr = ours if _writes_to(stderr, 2) else stderr
        try:
            yield
        finally:
            sys.stdout, sys.stderr = stdout, stderr
            console.file = None  # type: ignore[assignment]  # the stdout of the moment, as before
    if path.is_file() and not path.stat().st_size:
        path.unlink()


@contextmanager
def native_stderr_to(file: IO[str]) -> Iterator[None]:
    """What C++ writes to stderr within the block goes to `file`."""
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _writes_to(stream: object, number: int) -> bool:
    try:
        return bool(stream.fileno() == number)  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):  # a stream without a file, as a test's
        return False
