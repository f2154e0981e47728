"""`--repeat-top K --seeds N`: the best K trials again, each with N other seeds, so that a lead can be told from luck.

A repeat has another seed of its fit and of the noise, and its held-out sentences are drawn anew: those that led the fit
and those that chose the voice are one pool of which others are held out. So the start is found anew too, and so is the
score of the nearest stock voice that a repeat has to beat. The test stays what it was. The K trials share seeds and
draws, so that they are compared in pairs.

They are ranked by the mean of their repeats' gains over the nearest stock voice. The trial itself does not count: it
was chosen for its score, which was therefore lucky more often than not. A repeat has the budget of all trials and is
not stopped by ASHA, whose rungs are of other sentences.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coconut import data
from coconut.config import from_dict
from coconut.sweep import storage
from coconut.sweep.plan import Plan, Record, Repeat, Ticket

if TYPE_CHECKING:
    from coconut.job import Job
    from coconut.sweep.board import Entry

START = "space.start"


def choose(plan: Plan, ranked: Sequence[Ticket], top: int, seeds: int) -> tuple[Repeat, ...]:
    """What is still to be repeated of the first `top` of a ranking, seed by seed: a sweep that is cut short has each
    trial repeated about equally often.
    """
    known = {(repeat.of, repeat.seed) for repeat in plan.repeats}
    wanted = [
        (ticket.number, seed, ticket.settings)
        for seed in range(plan.seed + 1, plan.seed + 1 + seeds)
        for ticket in ranked[:top]
        if (ticket.number, seed) not in known
    ]
    return tuple(Repeat(plan.total + place, *one) for place, one in enumerate(wanted))


def redraw(job: Job, seed: int, fixed: Mapping[str, Any]) -> Job:
    """The job with another seed and other held-out sentences, as many as before, and with its start to be found.

    `fixed`: settings that were typed; a start that was none of them was found, and is found anew.
    """
    drawn = data.split([*job.fit, *job.heldout], len(job.heldout), 0, seed)
    start = fixed.get(START, job.config.space.start)
    config = from_dict({"seed": seed, START: start}, job.config)
    return dataclasses.replace(
        job, config=config, fit=drawn.fit, heldout=drawn.heldout, nearest=None, start=None, spent=0
    )


def prepare(record: Record, job: Job, ranked: Sequence[Ticket], settle: Callable[[list[Job]], list[Job]]) -> bool:
    """Choose what is to be repeated and lay the jobs of new draws down; whether there is anything new to run.

    `settle` finds the starts of jobs and their nearest stock voices. The record is saved at the end: killed before, a
    sweep chooses the same again.
    """
    new = choose(record.plan, ranked, record.top, record.seeds)
    if not new:
        return False
    seeds = sorted({repeat.seed for repeat in new if str(repeat.seed) not in record.draws})
    draws = [redraw(job, seed, record.fixed) for seed in seeds]
    for seed, drawn in zip(seeds, settle(draws) if draws else (), strict=True):
        assert drawn.nearest is not None
        storage.save_job(record.plan, drawn, seed)
        record.draws[str(seed)] = dataclasses.asdict(drawn.nearest)
    record.plan = dataclasses.replace(record.plan, repeats=(*record.plan.repeats, *new))
    storage.save_record(record)
    return True


@dataclass(frozen=True)
class Repeated:
    """A trial and its repeats that came to an end, by seed."""

    entry: Entry
    repeats: dict[int, Entry]

    @property
    def gains(self) -> dict[int, float]:
        """Over the nearest stock voice on the sentences of each draw, by seed."""
        return {seed: repeat.own_gain for seed, repeat in self.repeats.items() if repeat.own_gain is not None}

    @property
    def mean(self) -> float:
        return statistics.mean(self.gains.values())

    @property
    def error(self) -> float | None:
        """The standard error of `mean`; None for fewer than two."""
        return standard_error(list(self.gains.values()))

    @property
    def tests(self) -> list[float]:
        """The repeats' test scores, on the same sentences each."""
        return [repeat.test_score for repeat in self.repeats.values() if repeat.test_score is not None]

    def record(self) -> dict[str, Any]:
        """Its line of leaderboard.json."""
        tests = self.tests
        return {
            "trial": self.entry.trial,
            "repeats": [repeat.trial for repeat in self.repeats.values()],
            "seeds": list(self.repeats),
            "gains": list(self.gains.values()),
            "gain": self.mean,
            "gain_error": self.error,
            "test_score": statistics.mean(tests) if tests else None,
            "test_error": standard_error(tests),
        }


def standard_error(values: Sequence[float]) -> float | None:
    """Of the mean of independent values; None for fewer than two."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def rank(entries: Sequence[Entry], repeats: Sequence[Entry], asked: int) -> list[Repeated]:
    """Trials by the mean gain of their repeats, the best first.

    None while some of the `asked` repeats are still to run: trials are compared in pairs of the same seeds.
    """
    if len(repeats) < asked or any(repeat.status == "unfinished" for repeat in repeats):
        return []
    found = []
    for entry in entries:
        own = {r.draw: r for r in repeats if r.of == entry.trial and r.draw is not None and r.own_gain is not None}
        if own:
            found.append(Repeated(entry, dict(sorted(own.items()))))
    return sorted(found, key=lambda one: -one.mean)
