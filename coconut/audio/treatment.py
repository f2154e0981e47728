"""From a file to speech: what is not the voice is taken out, silence cut off, the level set, and all of it measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from coconut.audio import files
from coconut.audio.files import Take
from coconut.audio.level import HOP, SAMPLE_RATE, distinct, trim
from coconut.audio.mains import cleaned
from coconut.audio.quality import Quality, measure
from coconut.audio.voice import Bands, spoken
from coconut.config import InputError

LONG = 60.0  # s: what is longer is heard in pieces, and only the part with speech in it is held
AROUND = 1.0  # s of it at either side

Runs = npt.NDArray[np.int64]


class TooLongError(InputError):
    """The speech of a recording, from its first word to its last, is longer than wanted: `seconds`."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(f"{name} has {seconds:.1f} s of speech, which is too long; split it.")
        self.seconds = seconds


@dataclass(frozen=True)
class Treated:
    """Speech [N] float32 at 24 kHz, trimmed, at LEVEL, and what the recording was like."""

    wav: Tensor
    quality: Quality


def treat(source: str | Path | bytes, name: str | None = None, longest: float = LONG) -> Treated:
    """The speech of a recording (path or file content; `name` stands for it in messages).

    Where pauses are far below the speech, power alone tells where it begins and ends; elsewhere,
    and in what is longer than a minute, voice.spoken does. Raises InputError as files.load does,
    TooLongError for more than `longest` seconds, before they are treated.
    """
    name = name or files.named(source)
    seconds = files.duration(source, name)
    if seconds is not None and seconds > LONG:
        start, size = _part(files.pieces(source, name), name, longest)
        take = files.take(source, name, start, size)
    else:
        take = files.take(source, name)
        seconds = len(take.wav) / SAMPLE_RATE
        if seconds > LONG:  # of a format whose header does not tell
            start, size = _part([take.wav], name, longest)
            first, last = round(start * SAMPLE_RATE), round((start + size) * SAMPLE_RATE)
            take = Take(take.wav[first:last], take.rate, take.clipped, take.opposed)
    return _treated(take, seconds)


def _part(pieces: Iterable[Tensor], name: str, longest: float) -> tuple[float, float]:
    """(first second, seconds) of all that is said, and its surroundings."""
    runs = spoken(Bands().of(pieces))
    if not len(runs):
        raise InputError(f"{name} holds no speech that stands out of its noise; record it again or leave it out.")
    start, end = runs[0, 0] * HOP / SAMPLE_RATE, runs[-1, 1] * HOP / SAMPLE_RATE
    if end - start > longest:
        raise TooLongError(name, end - start)
    first = max(0.0, start - AROUND)
    return first, end + AROUND - first


def _treated(take: Take, seconds: float) -> Treated:
    wav, hum = cleaned(take.wav)
    runs = spoken(Bands().of([take.wav]))
    quality = measure(take, seconds, wav, runs, hum)
    if len(runs) and not distinct(wav):
        wav = wav[runs[0, 0] * HOP : runs[-1, 1] * HOP]
    return Treated(trim(wav), quality)
