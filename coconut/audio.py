"""Mono audio at 24 kHz: files, level, silence, log-mel and F0.

Everything below the file functions is batched: wav [..., T] with lens [...] valid samples. What
lies beyond an item's length never changes its result, and an item in a batch equals itself
alone.
"""

from __future__ import annotations

import io
import math
import os
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor, nn

from coconut.config import InputError

SAMPLE_RATE = 24_000
HOP = 300  # 80 frames/s: two per frame of Kokoro
LEVEL = 0.08  # RMS of active frames after `normalise`, -22 dBFS: headroom for peaks 20 dB above
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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        soundfile.write(temporary, pcm, SAMPLE_RATE, subtype="PCM_16", format="WAV")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def highpass(wav: Tensor, cutoff: float = 50.0) -> Tensor:
    """wav [..., T] without what lies below `cutoff` Hz: zero phase, gain 1 / (1 + (cutoff / f)^6)."""
    n = wav.shape[-1]
    size = n + SAMPLE_RATE // 10  # silence behind the end, so that the start does not wrap into it
    f = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE, device=wav.device, dtype=wav.dtype)
    gain = f**6 / (f**6 + cutoff**6)
    return torch.fft.irfft(torch.fft.rfft(wav, size) * gain, size)[..., :n]


def mask(lens: Tensor, size: int) -> Tensor:
    """[..., size] true where the position is below lens [...]."""
    return torch.arange(size, device=lens.device) < lens.unsqueeze(-1)


def activity(wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
    """(power [..., F] of 300-sample frames, active [..., F]: frames that carry speech).

    A frame is active when its power exceeds the 5% quantile of the item's frames by 6 dB; that
    threshold is kept between 40 and 25 dB below the 95% quantile, so that neither digital
    silence nor speech without pauses misleads it.
    """
    frames = -(-wav.shape[-1] // HOP)
    wav = wav.masked_fill(~mask(lens, wav.shape[-1]), 0)
    wav = nn.functional.pad(wav, (0, frames * HOP - wav.shape[-1]))
    power = wav.unflatten(-1, (frames, HOP)).square().mean(-1)
    count = (lens + HOP - 1) // HOP
    valid = mask(count, frames)
    ordered = power.masked_fill(~valid, math.inf).sort(-1).values

    def quantile(q: float) -> Tensor:
        index = ((count - 1).clamp_min(0) * q).round().long()
        return ordered.gather(-1, index.unsqueeze(-1))

    loud = quantile(0.95)
    threshold = torch.minimum(torch.maximum(quantile(0.05) * 10**0.6, loud * 1e-4), loud * 10**-2.5)
    return power, valid & (power > threshold)


def span(wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
    """First and one-past-last sample [...] of speech, with one frame of margin at either side.

    An item without any active frame keeps its whole length.
    """
    _, active = activity(wav, lens)
    frames = active.shape[-1]
    index = torch.arange(frames, device=wav.device)
    first = torch.where(active, index, frames).amin(-1)
    last = torch.where(active, index, -1).amax(-1)
    some = last >= 0
    start = torch.where(some, (first - 1).clamp_min(0) * HOP, 0)
    end = torch.where(some, torch.minimum((last + 2) * HOP, lens), lens)
    return start, end


def speech(wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
    """wav [..., T] without silence at its ends and at one level; (wav [..., T], lens [...]).

    The level is the RMS of active frames, brought to LEVEL; zeros follow each item's end.
    """
    start, end = span(wav, lens)
    lens = end - start
    size = wav.shape[-1]
    index = start.unsqueeze(-1) + torch.arange(size, device=wav.device)
    wav = wav.gather(-1, index.clamp_max(size - 1)).masked_fill(~mask(lens, size), 0)
    power, active = activity(wav, lens)
    mean = (power * active).sum(-1) / active.sum(-1).clamp_min(1)
    return wav * (LEVEL / mean.clamp_min(1e-12).sqrt()).unsqueeze(-1), lens


def trim(wav: Tensor) -> Tensor:
    """Samples [N] without silence at the ends and at LEVEL."""
    wav, size = speech(wav, torch.tensor(wav.shape[-1], device=wav.device))
    return wav[: int(size)]


def filterbank(rate: int, n_fft: int, n_mels: int, low: float = 0.0, high: float | None = None) -> Tensor:
    """Triangular mel filters of unit area, [n_mels, n_fft // 2 + 1] float64.

    Slaney's scale (Auditory Toolbox, 1998): 200/3 Hz per mel up to 1 kHz, above it 27 mels for
    each factor of 6.4.
    """
    knee, step = 1000.0, math.log(6.4) / 27

    def mel(f: float) -> float:
        return f * 3 / 200 if f < knee else 15 + math.log(f / knee) / step

    m = torch.linspace(mel(low), mel(high or rate / 2), n_mels + 2, dtype=torch.float64)
    edges = torch.where(m < 15, m * 200 / 3, knee * torch.exp(step * (m - 15)))
    f = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    rise = (f - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - f) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp_min(0) * (2 / (edges[2:] - edges[:-2]))[:, None]


class LogMel(nn.Module):
    """Natural logarithm of a magnitude mel spectrogram, hop 300, Slaney's filters.

    wav [..., T], lens [...] -> (mel [..., n_mels, F], frames [...]) with frames = lens // 300 + 1;
    frame k is centred at sample 300 k, and zeros surround each item. Values below `floor` are
    raised to it: 3e-4 is what white noise 47 dB below LEVEL gives.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, n_fft: int = 1024, n_mels: int = 80, floor: float = 3e-4) -> None:
        super().__init__()
        self.n_fft, self.floor = n_fft, floor
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("filters", filterbank(SAMPLE_RATE, n_fft, n_mels).float(), persistent=False)

    def forward(self, wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        wav = wav.masked_fill(~mask(lens, wav.shape[-1]), 0)
        spectrum = torch.stft(
            wav.flatten(0, -2) if wav.dim() > 1 else wav[None],
            self.n_fft,
            HOP,
            window=self.window.to(wav.dtype),
            pad_mode="constant",
            return_complex=True,
        )
        mel = (self.filters.to(wav.dtype) @ spectrum.abs()).clamp_min(self.floor).log()
        frames = lens // HOP + 1
        mel = mel.unflatten(0, wav.shape[:-1]) if wav.dim() > 1 else mel[0]
        outside = ~mask(frames, mel.shape[-1]).unsqueeze(-2)
        return mel.masked_fill(outside, math.log(self.floor)), frames
