"""Test functions, and one way to drive coconut's strategies and their peers alike.

A solver is a generator: it evaluates a generation of float64 candidates `[P, D]` with the given
function and yields their losses `[P]`. Peers are development dependencies (extra `dev`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from coconut.strategy import build

Function = Callable[[np.ndarray], np.ndarray]
Solver = Callable[[Function, np.ndarray, float, int | None, int], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Problem:
    """A function with its usual start: `f(x [P, D]) -> [P]`, minimum 0."""

    f: Function
    start: float
    sigma: float


def rotation(dim: int) -> np.ndarray:
    """One fixed random rotation per dimension."""
    q, r = np.linalg.qr(np.random.default_rng(dim).standard_normal((dim, dim)))
    return np.asarray(q * np.sign(np.diag(r)))


def problems(dim: int) -> dict[str, Problem]:
    """The six functions of `dim` dimensions (Hansen & Ostermeier 2001; Hansen & Kern 2004)."""
    i = np.arange(dim) / (dim - 1)
    axes, turn = 10 ** (6 * i), rotation(dim)

    def rosenbrock(x: np.ndarray) -> np.ndarray:
        return np.asarray((100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(1))

    def rastrigin(x: np.ndarray) -> np.ndarray:
        return np.asarray((x**2 + 10 * (1 - np.cos(2 * np.pi * x))).sum(1))

    return {
        "sphere": Problem(lambda x: (x**2).sum(1), 1.0, 0.5),
        "ellipsoid": Problem(lambda x: x**2 @ axes, 1.0, 0.5),
        "rotated": Problem(lambda x: (x @ turn) ** 2 @ axes, 1.0, 0.5),
        "rosenbrock": Problem(rosenbrock, 0.0, 0.1),
        "powers": Problem(lambda x: (np.abs(x) ** (2 + 10 * i)).sum(1), 1.0, 0.5),
        "rastrigin": Problem(rastrigin, 3.0, 2.0),
    }


def coconut(kind: str, **options: Any) -> Solver:
    def run(f: Function, start: np.ndarray, sigma: float, popsize: int | None, seed: int) -> Iterator[np.ndarray]:
        mean = torch.tensor(start, dtype=torch.float64)
        s = build(kind, mean=mean, sigma=sigma, popsize=popsize, seed=seed, **options)
        while True:
            x = s.ask()
            losses = f(x.numpy())
            s.tell(x, torch.from_numpy(losses))
            yield losses

    return run


def pycma(**options: Any) -> Solver:
    import cma

    def run(f: Function, start: np.ndarray, sigma: float, popsize: int | None, seed: int) -> Iterator[np.ndarray]:
        given = {"seed": seed + 1, "verbose": -9, **options, **({"popsize": popsize} if popsize else {})}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            s = cma.CMAEvolutionStrategy(start, sigma, given)
            while True:
                x = s.ask()
                losses = f(np.asarray(x))
                s.tell(x, list(losses))
                yield losses

    return run


def cmaes(name: str) -> Solver:
    import cmaes as library

    def run(f: Function, start: np.ndarray, sigma: float, popsize: int | None, seed: int) -> Iterator[np.ndarray]:
        s = getattr(library, name)(mean=start.copy(), sigma=sigma, seed=seed, population_size=popsize)
        while True:
            x = [s.ask() for _ in range(s.population_size)]
            losses = f(np.asarray(x))
            s.tell(list(zip(x, losses, strict=True)))
            yield losses

    return run


def evotorch(name: str, dtype: torch.dtype = torch.float64, **options: Any) -> Solver:
    import evotorch.algorithms
    from evotorch import Problem as Task
    from evotorch.tools import set_default_logger_config

    set_default_logger_config(logger_level=40, override=True)

    def run(f: Function, start: np.ndarray, sigma: float, popsize: int | None, seed: int) -> Iterator[np.ndarray]:
        told: list[np.ndarray] = []

        def objective(x: torch.Tensor) -> torch.Tensor:
            told.append(f(x.numpy()))
            return torch.from_numpy(told[-1]).to(x.dtype)

        low = torch.tensor(start - sigma, dtype=dtype)
        task = Task(
            "min",
            objective,
            solution_length=len(start),
            initial_bounds=(low, low + 2 * sigma),
            dtype=dtype,
            vectorized=True,
            seed=seed,
        )
        given: dict[str, Any] = {"popsize": popsize or 4 + int(3 * np.log(len(start))), **options}
        if name == "Cosyne":
            given |= {"tournament_size": 4, "mutation_stdev": 0.3 * sigma}
        else:
            given |= {"stdev_init": sigma, "center_init": torch.tensor(start, dtype=dtype)}
        s = getattr(evotorch.algorithms, name)(task, **given)
        while True:
            before = len(told)
            s.step()
            yield np.concatenate(told[before:])

    return run


def solvers(kind: str, dtype: torch.dtype = torch.float64) -> dict[str, Callable[[], Solver]]:
    """Ours first, then the peers of the same algorithm; `dtype` is for those that have a choice."""
    table: dict[str, dict[str, Callable[[], Solver]]] = {
        "cmaes": {
            "pycma": lambda: pycma(),
            "cmaes": lambda: cmaes("CMA"),
            "evotorch": lambda: evotorch("CMAES", dtype),
        },
        "sepcmaes": {
            "pycma": lambda: pycma(CMA_diagonal=True),
            "cmaes": lambda: cmaes("SepCMA"),
            "evotorch": lambda: evotorch("CMAES", dtype, separable=True),
        },
        "snes": {"evotorch": lambda: evotorch("SNES", dtype)},
        "xnes": {"cmaes": lambda: cmaes("XNES"), "evotorch": lambda: evotorch("XNES", dtype)},
        "cem": {"evotorch": lambda: evotorch("CEM", dtype, parenthood_ratio=0.25)},
        "cosyne": {"evotorch": lambda: evotorch("Cosyne", dtype)},
        "walk": {},
    }
    return {"coconut": lambda: coconut(kind), **table[kind]}
