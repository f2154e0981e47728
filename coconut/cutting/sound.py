"""What a recording and the model's own speech are compared by: cepstra of 25 ms of speech, pauses taken out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from coconut.audio.voice import BANDS, spoken

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

ROW = 600  # samples: two frames of audio.voice, one of the model's durations
CEPSTRA = 13
REACH = 2  # rows to either side from which the slope of a cepstrum is taken
FLOOR = 1e-2  # of the usual power of a band: what is softer tells nothing
QUIET = 0.1  # quantile of the power of a band that is its noise


@dataclass(frozen=True)
class Heard:
    """The speech of a recording: cepstra [R, D], the place of each row in it [R] (25 ms each), pauses before it [R].

    noise [BANDS]: powers of its noise, beside those of its speech.
    """

    cepstra: Floats
    places: Ints
    pauses: Ints
    noise: Tensor


def heard(powers: Tensor) -> Heard:
    """Of powers [F, BANDS] of a recording (audio.voice.Bands); no row where nobody speaks."""
    active = np.zeros(len(powers) // 2, bool)
    for start, end in spoken(powers):
        active[start // 2 : -(-end // 2)] = True
    places = np.flatnonzero(active)
    found = rows(powers)
    mean = found[places].mean(0) + 1e-20
    said = cepstra(found / mean)[places]
    noise = torch.from_numpy(np.quantile(found.numpy(), QUIET, axis=0)).float() / mean
    return Heard(scaled(said, said), places, np.diff(places, prepend=places[:1] - 1) - 1, noise)


def rows(powers: Tensor) -> Tensor:
    """Powers [F // 2, BANDS] of rows, of powers [F, BANDS] of frames of 12.5 ms."""
    return powers[: len(powers) // 2 * 2].unflatten(0, (-1, 2)).sum(1)


def cepstra(powers: Tensor) -> Floats:
    """Cepstra and their slopes [R, 2 * CEPSTRA] of rows of powers [R, BANDS], whose usual power is 1 in every band."""
    found = ((powers + FLOOR).log() @ _cosines().T).numpy()
    wide = np.pad(found, ((REACH, REACH), (0, 0)), "edge")
    shifted = [wide[k : len(wide) - 2 * REACH + k] for k in range(2 * REACH + 1)]
    slopes = sum((k - REACH) * there for k, there in enumerate(shifted))
    return np.concatenate([found, np.asarray(slopes)], 1).astype(np.float32)


def scaled(found: Floats, usual: Floats) -> Floats:
    """Each cepstrum [.., D] with the mean and the spread of `usual` [R, D] taken out: what differs between voices."""
    if not len(usual):
        return found
    return np.asarray((found - usual.mean(0)) / (usual.std(0) + 1e-6), np.float32)


def _cosines() -> Tensor:
    """[CEPSTRA, BANDS] of the cosine transform."""
    k, n = torch.arange(CEPSTRA)[:, None], torch.arange(BANDS)[None]
    return torch.cos(math.pi * k * (n + 0.5) / BANDS)
