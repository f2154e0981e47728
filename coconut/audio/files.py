"""Recordings in and out: wav, flac, ogg, mp3, m4a and more to 24 kHz mono float32, and back to 16-bit wav."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
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
MOST = 12 * 3600.0  # s: what is longer is no recording of a speaker, whatever its header says
SLOWEST, FASTEST = 4_000, 384_000  # Hz
CHANNELS = 16
UNKNOWN = (soundfile.SoundFileError, RuntimeError, TypeError)  # what soundfile raises of a file that it cannot read

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
    data, rate = _part(source, name, start, seconds)
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
            promised = float(soundfile.info(file).duration)
        except UNKNOWN:
            return None
    return promised if promised <= MOST else None


def pieces(source: str | Path | bytes, name: str | None = None) -> Iterator[Tensor]:
    """The samples of `load`, a few seconds [N] at a time, so that an hour fits. Raises InputError, as it does."""
    name = name or named(source)
    resample, size = None, 0
    for block, rate in _blocks(source, name):
        wav, _ = mono(block)
        _check(wav, name)
        size += len(wav)
        if size > MOST * rate:
            raise InputError(f"{name} is longer than {MOST / 3600:g} hours; split it.")
        resample = resample or soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        yield torch.from_numpy(resample.resample_chunk(wav))
    if resample:
        yield torch.from_numpy(resample.resample_chunk(np.zeros(0, np.float32), last=True))


def excerpt(source: str | Path | bytes, start: float, seconds: float, name: str | None = None) -> bytes:
    """A part of a recording as a file of its own, of its rate and its channels. Raises InputError, as `load` does.

    Equal parts are equal to the last byte: a wav of floats would hold the time at which it was written.
    """
    data, rate = _part(source, name or named(source), start, seconds)
    content = io.BytesIO()
    soundfile.write(content, data, rate, format="AU", subtype="FLOAT")
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


def _part(source: str | Path | bytes, name: str, start: float, seconds: float | None) -> tuple[Samples, int]:
    """(samples [N, C], their rate) of a part at once, or of all from `start` on."""
    parts, rate, left = [np.zeros((0, 1), np.float32)], SAMPLE_RATE, math.inf
    for block, rate in _blocks(source, name, start):
        if len(parts) == 1:
            parts, left = [block[:0]], math.inf if seconds is None else round(seconds * rate)
        parts.append(block if len(block) <= left else block[: int(left)])
        left -= len(parts[-1])
        if left <= 0:
            break
    return np.concatenate(parts), rate


def _blocks(source: str | Path | bytes, name: str, start: float = 0.0) -> Iterator[tuple[Samples, int]]:
    """(samples [N, C], their rate) from `start` s on, a few seconds at a time."""
    with _opened(source, name) as file:
        for block, rate in _decoded(file, name, start):
            if not SLOWEST <= rate <= FASTEST:
                raise InputError(
                    f"{name} has {rate} samples a second, at which nobody records speech; convert it again."
                )
            if block.shape[1] > CHANNELS:
                raise InputError(f"{name} has {block.shape[1]} channels; give it with one or two.")
            yield block, rate


def _decoded(file: BinaryIO, name: str, start: float) -> Iterator[tuple[Samples, int]]:
    """By soundfile, or by PyAV what soundfile does not know."""
    begun = False
    try:
        for found in _plain(file, start):
            begun = True
            yield found
        return
    except UNKNOWN as error:
        if begun:
            raise _undecodable(name) from error
    from coconut.audio import containers  # loads the libraries of FFmpeg, which most folders do without

    try:
        file.seek(0)
        yield from _gathered(containers.blocks(file, start))
    except (OSError, ValueError) as error:
        raise _undecodable(name) from error


def _plain(file: BinaryIO, start: float) -> Iterator[tuple[Samples, int]]:
    """What soundfile reads. Where nothing was known of the length when the header was written, it reads nothing."""
    with soundfile.SoundFile(file) as sound:
        if sound.frames > MOST * sound.samplerate:
            raise RuntimeError("its header tells no length")
        sound.seek(min(round(start * sound.samplerate), sound.frames))
        while len(block := sound.read(PIECE * sound.samplerate, dtype="float32", always_2d=True)):
            yield block, sound.samplerate


def _gathered(found: Iterable[tuple[Samples, int]]) -> Iterator[tuple[Samples, int]]:
    """Blocks of a few seconds, of many short ones."""
    parts: list[Samples] = []
    size = rate = 0
    for samples, rate in found:
        parts.append(samples)
        size += len(samples)
        if size >= PIECE * rate:
            yield np.concatenate(parts), rate
            parts, size = [], 0
    if size:
        yield np.concatenate(parts), rate


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
