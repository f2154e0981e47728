"""Strategies against their peers: evaluations to target, BBOB, milliseconds, a model of our problem.

    python experiments/bench_strategies.py {evals,bbob,time,model,report} [--out DIR] [--only WORD]

One core (set OMP_NUM_THREADS=1). Each run is a line of `DIR/NAME.jsonl`; a run that is there is not
repeated, so a bench may be interrupted and goes on where it was. `report` prints the tables and
draws `ecdf.png` and `model.png`. Peers: pip install cma cmaes evotorch coco-experiment.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_model import model_cells, run_model
from bench_peers import Solver, problems, solvers
from bench_report import report

from coconut.strategy import KINDS

TARGETS = [10 ** (2 - k / 5) for k in range(51)]  # 1e2 ... 1e-8
SEEDS = 9
BBOB = (1, 2, 8, 10, 14)


def run(solver: Solver, f: Any, start: np.ndarray, sigma: float, popsize: int | None, seed: int, budget: int,
        seconds: float) -> dict[str, Any]:  # fmt: skip
    """Evaluations (whole generations) until each target, until the last one or the budget is met."""
    hits: list[int] = []
    count, began = 0, time.process_time()
    with np.errstate(all="ignore"):
        try:
            for losses in solver(f, start, sigma, popsize, seed):
                count += len(losses)
                best = np.nanmin(losses)
                while len(hits) < len(TARGETS) and best <= TARGETS[len(hits)]:
                    hits.append(count)
                if len(hits) == len(TARGETS) or count >= budget or time.process_time() - began > seconds:
                    break
        except (ValueError, AssertionError, RuntimeError, np.linalg.LinAlgError) as error:
            return {"hits": hits, "count": count, "error": f"{type(error).__name__}: {error}"[:200]}
    return {"hits": hits, "count": count, "seconds": round(time.process_time() - began, 2)}


def cells() -> Iterator[tuple[str, str, int, int | None, int, list[str] | None]]:
    """(kind, function, D, popsize, budget, which solvers), the cheapest first.

    Left out for their cost (a peer needs over 10 minutes a cell): full covariances on ill-conditioned
    functions at D = 256, xnes above D = 20, and the slower peers of some cells at D = 64 and 256.
    """
    easy, all_five = ("sphere", "ellipsoid", "powers"), ("sphere", "ellipsoid", "rotated", "rosenbrock", "powers")
    for name in all_five:
        yield "cmaes", name, 20, None, 40_000, None
    for kind, dim in itertools.product(("snes", "sepcmaes"), (20, 64)):
        for name in easy:
            yield kind, name, dim, None, 2000 * dim, None
    for name in easy:
        yield "cem", name, 20, None, 20_000, None
    yield "xnes", "rotated", 20, None, 60_000, None
    yield "xnes", "sphere", 20, None, 60_000, None
    yield "cmaes", "sphere", 64, None, 20_000, None
    for kind, name in itertools.product(("snes", "sepcmaes"), easy):
        yield kind, name, 256, None, 150_000, ["coconut", "pycma", "evotorch"]
    for kind in ("cmaes", "sepcmaes", "snes"):
        yield kind, "rastrigin", 20, 800, 200_000, ["coconut", "pycma", "evotorch"]
    yield "cmaes", "powers", 64, None, 250_000, ["coconut", "pycma"]
    yield "cmaes", "sphere", 256, None, 60_000, ["coconut", "pycma"]
    for name in ("powers", "ellipsoid", "rosenbrock"):
        yield "xnes", name, 20, None, 60_000, ["coconut", "cmaes"]
    yield "sepcmaes", "rosenbrock", 20, None, 150_000, ["coconut", "pycma"]
    yield "cmaes", "rotated", 64, None, 250_000, ["coconut", "pycma"]
    yield "cmaes", "rosenbrock", 64, None, 250_000, ["coconut", "pycma"]


class Log:
    """A file of JSON lines, each with its key."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.keys = {json.dumps(json.loads(line)["key"]) for line in lines}

    def has(self, key: list[Any]) -> bool:
        return json.dumps(key) in self.keys

    def add(self, key: list[Any], value: dict[str, Any]) -> None:
        self.keys.add(json.dumps(key))
        with self.path.open("a") as file:
            file.write(json.dumps({"key": key, **value}) + "\n")


def bench_evals(out: Path, only: str) -> None:
    log = Log(out / "evals.jsonl")
    for kind, name, dim, popsize, budget, chosen in cells():
        for peer, make in solvers(kind).items():
            if (chosen and peer not in chosen) or only not in f"{kind}/{peer}/{name}/{dim}":
                continue
            problem = problems(dim)[name]
            start = np.full(dim, problem.start)
            for seed in range(SEEDS):
                key = [kind, peer, name, dim, seed]
                if not log.has(key):
                    log.add(key, run(make(), problem.f, start, problem.sigma, popsize, seed, budget, 90.0))
            print(f"evals {kind:9s}{peer:9s}{name:11s}{dim:4d}", flush=True)


def bench_bbob(out: Path, only: str) -> None:
    import cocoex

    log = Log(out / "bbob.jsonl")
    plan = [("cmaes", number, 60_000) for number in BBOB]
    plan += [(kind, number, 60_000) for kind in ("sepcmaes", "snes") for number in (1, 2)]
    plan += [("xnes", 10, 60_000)]
    for kind, number, budget in plan:
        for peer, make in solvers(kind).items():
            if only not in f"{kind}/{peer}/f{number}" or peer == "evotorch":  # row by row it takes minutes
                continue
            for instance in range(1, SEEDS + 1):
                key = [kind, peer, f"f{number}", 20, instance]
                if log.has(key):
                    continue
                suite = cocoex.Suite("bbob", "", f"dimensions:20 function_indices:{number} instance_indices:{instance}")
                task = suite[0]
                optimum = _optimum(cocoex, number, instance)

                def f(x: np.ndarray, task: Any = task, optimum: float = optimum) -> np.ndarray:
                    return np.array([task(row) for row in np.asarray(x, dtype=float)]) - optimum

                log.add(key, run(make(), f, np.zeros(20), 2.0, None, instance, budget, 90.0))
            print(f"bbob {kind} {peer} f{number}", flush=True)


def _optimum(cocoex: Any, number: int, instance: int) -> float:
    """f at the optimum, from a second copy of the function, whose counter does not matter."""
    function = cocoex.BareProblem("bbob", number, 20, instance)
    return float(function.best_value())


def bench_time(out: Path, only: str) -> None:
    """ask + tell at D = 310, interleaved round by round; float32 where there is a choice."""
    log = Log(out / "time.jsonl")
    for kind, popsize in itertools.product(KINDS, (24, 128)):
        key = [kind, popsize]
        if log.has(key) or only not in f"{kind}/{popsize}":
            continue
        steps = {}
        for peer, make in solvers(kind, torch.float32).items():
            draw = np.random.default_rng(1)
            run = make()(lambda x, d=draw: d.random(len(x)), np.zeros(310), 0.3, popsize, 0)  # type: ignore[misc]
            steps[peer] = run.__next__
        times = _interleaved(steps, 3 if kind in ("cmaes", "xnes") else 40)
        log.add(key, {"ms": times})
        print("time", key, {peer: statistics.median(values) for peer, values in times.items()}, flush=True)


def _interleaved(steps: dict[str, Any], rounds: int, burst: int = 5) -> dict[str, list[float]]:
    """Milliseconds of each step; every solver in turn takes a few generations, over and over."""
    times: dict[str, list[float]] = {peer: [] for peer in steps}
    for turn in range(rounds + 1):
        for (peer, step), _ in itertools.product(steps.items(), range(burst)):
            began = time.perf_counter()
            step()
            if turn:
                times[peer].append(round((time.perf_counter() - began) * 1e3, 4))
    return times


def bench_model(out: Path, only: str) -> None:
    log = Log(out / "model.jsonl")
    for cell in model_cells():
        key = list(cell)
        if only in "/".join(map(str, key)) and not log.has(key):
            log.add(key, run_model(*cell))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", choices=["evals", "bbob", "time", "model", "report"])
    parser.add_argument("--out", type=Path, default=Path("runs/bench_strategies"))
    parser.add_argument("--only", default="", help="run only cells whose name holds this")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.bench == "report":
        report(args.out, TARGETS)
    else:
        {"evals": bench_evals, "bbob": bench_bbob, "time": bench_time, "model": bench_model}[args.bench](
            args.out, args.only
        )


if __name__ == "__main__":
    main()
