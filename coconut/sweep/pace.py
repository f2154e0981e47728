"""When a trial reports to the driver: at once where something is decided, else a few seconds after the report before.

A report costs the driver some milliseconds of Tune's, whatever it says; generations of many trials would come faster
than it can take them. What is scored in between travels with the next report. ASHA decides at rungs, and sees at
each what it would have seen had every generation been reported.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable

from coconut.sweep.plan import Row

GRACE = 1 / 6  # share of the budget before ASHA may stop a trial
REDUCTION = 4  # ASHA keeps the best quarter at each rung
PERIOD = 5.0  # seconds between reports


def grace(budget: int) -> int:
    """The first rung, in syntheses."""
    return max(1, round(budget * GRACE))


def rungs(budget: int | None, first: int | None = None) -> list[int]:
    """The syntheses at which ASHA compares trials, from the first rung on; none without a budget.

    `first`: the budget that the sweep began with, where it has a larger one now. The rungs stay, and go on above.
    """
    found: list[int] = []
    rung = grace(first or budget) if budget else 0
    while budget and rung <= budget:
        found.append(rung)
        rung *= REDUCTION
    return found


class Pace:
    """The pace of one trial's reports under a `budget` of syntheses (see `rungs`); `clock` in seconds."""

    def __init__(
        self, budget: int | None, clock: Callable[[], float] = time.monotonic, first: int | None = None
    ) -> None:
        self._rungs, self._clock = rungs(budget, first), clock
        self._passed = -1  # rungs behind the report before; -1: there was none
        self._reported = clock()

    def due(self, row: Row) -> bool:
        """Whether the trial reports now that it has come to `row`: the first time, at a rung, and every PERIOD."""
        return self._behind(row) > self._passed or self._clock() - self._reported >= PERIOD

    def reported(self, row: Row) -> None:
        """The trial has reported all up to `row`."""
        self._passed, self._reported = self._behind(row), self._clock()

    def _behind(self, row: Row) -> int:
        return bisect_right(self._rungs, row["syntheses"])
