"""From a file to speech: what is not the voice is taken out, silence cut off, the level set, and all of it measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    if seconds is None or seconds > LONG:
        seconds, runs = _heard(files.pieces(source, name))
        if seconds > LONG:
            start, size = _part(runs, name, longest)
            return _treated(files.take(source, name, start, size), seconds, name)
    take = files.take(source, name)
    return _treated(take, len(take.wav) / SAMPLE_RATE, name)


def _heard(pieces: Iterable[Tensor]) -> tuple[float, Runs]:
    """(seconds of a recording that comes in pieces, the runs of frames in which somebody speaks)."""
    size = 0

    def counted() -> Iterator[Tensor]:
        nonlocal size
        for piece in pieces:
            size += len(piece)
            yield piece

    powers = Bands().of(counted())
    return size / SAMPLE_RATE, spoken(powers)


def _part(runs: Runs, name: str, longest: float) -> tuple[float, float]:
    """(first second, seconds) of all that is said, and its surroundings."""
    if not len(runs):
        raise _speechless(name)
    start, end = runs[0, 0] * HOP / SAMPLE_RATE, runs[-1, 1] * HOP / SAMPLE_RATE
    if end - start > longest:
        raise TooLongError(name, end - start)
    first = max(0.0, start - AROUND)
    return first, end + AROUND - first


def _treated(take: Take, seconds: float, name: str) -> Treated:
    wav, hum = cleaned(take.wav)
    if float(wav.abs().max()) < files.SILENT:
        raise InputError(f"{name} is silent but for an offset or hum; record it again or leave it out.")
    runs = spoken(Bands().of([take.wav]))
    quality = measure(take, seconds, wav, runs, hum)
    if not distinct(wav):
        if not len(runs):
            raise _speechless(name)
        wav = wav[runs[0, 0] * HOP : runs[-1, 1] * HOP]
    return Treated(trim(wav), quality)


def _speechless(name: str) -> InputError:
    return InputError(f"{name} holds no speech that stands out of its noise; record it again or leave it out.")
