"""How near the model's own voices come to a speaker, and how near a fit is likely to come."""

from __future__ import annotations

from dataclasses import dataclass

from coconut import forecast, resources, start
from coconut.forecast import Forecast
from coconut.inspection.clips import Heard
from coconut.score import Metrics
from coconut.start import Ranking

SHOWN = 5  # stock voices


@dataclass(frozen=True)
class Prospect:
    """Of recordings that were heard.

    ranking: the nearest stock voices and their metrics on a few fitting utterances, best first; start: the held-out
    metrics of the voice that a fit begins at, and `note`, a sentence about it; forecast: of the test score, or None
    where `unknown` says why there is none.
    """

    ranking: Ranking
    start: Metrics
    note: str
    forecast: Forecast | None
    unknown: str | None


def prospect(heard: Heard) -> Prospect:
    """Rank the stock voices and hear the start, as a fit of the job does first. Raises InputError as it does."""
    job = heard.job
    config, synth = job.config, job.synthesizer()
    found = start.search(config, synth, job.fit)
    voices = resources.model(config.model, config.device).voices
    pack, note = (found.start.pack, found.start.note) if found.start else (voices[found.nearest], "")
    begun = start.heldout(config, synth, job.heldout, pack)
    faults = [clip.quality.faults for clip in heard.clips if clip.split and clip.quality]
    guess, unknown = forecast.forecast(config, begun.parts, faults), forecast.unknown(config, faults)
    return Prospect(found.ranking[:SHOWN], begun, note, guess, unknown)
