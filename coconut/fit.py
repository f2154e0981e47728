"""One fit: ask, synthesise, compare, tell, score; a generator that knows no platform.

    for step in fit(config, objective, score, windows):
        ...

Cancelling is ceasing to iterate. Every Step carries what a caller may want to log, and
`step.state()` resumes the fit bit for bit in a new process.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

import torch
from torch import Tensor

from coconut import strategy
from coconut.config import JOINT, FitConfig, InputError
from coconut.data import Utterance
from coconut.objective import COST, Losses
from coconut.score import Metrics
from coconut.stop import StopReason, should_stop
from coconut.style import StyleSpace


class ObjectiveLike(Protocol):
    """What a fit needs of an objective: the losses of a population on some utterances, and their gradient.

    `share`: of a synthesis, what it costs to hear one candidate on one utterance.
    """

    space: StyleSpace
    share: float
    syntheses: float
    audio_seconds: float

    def __call__(self, population: Tensor, utterances: Sequence[Utterance], generation: int = 0) -> Losses: ...

    def gradient(
        self, population: Tensor, utterances: Sequence[Utterance], generation: int = 0
    ) -> tuple[Losses, Tensor]: ...


class ScoreLike(Protocol):
    """What a fit needs of a score: how good one genome is, on held-out utterances. `cost`: syntheses of a call."""

    cost: int
    syntheses: int
    audio_seconds: float

    def __call__(self, genome: Tensor) -> Metrics: ...


class WindowsLike(Protocol):
    """The utterances of a generation, a pure function of its number."""

    def __getitem__(self, generation: int) -> list[Utterance]: ...


@dataclass(frozen=True)
class Best:
    """The distribution's mean where the held-out score peaked: the voice of the fit."""

    generation: int
    score: float
    genome: Tensor
    parts: dict[str, float]


@dataclass(frozen=True)
class Step:
    """One generation. Generation 0 is the start, scored before anything was asked.

    `stage` counts from 1 in a fit that has stages (`coconut.stage`), and is 0 in any other.
    """

    generation: int
    losses: Losses | None
    metrics: Metrics | None
    best: Best
    mean: Tensor
    sigma: float
    stop: StopReason | None
    ledger: dict[str, float]
    _state: dict[str, Any] = field(repr=False)
    stage: int = 0

    def state(self) -> dict[str, Any]:
        """All that resumes the fit after this step; survives torch.save and weights_only=True."""
        return self._state

    def row(self) -> dict[str, float]:
        """Finite numbers by name, for a log line, MLflow or Tune."""
        row = {"generation": float(self.generation), "sigma": self.sigma, **self.ledger}
        row |= {"best_score": self.best.score, "best_generation": float(self.best.generation)}
        if self.stage:
            row["stage"] = float(self.stage)
        if self.metrics:
            row |= {"score": self.metrics.score, **{f"score.{k}": v for k, v in self.metrics.parts.items()}}
        if self.losses:
            row |= _summary("loss", self.losses.total)
            for name, values in self.losses.terms.items():
                row |= _summary(f"loss.{name}", values)
            row["bad_candidates"] = float((~torch.isfinite(self.losses.total)).sum())
        return {name: value for name, value in row.items() if math.isfinite(value)}


def fit(
    config: FitConfig,
    objective: ObjectiveLike,
    score: ScoreLike,
    windows: WindowsLike,
    state: dict[str, Any] | None = None,
) -> Iterator[Step]:
    """Search the voice that `objective` likes and return to where `score` was best.

    `state` is what an earlier `step.state()` gave; the steps that follow equal those of the
    uninterrupted fit bit for bit. The fit ends before it would exceed `config.budget` syntheses.
    Raises InputError when the state belongs to another search, or the budget allows no generation.
    """
    run = _Run(config, objective, score, len(windows[0]))
    if state is None:
        yield run.start()
    else:
        run.restore(state)
    while not run.ended:
        utterances = windows[run.generation]
        population = run.strategy.ask()
        if run.strategy.needs_gradient:
            losses, gradient = objective.gradient(population, utterances, run.generation)
        else:
            losses, gradient = objective(population, utterances, run.generation), None
        run.strategy.tell(population, losses.total, gradient)
        yield run.step(losses)


def progress(row: Mapping[str, float], config: FitConfig) -> float:
    """How much of its allowance a fit has used, 0 to 1: of its syntheses, or of its generations if that is more."""
    shares = [row["syntheses"] / config.budget] if config.budget else []
    shares += [row["generation"] / config.generations] if config.generations else []
    return min(1.0, max(shares, default=0.0))


def searcher(config: FitConfig, mean: Tensor) -> strategy.Strategy:
    """The strategy that `config` names, begun at the genome `mean` [D]."""
    return strategy.build(mean=mean, seed=config.seed, **vars(config.es) | {"popsize": config.es.candidates})


def cost(config: FitConfig, objective: ObjectiveLike, utterances: int) -> float:
    """Syntheses of a generation that hears so many utterances, without its scoring."""
    each = COST if strategy.KINDS[config.es.kind].needs_gradient else 1
    return config.es.candidates * utterances * each * objective.share


class _Run:
    """What changes while a fit runs."""

    def __init__(self, config: FitConfig, objective: ObjectiveLike, score: ScoreLike, window: int) -> None:
        self.config, self.score, self.space = config, score, objective.space
        self.strategy = searcher(config, self.space.init())
        self.generation = 0
        self.history: list[float] = []
        self.best: Best | None = None
        self.stop: StopReason | None = None
        self.ledger = _Ledger(objective, score)
        self.cost = cost(config, objective, window)
        self._check_budget()

    @property
    def ended(self) -> bool:
        return self.stop is not None

    def start(self) -> Step:
        metrics = self._judge()
        return self._snapshot(None, metrics)

    def step(self, losses: Losses) -> Step:
        self.generation += 1
        limit = self._limit(self.score.cost)
        metrics = self._judge() if limit or self.generation % self.config.stop.every == 0 else None
        if metrics:
            self.stop = should_stop(self.history, self.config.stop) or limit
        return self._snapshot(losses, metrics)

    def _limit(self, pending: int = 0) -> StopReason | None:
        """What forbids another generation, with its scoring, once `pending` syntheses are done."""
        budget, generations = self.config.budget, self.config.generations
        if generations is not None and self.generation >= generations:
            return StopReason.GENERATIONS
        spent = self.ledger.now()["syntheses"] + pending
        if budget is not None and spent + self.cost + self.score.cost > budget:
            return StopReason.BUDGET
        return None

    def _check_budget(self) -> None:
        need = self.cost + 2 * self.score.cost
        if self.config.budget is not None and self.config.budget < need:
            raise InputError(
                f"budget is {self.config.budget}, and a fit of one generation takes {need:g} syntheses ({self.cost:g} "
                f"candidates x utterances, {self.score.cost} to score before and after it); raise the budget."
            )

    def _judge(self) -> Metrics:
        genome = self._mean()
        metrics = self.score(genome)
        self.history.append(metrics.score)
        if self.best is None or metrics.score > self.best.score:
            self.best = Best(self.generation, metrics.score, genome, dict(metrics.parts))
        return metrics

    def _mean(self) -> Tensor:
        """The genome [D] that the search has come to."""
        return self.space.settle(self.strategy.mean.detach().clone())

    def _snapshot(self, losses: Losses | None, metrics: Metrics | None) -> Step:
        assert self.best is not None
        ledger = self.ledger.now()
        state = {
            "space": {"kind": self.config.space.kind, "dim": len(self.best.genome)},
            "es": self.config.es.kind,
            "schedule": self.config.schedule,
            "generation": self.generation,
            "history": list(self.history),
            "best": {**vars(self.best), "parts": dict(self.best.parts)},
            "stop": self.stop.value if self.stop else None,
            "strategy": self.strategy.state_dict(),
            "ledger": ledger,
        }
        mean, sigma = self._mean(), float(self.strategy.sigma)
        return Step(self.generation, losses, metrics, self.best, mean, sigma, self.stop, ledger, copy.deepcopy(state))

    def restore(self, state: dict[str, Any]) -> None:
        space = {"kind": self.config.space.kind, "dim": len(self.strategy.mean)}
        schedule = state.get("schedule", JOINT)
        if (state["es"], state["space"], schedule) != (self.config.es.kind, space, self.config.schedule):
            raise InputError(
                f"The saved fit searched {state['space']} by {state['es']}, {schedule}; "
                "resume it with the settings it began with."
            )
        self.strategy.load_state_dict(copy.deepcopy(state["strategy"]))
        self.generation, self.history = state["generation"], list(state["history"])
        best = state["best"]
        self.best = Best(best["generation"], best["score"], best["genome"], dict(best["parts"]))
        self.stop = StopReason(state["stop"]) if state["stop"] else None
        self.ledger.before = dict(state["ledger"])
        if self.stop in (StopReason.GENERATIONS, StopReason.BUDGET) and not self._limit():
            self.stop = None


class _Ledger:
    """Syntheses, seconds of audio and wall seconds spent, over all processes of a fit."""

    def __init__(self, *spenders: ObjectiveLike | ScoreLike) -> None:
        self.spenders = spenders
        self.before = {"syntheses": 0.0, "audio_seconds": 0.0, "seconds": 0.0}
        self.zero = self._spent()

    def _spent(self) -> dict[str, float]:
        return {
            "syntheses": float(sum(s.syntheses for s in self.spenders)),
            "audio_seconds": float(sum(s.audio_seconds for s in self.spenders)),
            "seconds": perf_counter(),
        }

    def now(self) -> dict[str, float]:
        spent = self._spent()  # rounded: a sum of floats depends on where it began, and a resumed one begins anew
        return {name: round(self.before[name] + spent[name] - self.zero[name], 6) for name in spent}


def _summary(name: str, values: Tensor) -> dict[str, float]:
    """Mean over the finite candidates, and their best."""
    finite = values[torch.isfinite(values)]
    return {name: float(finite.mean()), f"{name}.best": float(finite.min())} if finite.numel() else {}
