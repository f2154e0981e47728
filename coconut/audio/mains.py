"""What is below speech and beside it: rumble, a constant offset, and the hum of the mains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
import scipy  # its parts are loaded when they are first used: they take as long as a fifth of torch
import torch
from torch import Tensor
from torch.nn.functional import pad

from coconut.audio.level import SAMPLE_RATE

Doubles = npt.NDArray[np.float64]

CUTOFF = 50.0  # Hz
MAINS = (50.0, 60.0)  # Hz
STRAY = 0.3  # Hz: clocks of recorders and of power stations
RATE = SAMPLE_RATE // 8  # Hz: harmonics are looked for up to 0.4 of it
RESOLUTION = 0.02  # Hz
AROUND = 15.0  # Hz from a harmonic begin its surroundings
CLEAR = 20.0  # times the power around: a hum that is there
LIKELY = 6.0  # and its other harmonics
STEADY = 2.0  # times the power of the quietest tenth: more cannot be there all the time
AGREE = 0.5  # cosine of the hum of one half with that of the other: a vowel of this pitch does not stay
STEPS = 2  # in which the frequency is found
FAINT = 1e-5  # of the power of the whole: hum below -50 dB is let be


@dataclass(frozen=True)
class Hum:
    """A steady tone of the mains: `hertz` of its fundamental, `harmonics` that are there, their `power` in the file."""

    hertz: float
    harmonics: tuple[int, ...]
    power: float


def highpass(wav: Tensor, cutoff: float = CUTOFF) -> Tensor:
    """wav [..., T] without what lies below `cutoff` Hz: zero phase, gain 1 / (1 + (cutoff / f)^6).

    A constant offset leaves no step at either end.
    """
    size = wav.shape[-1]
    silence = SAMPLE_RATE // 10  # around it, in which the filter settles
    level = wav.double() - wav.double().median(-1, keepdim=True).values
    filtered = scipy.signal.sosfiltfilt(_sections(cutoff), pad(level, (silence, silence)).numpy(), padtype=None)
    return torch.from_numpy(filtered[..., silence : silence + size].copy()).to(wav.dtype)


@cache
def _sections(cutoff: float) -> Doubles:
    """[2, 6]: half of `highpass`, of which a pass in either direction is the whole."""
    return np.asarray(scipy.signal.butter(3, cutoff, "highpass", fs=SAMPLE_RATE, output="sos"), np.float64)


def cleaned(wav: Tensor) -> tuple[Tensor, Hum | None]:
    """(`highpass` of wav [N] without the hum of the mains, the hum that was there, if any).

    The hum is measured where the recording is quietest, so that a voice of the same pitch is let be, and is
    subtracted, which is a notch as narrow as the recording is long. It is taken for steady over all of it.
    """
    passed = highpass(wav)
    x = scipy.signal.resample_poly(passed.double().numpy(), 1, SAMPLE_RATE // RATE)
    weight, quiet = _quiet(x)
    hum = _find(x, weight, quiet)
    if hum is None:
        return passed, None
    hum = _tuned(x, weight, hum)
    waves = _waves(len(x), RATE, hum)
    parts = _fitted(waves, x, weight)
    half = len(x) // 2
    first, second = (_fitted(waves[part], x[part], weight[part]) for part in (slice(half), slice(half, None)))
    if first @ second < AGREE * np.linalg.norm(first) * np.linalg.norm(second):
        return passed, None
    # Taken out after the high-pass, it would leave what the filter makes of its two ends.
    parts /= np.tile(1 / (1 + (CUTOFF / (hum.hertz * np.array(hum.harmonics))) ** 6), 2)  # as it was before
    tone = _waves(len(wav), SAMPLE_RATE, hum) @ parts
    power = float(np.square(parts).sum() / 2)
    return highpass(wav - torch.from_numpy(tone).to(wav.dtype)), replace(hum, power=power)


def _tuned(x: Doubles, weight: Doubles, hum: Hum) -> Hum:
    """With the frequency that fits x [N] best: off by a thousandth of a Hz, a harmonic drifts away in a minute.

    Steps of Gauss and Newton, each of which fits the waves and what they change by with the frequency.
    """
    order = np.array(hum.harmonics)
    for _ in range(STEPS):
        waves = _waves(len(x), RATE, hum)
        cosines, sines = np.split(_fitted(waves, x, weight), 2)
        turned = waves @ np.concatenate([order * sines, -order * cosines])
        change = 2 * np.pi / RATE * np.arange(len(x)) * turned
        hertz = hum.hertz + float(_fitted(np.column_stack([waves, change]), x, weight)[-1])
        if abs(hertz - hum.hertz) > STRAY:
            return hum
        hum = replace(hum, hertz=hertz)
    return hum


def _fitted(waves: Doubles, x: Doubles, weight: Doubles) -> Doubles:
    """[2 K] of each wave in x [N], by weighted least squares."""
    root = np.sqrt(weight)
    return np.asarray(np.linalg.lstsq(root[:, None] * waves, root * x, rcond=None)[0], np.float64)


def _quiet(x: Doubles) -> tuple[Doubles, float]:
    """([N] weights, the inverse of the power around each sample; that power in the quietest tenth)."""
    power = scipy.ndimage.uniform_filter1d(np.square(x), RATE // 10, mode="nearest").clip(0)
    low = float(np.quantile(power, 0.1))
    weight = 1 / np.maximum(power, low + 1e-9 * power.mean() + 1e-20)
    weight = scipy.ndimage.uniform_filter1d(weight, RATE // 20)
    weight[: RATE // 20] = weight[-RATE // 20 :] = 0  # where filters settle
    return weight, low


def _find(x: Doubles, weight: Doubles, quiet: float) -> Hum | None:
    size = scipy.fft.next_fast_len(max(len(x), round(RATE / RESOLUTION)), real=True)
    power = (
        np.square(np.abs(scipy.fft.rfft(weight * x, size)) / (weight.sum() + 1e-30)) * 2
    )  # of a sine: amplitude^2 / 2
    found = [hum for base in MAINS if (hum := _harmonics(power, RATE / size, base))]
    hum = max(found, key=lambda hum: hum.power, default=None)
    if hum is None or hum.power > STEADY * quiet or hum.power < FAINT * np.square(x).mean():
        return None
    return hum


def _harmonics(power: Doubles, step: float, base: float) -> Hum | None:
    """The harmonics of about `base` Hz that stand out of power [F], whose bins are `step` Hz apart."""
    order = np.arange(1, int(0.4 * RATE / base) + 1)
    grid = base + np.arange(-STRAY, STRAY, 0.004)
    hertz = float(grid[power[np.rint(np.outer(grid, order) / step).astype(int)].sum(1).argmax()])
    beside = np.arange(AROUND, base - AROUND)
    between = np.median(power[np.rint((hertz * np.append(0, order)[:, None] + beside) / step).astype(int)], 1)
    around = (between[1:] + between[:-1]) / 2
    peak = power[np.rint(hertz * order / step).astype(int)]
    clear = peak > CLEAR * around
    if not (clear[0] or (clear[1] and clear[3])):  # of a rectifier there are the even ones
        return None
    there = peak > LIKELY * around
    return Hum(hertz, tuple(order[there].tolist()), float(peak[there].sum()))


def _waves(size: int, rate: int, hum: Hum) -> Doubles:
    """[size, 2 K]: cosine and sine of each harmonic."""
    phase = 2 * np.pi * hum.hertz / rate * np.outer(np.arange(size), hum.harmonics)
    return np.concatenate([np.cos(phase), np.sin(phase)], 1)
