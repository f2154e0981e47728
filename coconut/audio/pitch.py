"""F0 of recordings by YIN, batched.

A. de Cheveigne and H. Kawahara, "YIN, a fundamental frequency estimator for speech and music",
JASA 111(4), 2002; equation numbers are theirs. Synthesised speech needs no tracker: its F0 is
part of the prosody it was made from.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from coconut.audio.level import HOP, SAMPLE_RATE, activity, mask

LOWEST, HIGHEST = 50.0, 600.0  # Hz
WINDOW = 1024  # samples of the integration window: two periods of 50 Hz
THRESHOLD = 0.15  # first dip of d' below this is the period (eq. 8, step 4)
VOICED = 0.35  # deepest dip above this: no period
JUMP = 0.2  # a voiced frame has a neighbour whose F0 differs by less than this share


def f0(wav: Tensor, lens: Tensor, chunk: int = 4096) -> Tensor:
    """F0 [B, F] in Hz of wav [B, T], F = T // 300 + 1; 0 where unvoiced or beyond lens [B].

    Frame k is centred at sample 300 k, as in LogMel. At most `chunk` frames are held at a time.
    """
    wav = wav.masked_fill(~mask(lens, wav.shape[-1]), 0)
    frames = wav.shape[-1] // HOP + 1
    step = max(1, chunk // frames)
    parts = [_periods(part, frames) for part in wav.split(step)]
    hertz = torch.cat([part[0] for part in parts])
    dip = torch.cat([part[1] for part in parts])
    _, active = activity(wav, lens)
    active = pad(active, (0, frames - active.shape[-1]))  # frame k covers samples 300 k .. 300 k + 299
    active = active | pad(active, (1, 0))[:, :-1]
    voiced = (dip < VOICED) & active & mask(lens // HOP + 1, frames)
    return _steady(hertz * voiced)


def _periods(wav: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """(F0 [B, F], depth of the dip d' [B, F]) of every frame, voiced or not."""
    longest, shortest = int(SAMPLE_RATE / LOWEST), int(SAMPLE_RATE / HIGHEST)
    size = WINDOW + longest + 1
    x = pad(wav, (size // 2, size)).unfold(-1, size, HOP)[:, :frames]
    difference = _difference(x, longest + 1)
    lag = torch.arange(1, longest + 2, device=wav.device)
    mean = difference[..., 1:].cumsum(-1) / lag
    ratio = difference[..., 1:] / mean.clamp_min(1e-12)  # eq. 8; column t is lag t + 1
    ratio = ratio[..., shortest - 2 :]  # lags shortest - 1 .. longest + 1
    left, here, right = ratio[..., :-2], ratio[..., 1:-1], ratio[..., 2:]
    dips = (here <= left) & (here < right)
    low = dips & (here < THRESHOLD)
    deepest = here.masked_fill(~dips, torch.inf).argmin(-1)
    best = torch.where(low.any(-1), low.to(torch.int8).argmax(-1), deepest).unsqueeze(-1)
    a, b, c = (part.gather(-1, best).squeeze(-1) for part in (left, here, right))
    shift = 0.5 * (a - c) / (a - 2 * b + c).clamp_min(1e-12)  # vertex of a parabola (step 5)
    hertz = SAMPLE_RATE / (shortest + best.squeeze(-1) + shift.clamp(-1, 1))
    return hertz, torch.where(dips.any(-1), b, torch.inf)


def _difference(x: Tensor, longest: int) -> Tensor:
    """d(lag) = sum_j (x[j] - x[j + lag])^2 over WINDOW samples, lags 0..longest (eq. 6)."""
    head = torch.fft.rfft(x[..., :WINDOW], 2048)
    product = torch.fft.irfft(torch.fft.rfft(x, 2048) * head.conj(), 2048)[..., : longest + 1]
    total = pad(x.square().cumsum(-1), (1, 0))
    energy = total[..., WINDOW : WINDOW + longest + 1] - total[..., : longest + 1]
    return (energy[..., :1] + energy - 2 * product).clamp_min(0)


def _steady(hertz: Tensor) -> Tensor:
    """Drop voiced frames that no neighbour supports: octave slips come alone."""

    def near(other: Tensor) -> Tensor:
        return (other > 0) & ((hertz - other).abs() < JUMP * hertz)

    supported = near(pad(hertz, (1, 0))[:, :-1]) | near(pad(hertz, (0, 1))[:, 1:])
    return hertz * supported
