"""How good a recording is: what was measured of it, and what a user should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from coconut.audio.files import Take
from coconut.audio.level import HOP, SAMPLE_RATE
from coconut.audio.loudness import loudness
from coconut.audio.mains import Hum

Doubles = npt.NDArray[np.float64]

EXAMPLES = 3  # recordings named in a note
NOISY = 15.0  # dB
HUMMING = -40.0  # dB beside the speech
OFFSET = 0.1  # of the RMS of the speech
CLIPPED = 2e-3  # of the samples at the peak
DULL = 6000.0  # Hz
REVERBERANT = 0.52  # s; speech itself, in a dead room, falls by 60 dB in 0.2 to 0.4
QUIET = 22.0  # dB of speech over noise: with more noise a decay ends in it, and would be taken for a slow one
HEARD = 70.0  # dB below the strongest band: what lies lower does not count as bandwidth
SEGMENT = 1024  # samples of a spectrum
FALL = 8  # frames of 12.5 ms over which a decay is measured
MOST = 99.0  # dB

KINDS = {  # what a note says of recordings, and what there is to do
    "noise": ("are noisy", "record nearer to the microphone or in a quieter room"),
    "hum": ("hum", "it is taken out; look for a charger or a cable near the microphone"),
    "offset": ("have a constant offset", "it is taken out"),
    "clipping": ("are clipped", "record at a lower level"),
    "bandwidth": ("are dull", "above that nothing can be compared; give files that were never at a lower rate"),
    "reverb": ("are reverberant", "record nearer to the microphone or in a room with more cloth in it"),
    "channels": ("have channels that cancel each other", "the louder one is used"),
}


@dataclass(frozen=True)
class Quality:
    """Of a recording as it was made, before anything is taken out.

    seconds; rate: Hz of the file; bandwidth: Hz up to which the speech goes; clipped: share of samples at the peak;
    snr, hum: dB of speech over noise, and of the hum beside the speech (None: no hum), `hertz` its fundamental;
    offset: constant, beside the RMS of the speech; reverb: s that its fastest decays would take for 60 dB (None:
    noise hides them, or there are too few); share: of its time in which somebody speaks; loudness: LUFS; opposed: its
    channels cancel, and the louder one is used.
    """

    seconds: float
    rate: int
    bandwidth: float
    clipped: float
    snr: float
    hum: float | None
    hertz: float | None
    offset: float
    reverb: float | None
    share: float
    loudness: float
    opposed: bool = False

    @property
    def faults(self) -> dict[str, str]:
        """What is bad, by its kind in KINDS, with its figure."""
        found = {
            "noise": (self.snr < NOISY, f"speech {self.snr:.0f} dB above the noise"),
            "hum": (self.hum is not None and self.hum > HUMMING, f"{self.hertz or 0:.1f} Hz, {self.hum or 0:.0f} dB"),
            "offset": (self.offset > OFFSET, f"{self.offset:.1f} of the level of the speech"),
            "clipping": (self.clipped > CLIPPED, f"{100 * self.clipped:.1f}% of the samples"),
            "bandwidth": (self.bandwidth < DULL, f"nothing above {self.bandwidth / 1000:.1f} kHz"),
            "reverb": (self.reverb is not None and self.reverb > REVERBERANT, f"{self.reverb or 0:.1f} s"),
            "channels": (self.opposed, ""),
        }
        return {kind: figure for kind, (bad, figure) in found.items() if bad}


def measure(take: Take, seconds: float, wav: Tensor, runs: npt.NDArray[np.int64], hum: Hum | None) -> Quality:
    """Of a take, of which `wav` [N] is without offset and hum, and `runs` [R, 2] are the frames with speech.

    `seconds`: of the whole recording, where the take is only a part of it.
    """
    x = wav.double().numpy()
    power = np.square(x[: len(x) // HOP * HOP]).reshape(-1, HOP).mean(1)
    active = np.zeros(len(power), bool)
    for start, end in runs:
        active[start:end] = True
    spoken, noise = _powers(power, active)
    heard = x[: len(active) * HOP].reshape(-1, HOP)[active].ravel() if active.any() else x
    snr = _decibels(max(spoken - noise, 1e-3 * noise), noise)
    return Quality(
        seconds=seconds,
        rate=take.rate,
        bandwidth=min(_bandwidth(heard), take.rate / 2),
        clipped=take.clipped,
        snr=snr,
        hum=_decibels(hum.power, spoken) if hum else None,
        hertz=hum.hertz if hum else None,
        offset=abs(float(take.wav.median())) / (spoken**0.5 + 1e-12),
        reverb=_decay(power, noise) if snr > QUIET else None,
        share=float(active.sum()) * HOP / SAMPLE_RATE / seconds,
        loudness=loudness(take.wav),
        opposed=take.opposed,
    )


def notes(found: Sequence[tuple[str, Quality]]) -> list[str]:
    """A sentence for each kind of fault among recordings of these names: how many have it, and which."""
    sentences = []
    for kind, (what, advice) in KINDS.items():
        bad = [(name, quality.faults[kind]) for name, quality in found if kind in quality.faults]
        if bad:
            shown = "; ".join(f"{name} ({figure})" if figure else name for name, figure in bad[:EXAMPLES])
            more = " ..." if len(bad) > EXAMPLES else ""
            sentences.append(f"{len(bad)} of {len(found)} recordings {what}: {shown}{more}; {advice}.")
    return sentences


def _powers(power: Doubles, active: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """(power of speech and noise together, power of the noise) of frames [F]."""
    if not active.any():
        whole = float(power.mean()) if len(power) else 0.0
        return whole, whole
    return float(power[active].mean()), float(np.quantile(power, 0.05))


def _decibels(power: float, beside: float) -> float:
    return float(np.clip(10 * np.log10((power + 1e-20) / (beside + 1e-20)), -MOST, MOST))


def _bandwidth(x: Doubles) -> float:
    """Hz up to which the spectrum of x [N] is within HEARD dB of its strongest band of 200 Hz."""
    size = min(SEGMENT, len(x))
    parts = sliding_window_view(x, size)[:: size // 2] * np.hanning(size)
    power = np.square(np.abs(np.fft.rfft(parts))).mean(0)  # Welch's method
    level = 10 * np.log10(np.convolve(power, np.ones(9) / 9, "same") + 1e-20)
    return float(np.flatnonzero(level >= level.max() - HEARD)[-1]) * SAMPLE_RATE / size


def _decay(power: Doubles, noise: float) -> float | None:
    """Seconds in which the fastest twentieth of decays of frames' power [F] would fall by 60 dB; None without any."""
    level = 10 * np.log10(power + 1e-20)
    if len(level) < FALL:
        return None
    parts = sliding_window_view(level, FALL)
    parts = parts[parts.min(1) > max(10 * np.log10(noise + 1e-20) + 6, level.max() - 45)]
    if len(parts) < FALL:
        return None
    time = (np.arange(FALL) - (FALL - 1) / 2) * HOP / SAMPLE_RATE
    slope = float(np.quantile(parts @ time / (time @ time), 0.05))  # dB/s
    return -60 / slope if slope < 0 else None
