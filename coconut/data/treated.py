"""Recordings as they were treated before (`coconut.cached`): a second start does not treat them again.

They are found by their own bytes, the settings and the code, so that nothing found is of another recording or of
another treatment.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

from coconut import audio, cached
from coconut.audio import Quality, Treated
from coconut.data.utterance import quantised

KIND = "treated"
MOST = 2**31  # bytes of all


def treat(source: Path | bytes, name: str, longest: float) -> Treated:
    """As `audio.treat`, the samples `quantised`; from the cache where it was done before."""
    try:
        before: tuple[int, ...] | None = _state(source)
        path = cached.place(KIND, _content(source), longest)
    except OSError:  # which reading it will say in words
        before = path = None
    kept = cached.read(path) if path else None
    if kept is not None:
        return Treated(kept["wav"], Quality(**kept["quality"]))
    found = audio.treat(source, name, longest)
    found = dataclasses.replace(found, wav=quantised(found.wav))
    if path and _state(source) == before:  # else it may be another than the one that `path` stands for
        cached.write(path, {"wav": found.wav, "quality": dataclasses.asdict(found.quality)})
    return found


def tidy() -> None:
    """Keep the cache within MOST bytes."""
    cached.tidy(KIND, MOST)


def _content(source: Path | bytes) -> str:
    """SHA-256 of a recording, in hexadecimal."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(source: Path | bytes) -> tuple[int, ...]:
    """What changes when a file is written."""
    if isinstance(source, bytes):
        return ()
    found = os.stat(source)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
