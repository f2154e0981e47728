"""What lies between a speaker and the ear, drawn anew each generation: gain, equaliser, noise, crop, speed.

A gradient climbs whatever an encoder rewards, also what is no voice at all. Heard through another channel each time,
such a gain does not last, and a likeness does. All candidates and the recordings pass the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from coconut.audio import SAMPLE_RATE, mask
from coconut.losses.ge2e import SHORTEST
from coconut.synthesis.transfer import upload

# What strength 1 draws from, evenly.
GAIN = 3.0  # dB to either side
KNOTS = np.array([100.0, 250.0, 600.0, 1500.0, 3500.0, 8000.0])  # Hz where the equaliser is set; a line between them
TILT = 6.0  # dB to either side at a knot
NOISE = (20.0, 40.0)  # dB below the speech
CROP = 0.4  # share that is cut off at most
SPEED = 6  # percent to either side
PERCENT = 100
TAIL = 1200  # zeros at least behind an item, where a filter's ends meet
LOOP = 24_000  # samples of noise, repeated


@dataclass(frozen=True, eq=False)
class Channel:
    """gain: of the level an encoder sets, a factor. tilt [6]: dB at KNOTS. noise [LOOP]: of RMS 1; level: its RMS, that
    of the speech being 1. first, kept: of an item, the share of what is cut off that lies before, and the share that is
    heard. percent: samples that 100 become."""

    gain: float
    tilt: np.ndarray
    noise: Tensor
    level: float
    first: float
    kept: float
    percent: int

    def __call__(self, wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, T] at 24 kHz with lens [B] as they arrive: [B, T'], zero past the ends, and lens. Differentiable."""
        wav, lens = self._cropped(wav, lens)
        wav, lens = self._filtered(wav, lens)
        inside = mask(lens, wav.shape[-1])
        wav = wav * inside
        rms = (wav.square().sum(-1) / lens.clamp_min(1)).clamp_min(1e-12).sqrt()
        noise = upload(self.noise, wav.device).to(wav.dtype)
        noise = noise[torch.arange(wav.shape[-1], device=wav.device) % LOOP]
        return wav + self.level * rms[:, None] * noise * inside, lens

    def _cropped(self, wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """Never below what an encoder needs, unless an item is shorter by itself."""
        kept = torch.maximum((lens * self.kept).long(), lens.clamp_max(SHORTEST))
        start = ((lens - kept) * self.first).long()
        index = start[:, None] + torch.arange(wav.shape[-1], device=wav.device)
        wav = wav.gather(-1, index.clamp_max(wav.shape[-1] - 1))
        return wav.masked_fill(~mask(kept, wav.shape[-1]), 0), kept

    def _filtered(self, wav: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """The equaliser without a phase, and the speed by as many samples more or fewer of the same spectrum."""
        size = -(-(wav.shape[-1] + TAIL) // PERCENT) * PERCENT
        hertz = np.linspace(0, SAMPLE_RATE / 2, size // 2 + 1)
        decibels = np.interp(np.log(hertz + 1.0), np.log(KNOTS + 1.0), self.tilt)
        response = upload(torch.from_numpy(10 ** (decibels / 20)), wav.device, wav.dtype)
        spectrum = torch.fft.rfft(pad(wav, (0, size - wav.shape[-1]))) * response
        longer = size // PERCENT * self.percent
        wav = torch.fft.irfft(spectrum, longer) * (longer / size)
        return wav, (lens * self.percent + PERCENT - 1) // PERCENT


@dataclass(frozen=True)
class Channels:
    """channels[generation]: a pure function of seed, strength and generation; None where the strength is 0."""

    seed: int
    strength: float

    def __getitem__(self, generation: int) -> Channel | None:
        if not self.strength:
            return None
        rng = np.random.default_rng([self.seed, generation])
        quiet = rng.uniform(*NOISE)
        return Channel(
            gain=10 ** (self.strength * rng.uniform(-GAIN, GAIN) / 20),
            tilt=self.strength * rng.uniform(-TILT, TILT, len(KNOTS)),
            noise=torch.from_numpy(rng.standard_normal(LOOP, dtype=np.float32)),
            level=self.strength * 10 ** (-quiet / 20),
            first=rng.uniform(),
            kept=1 - self.strength * rng.uniform(0, CROP),
            percent=PERCENT + round(self.strength * rng.uniform(-SPEED, SPEED)),
        )
