"""Where somebody speaks, in noise and in long silence: bands that rise over their own floor.

A band's floor is what it has in the quietest tenth of the recording. White noise as loud as the speech still lies far
below it in the bands of the vowels, and a hum fills its own bands only, so that many bands together tell what
power alone does not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from coconut.audio.level import HOP, SAMPLE_RATE
from coconut.audio.mel import filterbank

Floats = npt.NDArray[np.float32]
Runs = npt.NDArray[np.int64]

N_FFT = 1024
BANDS, LOWEST, HIGHEST = 24, 80.0, 6000.0  # mel bands, Hz
SMOOTH = 9  # frames of 12.5 ms over which a band's power is averaged
QUIET = 0.1  # quantile of a band's power that is taken for its floor
RANGE = 1e-8  # of the loudest power of any band: what lies lower is silence, however much it rises
MOST = 20.0  # dB over its floor that one band can tell
RISE = 1.2  # dB over the quietest tenth, root mean square of all bands: white and pink noise reach 1.1 in a minute
SHARE = 0.12  # or this part of the greatest rise, where that is more: a room whose tone drifts
PAUSE = 24  # frames: a shorter pause is part of the speech
SHORTEST = 10  # frames: what is shorter is a click
FAINT = 0.35  # of the greatest rise: a run that stays below is no speech
MARGIN = 2  # frames at either side


class Bands:
    """Powers [F, BANDS] of a recording that comes in pieces: frames of N_FFT samples, HOP apart, centred."""

    def __init__(self) -> None:
        self.window = torch.hann_window(N_FFT)
        filters = filterbank(SAMPLE_RATE, N_FFT, BANDS, LOWEST, HIGHEST).float()
        self.filters = filters.T.contiguous()

    def of(self, pieces: Iterable[Tensor]) -> Tensor:
        """Of samples [N] float32, whatever they are cut into: F = N // HOP + 1."""
        rest, found, count = torch.zeros(N_FFT // 2), torch.zeros(0, BANDS), 0
        for piece in itertools.chain(pieces, [torch.zeros(N_FFT // 2)]):
            rest = torch.cat([rest, piece])
            powers = self._powers(rest)
            rest = rest[len(powers) * HOP :]
            if count + len(powers) > len(found):  # one block: parts kept between the spectra would keep their memory
                found = pad(found, (0, 0, 0, len(found) + len(powers)))
            found[count : count + len(powers)] = powers
            count += len(powers)
        return found[:count]

    def _powers(self, wav: Tensor) -> Tensor:
        if len(wav) < N_FFT:
            return torch.zeros(0, BANDS)
        frames = wav.unfold(0, N_FFT, HOP) * self.window
        return torch.fft.rfft(frames).abs().square() @ self.filters


def spoken(powers: Tensor) -> Runs:
    """Runs [R, 2] of frames in which somebody speaks, first and one past last, of powers [F, BANDS].

    Pauses shorter than 0.3 s are part of a run. There is none where nothing rises over its floor.
    """
    rise = _rise(powers)
    most = float(rise.max())
    runs = _joined(_runs(rise > max(RISE, SHARE * most)), PAUSE)
    speech = [r for r in runs if r[1] - r[0] >= SHORTEST and rise[r[0] : r[1]].max() >= FAINT * most]
    margin = np.array([-MARGIN, MARGIN])
    return np.clip(np.array(speech, np.int64).reshape(-1, 2) + margin, 0, len(rise))


def _rise(powers: Tensor) -> Floats:
    """[F] dB by which the bands lie over their floors, over that of the quietest tenth of frames."""
    smooth = avg_pool1d(powers.T[None], SMOOTH, 1, SMOOTH // 2, count_include_pad=False)[0]
    low = float(smooth.max()) * RANGE + 1e-20
    level = smooth.clamp_min(low).log10().mul(10).numpy()
    floor = np.quantile(level, QUIET, axis=1, keepdims=True)
    np.clip(level - floor.astype(np.float32), 0, MOST, out=level)
    over = np.sqrt(np.square(level, out=level).mean(0))
    return (over - np.quantile(over, QUIET)).astype(np.float32)


def _runs(active: npt.NDArray[np.bool_]) -> Runs:
    edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0))
    return edges.reshape(-1, 2)


def _joined(runs: Runs, gap: int) -> Runs:
    """Runs whose distance is below `gap` frames, as one."""
    if not len(runs):
        return runs
    apart = np.flatnonzero(runs[1:, 0] - runs[:-1, 1] >= gap)
    return np.stack([runs[np.append(0, apart + 1), 0], runs[np.append(apart, len(runs) - 1), 1]], 1)
