"""Which settings mattered in a sweep: their shares in the variance of the scores, at an equal number of syntheses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coconut.config import flatten
from coconut.sweep import SEARCHED
from coconut.sweep.board import Entry
from coconut.sweep.ended import ASHA
from coconut.sweep.search import importances
from coconut.sweep.space import SEED

ENOUGH = 8  # trials, below which a forest has nothing to learn from


@dataclass(frozen=True)
class Matters:
    """`shares` by setting, largest first; per trial its `words`, its `settings`, and its `score`.

    `at`: the syntheses up to which scores count, None for all. `reason`: why there are no shares, or "".
    """

    shares: dict[str, float]
    words: list[str]
    settings: list[dict[str, Any]]
    scores: list[float]
    at: float | None
    reason: str = ""


def matters(entries: Sequence[Entry]) -> Matters:
    """What the finished trials of a sweep say about its settings.

    Trials that ASHA stopped had fewer syntheses to rise in, so that all are compared by their best score within
    what each of them had. The seed's preset lies outside the space that was searched, and is left out.
    """
    done = [entry for entry in entries if entry.status == "finished" and entry.scored and entry.preset != SEED]
    stopped = [entry.last["syntheses"] for entry in done if entry.stop == ASHA]
    at = min(stopped, default=None)
    settings, words = _differing(done), [entry.words for entry in done]
    scores = [max(row["score"] for row in entry.scored if at is None or row["syntheses"] <= at) for entry in done]
    reason = ""
    if len(done) < ENOUGH:
        reason = (
            f"{len(done)} finished trials of the search are too few to say which settings mattered; {ENOUGH} begin to."
        )
    elif not settings[0]:
        reason = "All trials had the same settings."
    elif max(scores) == min(scores):
        reason = "All trials came to the same score."
    shares = {} if reason else importances(settings, scores)
    return Matters(shares, words, settings, scores, at, reason)


def _differing(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The searchable settings of each trial in which any two differ."""
    flat = [flatten(entry.config) | {"es.popsize": entry.config.es.candidates} for entry in entries]
    names = [name for name in (flat[0] if flat else ()) if name.startswith(SEARCHED)]
    kept = [name for name in names if any(one[name] != flat[0][name] for one in flat)]
    return [{name: one[name] for name in kept} for one in flat]
