"""Recordings in and out: wav, flac, ogg and mp3 to 24 kHz mono float32, and back to 16-bit wav."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from coconut.audio.level import SAMPLE_RATE
from coconut.config import InputError
from coconut.files import replacing

SILENT = 1e-4  # a recording that never exceeds -80 dBFS holds nothing


def load(source: str | Path | bytes, name: str | None = None) -> Tensor:
    """Samples [N] float32, mono, 24 kHz, of a wav, flac, ogg or mp3 (path or file content).

    `name` stands for the file in messages. Raises InputError when it is missing, unreadable,
    empty, silent or holds NaN or infinite samples.
    """
    name = name or ("the recording" if isinstance(source, bytes) else str(source))
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise InputError(f"No recording at {name}; check the path.")
    try:
        data, rate = soundfile.read(
            io.BytesIO(source) if isinstance(source, bytes) else str(source), dtype="float32", always_2d=True
        )
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        raise InputError(f"{name} cannot be decoded as audio; give a wav, flac, ogg or mp3 file.") from error
    wav = data.mean(1)
    if wav.size == 0:
        raise InputError(f"{name} is empty; record it again or leave it out.")
    if not np.isfinite(wav).all():
        raise InputError(f"{name} holds NaN or infinite samples; convert it again or leave it out.")
    if np.abs(wav).max() < SILENT:
        raise InputError(f"{name} is silent; record it again or leave it out.")
    if rate != SAMPLE_RATE:
        wav = soxr.resample(wav, rate, SAMPLE_RATE, quality="HQ")
    return torch.from_numpy(np.ascontiguousarray(wav, dtype=np.float32))


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
