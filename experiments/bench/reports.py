"""What the process that drives a sweep spends on its trials' reports: CPU seconds over scored generations.

    python -m experiments.bench.reports --trials 20 --generations 100

Ray, Tune, Optuna and MLflow's sqlite store are the real ones; each trial repeats what one fit of a model problem
(tests/toys.py) came to, so that generations cost next to nothing. CPU seconds are those of the driver's process, its
MLflow thread included, not of Ray's own processes nor of the trials.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from coconut.config import FitConfig, from_dict
from coconut.fit import Step
from coconut.sweep import DEFAULT_SPACE, ray, storage
from coconut.sweep.plan import Plan
from coconut.sweep.runs import Runs
from coconut.sweep.search import Search
from coconut.sweep.tracking import Tracker, _Store

toys: Any = importlib.import_module("tests.toys")  # which has no types


@lru_cache(1)
def recorded(config: FitConfig) -> list[Step]:
    """The steps of one fit, once per process."""
    return list(toys.Fitting(toys.job(), config).steps())


class Stub(toys.Fitting):
    """A fit that is over as soon as it begins."""

    def steps(self, state: Any = None) -> Iterator[Step]:
        yield from recorded(from_dict({"generations": self.config.generations, "stop.patience": 0}, toys.job().config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--generations", type=int, default=100)
    parser.add_argument("--concurrent", type=int, default=2)
    parser.add_argument("--no-mlflow", action="store_true", help="keep the journal, and send nothing of it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), args)


def measure(folder: Path, args: argparse.Namespace) -> None:
    """Run the sweep in `folder` and print what its driver spent."""
    plan = Plan("toys", str(folder), DEFAULT_SPACE, {}, args.trials, args.concurrent, scheduler="none")
    made = toys.job(**{"generations": args.generations, "stop.patience": 0})
    storage.save_job(plan, made)
    search = Search(plan.space, plan.configure(made), {"es.kind": "snes", "es.popsize": 4, "loss.prior": 0.0})
    with ray.Session(plan, None) as session:
        session.wait()
        if args.no_mlflow:
            _Store.send = lambda *_: None  # type: ignore[method-assign]
        tracker = warm(folder)
        began, spent = time.monotonic(), time.process_time()
        outcomes, how = ray.run(plan, search, wire=Stub, watchers=[Runs(plan, made, tracker, "toys", {})])
        until, trials = time.monotonic(), time.process_time()
        unsent = tracker.close(600)
        spent, after = trials - spent, time.process_time() - trials
    rows = sum("score" in row for outcome in outcomes for row in outcome.rows)
    if failed := [outcome.error for outcome in outcomes if outcome.error]:
        raise SystemExit(f"{len(failed)} of {len(outcomes)} trials failed: {failed[0]}")
    print(f"{how}: {len(outcomes)} trials, {rows} scored generations, {until - began:.0f} s of wall")
    print(f"driver: {spent:.2f} s of CPU while they ran, {1000 * spent / rows:.2f} ms a scored generation")
    print(f"MLflow's rest: {after:.2f} s, so {1000 * (spent + after) / rows:.2f} ms in all; {unsent or 'all sent'}")
    print(f"largest resident size: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def warm(folder: Path) -> Tracker:
    """A tracker whose store is there: to import MLflow and to make its tables takes seconds, once."""
    tracker = Tracker(f"sqlite:///{folder}/mlflow.db", folder / "journal", folder / "artifacts")
    tracker.begin("warm", "warm", {})
    while tracker._events:
        time.sleep(0.1)
    return tracker


if __name__ == "__main__":  # the processes of trials know this file by its name
    importlib.import_module("experiments.bench.reports").main()
