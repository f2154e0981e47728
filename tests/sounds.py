"""Speech-like sounds made from formulas: pulse trains through resonances, with pauses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.signal import lfilter
from torch import Tensor

from coconut.audio import SAMPLE_RATE
from coconut.data import Utterance
from coconut.losses import Synthesis
from coconut.synthesis import Audio, Prosody

VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))  # Hz


def tone(hertz: float, seconds: float = 1.0, amplitude: float = 0.1) -> Tensor:
    t = torch.arange(round(seconds * SAMPLE_RATE), dtype=torch.float64) / SAMPLE_RATE
    return (amplitude * torch.sin(2 * torch.pi * hertz * t)).float()


def pulses(hertz: Tensor) -> Tensor:
    """Pulse train [N] whose F0 is hertz [N]: equal harmonics up to 6 kHz."""
    phase = 2 * torch.pi * (hertz.double() / SAMPLE_RATE).cumsum(0)
    count = int(6000 / float(hertz.max()))
    return sum((torch.cos(k * phase) for k in range(1, count + 1)), torch.zeros_like(phase)).float() / count


def resonate(wav: Tensor, formants: Sequence[float], width: float = 90.0) -> Tensor:
    out = wav.numpy().astype(np.float64)
    for f in formants:
        r = np.exp(-np.pi * width / SAMPLE_RATE)
        out = lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * f / SAMPLE_RATE), r * r], out)
    return torch.from_numpy(out / np.abs(out).max() * 0.3).float()


def sentence(order: Sequence[int], f0: float = 120.0, scale: float = 1.0, tempo: float = 1.0) -> Tensor:
    """Vowels of 0.2 s in this `order`, a short pause after the second; `scale` shifts all formants."""
    rng = torch.Generator().manual_seed(sum(order))
    parts = []
    for place, vowel in enumerate(order):
        size = round(0.2 * tempo * SAMPLE_RATE)
        hertz = f0 * (1.1 - 0.2 * place / len(order)) * torch.ones(size)
        fade = torch.hann_window(size).clamp_min(0.05).sqrt()
        parts.append(resonate(pulses(hertz), [scale * f for f in VOWELS[vowel]]) * fade)
        if place == 1:
            parts.append(torch.zeros(round(0.06 * tempo * SAMPLE_RATE)))
    wav = torch.cat(parts)
    return wav + 1e-4 * torch.randn(len(wav), generator=rng)


def utterance(wav: Tensor, name: str = "u", phonemes: str = "həlˈO.") -> Utterance:
    return Utterance(name, "Hello.", phonemes, wav)


def synthesis(wavs: Sequence[Sequence[Tensor]], f0: Sequence[Sequence[Tensor]] | None = None) -> Synthesis:
    """A Synthesis of wavs[p][u] [N], as a synthesizer would give them: padded, with lens."""
    shape = (len(wavs), len(wavs[0]))
    lens = torch.tensor([[len(wav) for wav in row] for row in wavs])
    wav = torch.zeros(*shape, int(lens.max()))
    frames = (lens + 599) // 600
    hertz = torch.zeros(*shape, 2 * int(frames.max()))
    for p, row in enumerate(wavs):
        for u, item in enumerate(row):
            wav[p, u, : len(item)] = item
            if f0 is not None:
                curve = f0[p][u][: hertz.shape[-1]]
                hertz[p, u, : len(curve)] = curve
    ok = torch.ones(shape, dtype=torch.bool)
    prosody = Prosody(torch.ones(*shape, 1, dtype=torch.long), hertz, torch.zeros_like(hertz), frames, ok)
    return Synthesis(Audio(wav, lens, ok), prosody, torch.zeros(*shape, 256), torch.zeros(shape[1], dtype=torch.long))
