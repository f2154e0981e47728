"""When a fit ends, as plain functions of its held-out scores.

A fit overcooks: the score rises, peaks, and decays while the training loss still falls. The
voice is always the one at the peak; stopping only saves the time after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from coconut.config import StopConfig


class StopReason(StrEnum):
    """Why a fit ended."""

    BUDGET = "budget"  # another generation would cost more syntheses than are left
    GENERATIONS = "generations"  # it used all its generations
    PATIENCE = "patience"  # no new best for `patience` scored generations
    OVERCOOKED = "overcooked"  # it stays below its best by more than `drop`


def peak(history: Sequence[float], min_delta: float) -> int:
    """Index of the last score that beat every earlier peak by at least `min_delta`."""
    best = 0
    for index, score in enumerate(history):
        if score >= history[best] + min_delta and score > history[best]:
            best = index
    return best


def should_stop(history: Sequence[float], config: StopConfig) -> StopReason | None:
    """The reason to stop after these scores (the start's first), or None to go on."""
    if not config.patience or not history:
        return None
    best = peak(history, config.min_delta)
    since = history[best + 1 :]
    window = max(2, config.patience // 2)
    if len(since) >= window and all(score < history[best] - config.drop for score in since[-window:]):
        return StopReason.OVERCOOKED
    return StopReason.PATIENCE if len(since) >= config.patience else None
