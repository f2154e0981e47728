"""The outer search, by ask and tell: Optuna's TPE over a define-by-run space, and what mattered in it. No Ray."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from coconut.config import FitConfig
from coconut.sweep import space as spaces
from coconut.sweep.plan import METRIC, Row

log = logging.getLogger(__name__)


class Search:
    """Suggestions by trial key: the presets first, then what TPE makes of the scores so far.

    `space` names the function that is asked (space.py), `base` holds for all trials, `fixed` was typed.
    The seed's preset lies outside the space (raw units, another window), so that Optuna is not told of
    it; coconut's own lies inside and informs the search. A result that comes twice, or for a trial that
    was never suggested, as after a restored driver, is dropped with a log line.
    """

    def __init__(
        self, space: str, base: FitConfig, fixed: Mapping[str, Any], seed: int = 0, startup: int = 10,
        presets: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        self.space, self.base, self.fixed = space, base, dict(fixed)
        self.presets = dict(spaces.presets(base, fixed) if presets is None else presets)
        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=startup)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.numbers: dict[str, int] = {}
        self.asked: dict[str, optuna.Trial] = {}

    def suggest(self, key: str) -> dict[str, Any]:
        """Settings by dotted name, with the trial's `number` and the name of its `preset`, "" for none."""
        number = self.numbers.setdefault(key, len(self.numbers))
        preset = list(self.presets)[number] if number < len(self.presets) else ""
        if preset == spaces.SEED:
            return {**self.presets[preset], "number": number, "preset": preset}
        if preset:
            self.study.enqueue_trial(self.presets[preset])
        trial = self.asked[key] = self.study.ask()
        settings = spaces.load(self.space)(trial, self.base, self.fixed)
        return {**trial.params, **settings, "number": number, "preset": preset}

    def report(self, key: str, row: Row) -> None:
        """The best score so far, at the syntheses spent."""
        if key in self.asked:
            self._guarded(key, lambda trial: trial.report(row[METRIC], int(row["syntheses"])))

    def complete(self, key: str, row: Row | None, pruned: bool = False) -> None:
        """The end of a trial: its last row, None where no voice came of it. `pruned`: stopped from outside."""

        def tell(trial: optuna.Trial) -> None:
            if row is None:
                self.study.tell(trial, state=TrialState.FAIL)
            elif pruned:
                self.study.tell(trial, state=TrialState.PRUNED)
            else:
                self.study.tell(trial, row[METRIC])

        self._guarded(key, tell)

    def _guarded(self, key: str, method: Any) -> None:
        try:
            method(self.asked[key])
        except (KeyError, ValueError, RuntimeError, optuna.exceptions.OptunaError) as problem:
            log.info("search: a result of %s is dropped: %r", key, problem)

    def dump(self) -> bytes:
        """What `restore` goes on from, random state included."""
        return pickle.dumps((self.study, self.numbers, self.asked))

    def restore(self, dumped: bytes) -> None:
        self.study, self.numbers, self.asked = pickle.loads(dumped)


def importances(settings: Sequence[Mapping[str, Any]], scores: Sequence[float]) -> dict[str, float]:
    """Share of the variance of trials' scores that each setting explains (fANOVA, Hutter et al., 2014), largest first.

    `settings` have the same names in every trial, and more than one value each; shares sum to 1. The forest behind
    it is seeded: equal trials give equal shares.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: _distribution([one[name] for one in settings]) for name in settings[0]}
    study = optuna.create_study(direction="maximize")
    for one, score in zip(settings, scores, strict=True):
        study.add_trial(optuna.create_trial(params=dict(one), distributions=distributions, value=score))
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return CategoricalDistribution(list(dict.fromkeys(values)))
    return FloatDistribution(min(numbers), max(numbers))
