"""Recordings in and out: wav, flac, ogg, mp3, m4a and more to 24 kHz mono float32, and back to 16-bit wav."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import torch
from torch import Tensor

from coconut.audio.level import SAMPLE_RATE
from coconut.config import InputError
from coconut.files import replacing

SILENT = 1e-4  # a recording that never exceeds -80 dBFS holds nothing
PEAK = 0.98  # of the highest sample: speech is there for less than a thousandth of its samples
HUGE = 1e9  # full scale is 1; 16-bit numbers as they are reach 32768
OPPOSED = 0.1  # of the channels' power is left in their mean: they cancel
PIECE = 10  # s that are held at a time of what is too long to be held

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Take:
    """A recording as it was made: `wav` [N] float32, mono, 24 kHz, of a file at `rate` Hz.

    `clipped`: share of its samples at the peak. `opposed`: its channels cancel, and this is the louder one.
    """

    wav: Tensor
    rate: int
    clipped: float
    opposed: bool


def load(source: str | Path | bytes, name: str | None = None) -> Tensor:
    """Samples [N] float32, mono, 24 kHz, of a wav, flac, ogg, mp3, m4a, aac, opus or webm (path or file content).

    `name` stands for the file in messages. Raises InputError when it is missing, unreadable,
    empty, silent or holds NaN or infinite samples.
    """
    return take(source, name).wav


def take(source: str | Path | bytes, name: str | None = None, start: float = 0.0, seconds: float | None = None) -> Take:
    """As `load`, of a part where `start` and `seconds` tell one, with what the file was like."""
    name = name or named(source)
    data, rate = _decoded(source, name, start, seconds)
    wav, opposed = mono(data)
    _check(wav, name)
    peak = float(np.abs(wav).max())
    if peak < SILENT:
        raise InputError(f"{name} is silent; record it again or leave it out.")
    clipped = float((np.abs(wav) > PEAK * peak).mean())
    if rate != SAMPLE_RATE:
        wav = soxr.resample(wav, rate, SAMPLE_RATE, quality="HQ")
    return Take(torch.from_numpy(np.ascontiguousarray(wav, dtype=np.float32)), rate, clipped, opposed)


def duration(source: str | Path | bytes, name: str | None = None) -> float | None:
    """Seconds that a file's header promises; None where only decoding it tells. Raises InputError as `load`."""
    with _opened(source, name or named(source)) as file:
        try:
            return float(soundfile.info(file).duration)
        except (soundfile.SoundFileError, RuntimeError, TypeError):
            return None


def pieces(source: str | Path | bytes, name: str | None = None) -> Iterator[Tensor]:
    """The samples of `load`, a few seconds [N] at a time, so that an hour fits. Raises InputError, as it does."""
    name = name or named(source)
    with _opened(source, name) as file:
        try:
            with soundfile.SoundFile(file) as sound:
                resample = soxr.ResampleStream(sound.samplerate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
                for block in sound.blocks(PIECE * sound.samplerate, dtype="float32", always_2d=True):
                    wav, _ = mono(block)
                    _check(wav, name)
                    yield torch.from_numpy(resample.resample_chunk(wav))
                yield torch.from_numpy(resample.resample_chunk(np.zeros(0, np.float32), last=True))
        except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
            raise _undecodable(name) from error


def stream(source: str | Path | bytes, name: str | None = None) -> Iterator[Tensor]:
    """The samples of `load` in pieces [N] where the format allows that, else at once. Raises InputError, as it does."""
    if duration(source, name) is None:
        yield take(source, name).wav
    else:
        yield from pieces(source, name)


def excerpt(source: str | Path | bytes, start: float, seconds: float, name: str | None = None) -> bytes:
    """A part of a recording as a wav of its own, of its rate and its channels. Raises InputError, as `load` does."""
    data, rate = _decoded(source, name or named(source), start, seconds)
    content = io.BytesIO()
    soundfile.write(content, data, rate, format="WAV", subtype="FLOAT")
    return content.getvalue()


def mono(data: Samples) -> tuple[Samples, bool]:
    """(the mean [N] of channels [N, C], False); the loudest channel and True where they cancel in the mean."""
    wav = data.mean(1)
    if data.shape[1] < 2 or not len(wav):
        return wav, False
    power = np.square(data, dtype=np.float64).mean(0)
    if np.square(wav, dtype=np.float64).mean() >= OPPOSED * power.mean():
        return wav, False
    return np.ascontiguousarray(data[:, power.argmax()]), bool(power.max() > 0)


def named(source: str | Path | bytes) -> str:
    """What messages call a recording that has no other name."""
    return "the recording" if isinstance(source, bytes) else str(source)


def _check(wav: Samples, name: str) -> None:
    if wav.size == 0:
        raise InputError(f"{name} is empty; record it again or leave it out.")
    if not np.isfinite(wav).all():
        raise InputError(f"{name} holds NaN or infinite samples; convert it again or leave it out.")
    if np.abs(wav).max() > HUGE:
        raise InputError(f"{name} holds samples that are far too large; convert it again or leave it out.")


def _undecodable(name: str) -> InputError:
    return InputError(f"{name} cannot be decoded as audio; give a wav, flac, ogg, mp3 or m4a file.")


@contextmanager
def _opened(source: str | Path | bytes, name: str) -> Iterator[BinaryIO]:
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise InputError(f"No recording at {name}; check the path.")
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(source).open("rb"))
        except OSError as error:
            raise InputError(f"{name} cannot be read ({error.strerror}); make it readable, or leave it out.") from error
        yield file


def _decoded(source: str | Path | bytes, name: str, start: float, seconds: float | None) -> tuple[Samples, int]:
    """(samples [N, C], their rate), by soundfile, or by PyAV what soundfile does not know."""
    with _opened(source, name) as file:
        try:
            return _part(file, start, seconds)
        except (soundfile.SoundFileError, RuntimeError, TypeError):
            from coconut.audio import containers  # loads the libraries of FFmpeg, which most folders do without
        try:
            file.seek(0)
            data, rate = containers.decode(file)
        except (OSError, ValueError) as error:
            raise _undecodable(name) from error
        end = None if seconds is None else round((start + seconds) * rate)
        return data[round(start * rate) : end], rate


def _part(file: BinaryIO, start: float, seconds: float | None) -> tuple[Samples, int]:
    if seconds is None:
        data, rate = soundfile.read(file, dtype="float32", always_2d=True)
        return data, rate
    with soundfile.SoundFile(file) as sound:
        sound.seek(min(round(start * sound.samplerate), sound.frames))
        return sound.read(round(seconds * sound.samplerate), dtype="float32", always_2d=True), sound.samplerate


def save(path: str | Path, wav: Tensor) -> Path:
    """Write samples [N] as a 16-bit mono wav at 24 kHz; what exceeds +-1 is clipped, never wrapped.

    The file appears whole or not at all. Raises ValueError for samples that are not finite.
    """
    path = Path(path)
    samples = wav.detach().to("cpu", torch.float64).flatten()
    if not bool(torch.isfinite(samples).all()):
        raise ValueError(f"refusing to write NaN or infinite samples to {path}")
    pcm = (samples.clamp(-1, 1) * 32767).round().to(torch.int16).numpy()
    with replacing(path) as temporary:
        soundfile.write(temporary, pcm, SAMPLE_RATE, subtype="PCM_16", format="WAV")
    return path
