"""Recordings as they were treated before (`coconut.cached`): a second start does not treat them again.

They are found by their own bytes, the settings and the code, so that nothing found is of another recording or of
another treatment. Of one that is too long it is kept how long it is, which takes decoding all of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coconut import audio, cached
from coconut.audio import Quality, Treated
from coconut.data.utterance import quantised

KIND = "treated"
MOST = 2**31  # bytes of all


def treat(source: Path | bytes, name: str, longest: float) -> Treated:
    """As `audio.treat`, the samples `quantised`; from the cache where it was done before."""
    shelf = Shelf.of(source, KIND, longest)
    kept = shelf.read()
    if kept is not None:
        if "seconds" in kept:
            raise audio.TooLongError(name, kept["seconds"])
        return Treated(kept["wav"], Quality(**kept["quality"]))
    try:
        found = audio.treat(source, name, longest)
    except audio.TooLongError as error:
        shelf.write({"seconds": error.seconds})
        raise
    found = dataclasses.replace(found, wav=quantised(found.wav))
    shelf.write({"wav": found.wav, "quality": dataclasses.asdict(found.quality)})
    return found


@dataclass(frozen=True)
class Shelf:
    """Where something about a recording is kept: None where the recording cannot be read, which reading it will say."""

    source: Path | bytes
    state: tuple[int, ...]
    path: Path | None

    @classmethod
    def of(cls, source: Path | bytes, kind: str, *settings: object) -> Shelf:
        """For what is computed of a recording (path or content) by `settings`, which JSON can write."""
        try:
            return cls(source, _state(source), cached.place(kind, _content(source), *settings))
        except OSError:
            return cls(source, (), None)

    def read(self) -> Any:
        """What was kept there, None where nothing was."""
        return cached.read(self.path) if self.path else None

    def write(self, value: Any) -> None:
        """Keep a value, as `cached.write` does, unless the recording may be another by now."""
        if self.path and _state(self.source) == self.state:
            cached.write(self.path, value)


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
    """What changes when a file is written. Raises OSError where it is gone."""
    if isinstance(source, bytes):
        return ()
    found = os.stat(source)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
