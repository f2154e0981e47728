"""Strategies against their peers: evaluations to target, BBOB, milliseconds, a model of our problem.

    python experiments/bench/strategies.py {evals,bbob,time,model,report} [--out DIR] [--only PATTERN] [--seeds N]

One core (set OMP_NUM_THREADS=1). Each run is a line of `DIR/NAME.jsonl`; a run that is there is not
repeated, so a bench may be interrupted and goes on where it was. `report` prints the tables and
draws `ecdf.png` and `model.png`. Peers: pip install cma cmaes evotorch coco-experiment.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from coconut.strategy import KINDS
from experiments.bench.model import model_cells, run_model
from experiments.bench.peers import Solver, problems, solvers
from experiments.bench.report import report

TARGETS = [10 ** (2 - k / 5) for k in range(51)]  # 1e2 ... 1e-8
SEEDS = 9
BBOB = (1, 2, 8, 10, 14)


def run(solver: Solver, f: Any, start: np.ndarray, sigma: float, popsize: int | None, seed: int,
        budget: int) -> dict[str, Any]:  # fmt: skip
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
                if len(hits) == len(TARGETS) or count >= budget:
                    break
        except (ValueError, AssertionError, RuntimeError, np.linalg.LinAlgError) as error:
            return {"hits": hits, "count": count, "error": f"{type(error).__name__}: {error}"[:200]}
    return {"hits": hits, "count": count, "seconds": round(time.process_time() - began, 2)}


@dataclass(frozen=True)
class Cell:
    """One kind on one function; `peers` None: all that `solvers` knows."""

    kind: str
    name: str
    dim: int
    budget: int
    popsize: int | None = None
    peers: tuple[str, ...] | None = None

    def solvers(self) -> dict[str, Callable[[], Solver]]:
        known = solvers(self.kind)
        return {peer: known[peer] for peer in known if not self.peers or peer in ("coconut", *self.peers)}


def cells() -> Iterator[Cell]:
    """Every kind on every function at D = 20, 64, 256, the cheapest first.

    The budget is where a run that has not reached the last target counts as "not solved". A population
    other than the default is that of Rastrigin: at the default one, no strategy finds its optimum.
    """
    separable = ("sepcmaes", "snes", "cem")
    easy, hard = ("sphere", "ellipsoid", "powers"), ("rosenbrock", "rotated")
    for kind, name in itertools.product(("cmaes", *separable), easy):
        yield Cell(kind, name, 20, 40_000)
    for kind, name in itertools.product(("sepcmaes", "snes"), easy):
        yield Cell(kind, name, 64, 128_000)
    for name in hard:
        yield Cell("cmaes", name, 20, 40_000)
    for name in (*easy, *hard):
        yield Cell("xnes", name, 20, 80_000)
    for kind, name in itertools.product(separable, hard):
        yield Cell(kind, name, 20, 200_000)
    for kind in ("cmaes", *separable):
        yield Cell(kind, "rastrigin", 20, 200_000, 800)
    for name in ("sphere", "powers"):
        yield Cell("cmaes", name, 64, 60_000)
    for name in easy:
        yield Cell("cem", name, 64, 200_000)
    for kind, name in itertools.product(("sepcmaes", "snes"), easy):
        yield Cell(kind, name, 256, 150_000)
    for kind in separable:
        yield Cell(kind, "rastrigin", 64, 1_500_000, 3000)


def long_cells() -> Iterator[Cell]:
    """Cells whose runs take from ten seconds to minutes each.

    Left out for their cost, estimated from milliseconds per generation and the growth of evaluations with
    D: cmaes at 256 on ellipsoid, rotated, Rosenbrock (2 million evaluations, 5 minutes a run for coconut and
    pycma, 25 for EvoTorch, hours for cmaes); xnes at 256 (1.3 million on the sphere: 8 minutes for coconut, 25
    and 45 for its peers) and on the ellipsoid and Rosenbrock at 64; Rastrigin at 256 (6 million, over 10
    minutes a run for the peers of cmaes). cem at 256 has no peer to compare with: none solves it at 20.
    """
    separable, hard = ("sepcmaes", "snes", "cem"), ("rosenbrock", "rotated")
    yield Cell("cmaes", "sphere", 256, 60_000, None, ("pycma", "evotorch"))
    for name in ("ellipsoid", *hard):
        yield Cell("cmaes", name, 64, 300_000)
    yield Cell("cmaes", "rastrigin", 64, 2_000_000, 3000)
    yield Cell("xnes", "rastrigin", 20, 3_000_000, 800)
    for name in ("powers", "sphere", "rotated"):
        yield Cell("xnes", name, 64, 500_000)
    yield Cell("cmaes", "powers", 256, 400_000, None, ("pycma",))
    for kind, name in itertools.product(separable, hard):
        yield Cell(kind, name, 64, 400_000)


class Log:
    """A file of JSON lines, each with its key."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        rows = map(json.loads, path.read_text().splitlines() if path.exists() else [])
        self.rows: dict[str, dict[str, Any]] = {json.dumps(row["key"]): row for row in rows}

    def has(self, key: list[Any]) -> bool:
        return json.dumps(key) in self.rows

    def add(self, key: list[Any], value: dict[str, Any]) -> None:
        row = {"key": key, **value}
        self.rows[json.dumps(key)] = row
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def hopeless(self, cell: list[Any]) -> bool:
        """Whether three runs of these [kind, solver, function, D] are there and none met the last target."""
        hits = [len(row["hits"]) for row in self.rows.values() if row["key"][:4] == cell]
        return len(hits) >= 3 and max(hits) < len(TARGETS)


def rounds(
    log: Log, plan: list[Cell], args: argparse.Namespace
) -> Iterator[tuple[Cell, str, Callable[[], Solver], int]]:
    """(cell, solver's name, solver, seed) yet to run: three seeds of each cell, then the others.

    Within a cell the solvers take turns; who fails three times out of three is not tried again.
    """
    for seeds, cell in itertools.product((range(3), range(3, args.seeds)), plan):
        for seed, (peer, make) in itertools.product(seeds, cell.solvers().items()):
            wanted = re.search(args.only, f"{cell.kind}/{peer}/{cell.name}/{cell.dim}")
            group = [cell.kind, peer, cell.name, cell.dim]
            if wanted and not log.has([*group, seed]) and (seed < 3 or not log.hopeless(group)):
                yield cell, peer, make, seed


def bench_evals(args: argparse.Namespace) -> None:
    """The cells of a few seconds a run first, all nine seeds of them."""
    log = Log(args.out / "evals.jsonl")
    for cell, peer, make, seed in (step for plan in (cells(), long_cells()) for step in rounds(log, list(plan), args)):
        problem = problems(cell.dim)[cell.name]
        start = np.full(cell.dim, problem.start)
        row = run(make(), problem.f, start, problem.sigma, cell.popsize, seed, cell.budget)
        log.add([cell.kind, peer, cell.name, cell.dim, seed], row)
        print("evals", cell.kind, peer, cell.name, cell.dim, seed, row["count"], flush=True)


def bench_bbob(args: argparse.Namespace) -> None:
    import cocoex

    log = Log(args.out / "bbob.jsonl")
    plan = [Cell("cmaes", f"f{k}", 20, 60_000) for k in BBOB]
    plan += [Cell(kind, f"f{k}", 20, 60_000) for kind, k in itertools.product(("sepcmaes", "snes"), (1, 2))]
    plan += [Cell("xnes", f"f{k}", 20, 100_000) for k in BBOB]
    plan += [Cell("sepcmaes", f"f{k}", 20, 60_000) for k in (8, 10, 14)]
    for cell, peer, make, seed in rounds(log, plan, args):
        number, instance = int(cell.name[1:]), seed + 1
        # by number: `instance_indices` would count within the suite's own list, 1-5 and then 71-80
        suite = cocoex.Suite("bbob", f"instances: {instance}", f"dimensions: 20 function_indices: {number}")
        task = suite[0]
        assert task.id_instance == instance
        optimum = _optimum(cocoex, number, instance)

        def f(x: np.ndarray, task: Any = task, optimum: float = optimum) -> np.ndarray:
            return np.array([task(row) for row in np.asarray(x, dtype=float)]) - optimum

        row = run(make(), f, np.zeros(20), 2.0, None, instance, cell.budget)
        log.add([cell.kind, peer, cell.name, 20, seed], row)
        print("bbob", cell.kind, peer, cell.name, instance, row["count"], flush=True)


def _optimum(cocoex: Any, number: int, instance: int) -> float:
    """f at the optimum, from a second copy of the function, whose counter does not matter."""
    function = cocoex.BareProblem("bbob", number, 20, instance)
    return float(function.best_value())


def bench_time(args: argparse.Namespace) -> None:
    """ask + tell at D = 310, interleaved round by round; float32 where there is a choice."""
    log = Log(args.out / "time.jsonl")
    for kind, popsize in itertools.product(KINDS, (24, 128)):
        key = [kind, popsize]
        if log.has(key) or not re.search(args.only, f"{kind}/{popsize}"):
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


def bench_model(args: argparse.Namespace) -> None:
    log = Log(args.out / "model.jsonl")
    for cell in model_cells():
        key = list(cell)
        if re.search(args.only, "/".join(map(str, key))) and not log.has(key):
            log.add(key, run_model(*cell))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", choices=["evals", "bbob", "time", "model", "report"])
    parser.add_argument("--out", type=Path, default=Path("runs/bench_strategies"))
    parser.add_argument("--only", default="", help="only cells with this pattern in their kind/solver/function/D")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of a cell and solver (evals, bbob)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.bench == "report":
        report(args.out, TARGETS)
    else:
        {"evals": bench_evals, "bbob": bench_bbob, "time": bench_time, "model": bench_model}[args.bench](args)


if __name__ == "__main__":
    main()
