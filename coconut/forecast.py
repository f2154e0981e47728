"""What test score a fit will reach, of what is known before it begins: a straight line through fits of other speakers.

Its one feature is the log-mel part of the score of the voice that the search begins at. A fit brings the other
parts, the speaker's, F0 and duration, near to 1 for almost everybody; how far the log-mel part can rise depends on
whether the model's voices sound at all like the recording, and the start shows that.

The fits are in assets/forecast.json, which `experiments/bench/forecast.py` makes. They hold for one model, at the
settings that it has by default, and for clean recordings: a fit gains more where noise or a narrow line has misled
the encoder that made the start.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # its parts are loaded when they are first used: they take as long as a fifth of torch

from coconut.config import FitConfig, flatten

ASSET = "assets/forecast.json"
SHARE = 0.8  # of speakers whose score lies within the interval
PART = "logmel"  # of the score of the start
SPOILING = frozenset(("noise", "bandwidth", "reverb", "clipping"))  # faults that nothing takes out
SPOILT = 0.25  # of the recordings with such faults: more are not those of the calibration
# Settings of a fit that its score may depend on; those that name recordings, device and folders are none.
SETTINGS = ("budget", "generations", "schedule", "augment", "es", "space", "loss", "window", "score", "stop")

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Forecast:
    """Of a test score, 0 to 100: `score`, and `low` to `high`, which holds SHARE of speakers like the calibration's.

    `speakers`: of the calibration; `inside`: the speaker's start is between theirs.
    """

    score: float
    low: float
    high: float
    speakers: int
    inside: bool

    def __str__(self) -> str:
        beyond = "" if self.inside else ", none of whom began where this fit does"
        return (
            f"Forecast of a fit with the default settings: a test score of {self.score:.0f}, {SHARE:.0%} interval "
            f"{self.low:.0f} to {self.high:.0f}. It is a guess from {self.speakers} synthetic speakers{beyond}."
        )


@dataclass(frozen=True)
class Line:
    """Least squares of the scores [N] that fits reached on the log-mel parts [N] of their starts, N > 2."""

    starts: Doubles
    scores: Doubles

    def __call__(self, start: float) -> Forecast:
        """Of the fit that begins at a voice whose log-mel part is `start`.

        The interval is Student's, N - 2 degrees of freedom, for a new speaker. Its spread is that of the errors
        with each speaker left out, each beside what its own place on the line gives it.
        """
        score = float(self._slope * (start - self._centre) + self.scores.mean())
        spread = math.sqrt(float((self.errors**2 * (1 - self._leverages)).mean()) * (1 + self._leverage(start)))
        reach = spread * float(scipy.special.stdtrit(len(self.starts) - 2, (1 + SHARE) / 2))
        inside = bool(self.starts.min() <= start <= self.starts.max())
        low, score, high = (min(100.0, max(0.0, value)) for value in (score - reach, score, score + reach))
        return Forecast(score, low, high, len(self.starts), inside)

    @cached_property
    def errors(self) -> Doubles:
        """[N] by which each score lies above the line through all others."""
        beside = self.scores - self.scores.mean() - self._slope * (self.starts - self._centre)
        return np.asarray(beside / (1 - self._leverages))

    def without(self, place: int) -> Line:
        """The line through all speakers but one."""
        return Line(np.delete(self.starts, place), np.delete(self.scores, place))

    @property
    def _centre(self) -> float:
        return float(self.starts.mean())

    @cached_property
    def _width(self) -> float:
        return float(((self.starts - self._centre) ** 2).sum())

    @cached_property
    def _slope(self) -> float:
        return float(((self.starts - self._centre) * self.scores).sum() / self._width)

    @cached_property
    def _leverages(self) -> Doubles:
        return np.asarray(1 / len(self.starts) + (self.starts - self._centre) ** 2 / self._width)

    def _leverage(self, start: float) -> float:
        return 1 / len(self.starts) + (start - self._centre) ** 2 / self._width


def line(speakers: Sequence[Mapping[str, Any]]) -> Line:
    """Through speakers that have a `start`, the log-mel part, and a `reached`, the test score."""
    return Line(np.array([s["start"] for s in speakers]), np.array([s["reached"] for s in speakers]))


def calibration() -> dict[str, Any]:
    """What is shipped: `model`, its `settings`, and `speakers`, each with name, start and reached."""
    content = (resources.files("coconut") / ASSET).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(content)
    return found


def settings(config: FitConfig) -> dict[str, Any]:
    """By dotted name, what the score may depend on."""
    return {name: value for name, value in flatten(config).items() if name.partition(".")[0] in SETTINGS}


def unknown(config: FitConfig, faults: Sequence[Collection[str]]) -> str | None:
    """Why there is no forecast for fits of a settled `config`, as a sentence; None where there is one.

    `faults`: of each recording, their kinds in audio.Quality.
    """
    known = calibration()
    if config.model != known["model"]:
        return (
            f"There is no forecast for {config.model}: it takes fits of a dozen speakers to calibrate one, and only "
            f"those of {known['model']} were made (experiments/bench/forecast.py)."
        )
    given = settings(config)
    other = [name for name, value in known["settings"].items() if given.get(name) != value]
    if other:
        return f"There is no forecast for fits with another {', '.join(other)} than the default."
    spoilt = sum(not SPOILING.isdisjoint(kinds) for kinds in faults)
    if spoilt > SPOILT * len(faults):
        return (
            f"There is no forecast: {spoilt} of {len(faults)} recordings are noisy, dull, reverberant or clipped, "
            "and it was calibrated on clean ones."
        )
    return None


def forecast(config: FitConfig, parts: Mapping[str, float], faults: Sequence[Collection[str]]) -> Forecast | None:
    """Of a fit of a settled `config` whose start has these `parts` of its held-out score; None where `unknown`."""
    return None if unknown(config, faults) else line(calibration()["speakers"])(parts[PART])
