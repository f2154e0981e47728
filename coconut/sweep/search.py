"""The outer search, by ask and tell: Optuna's TPE over a define-by-run space, and what mattered in it. No Ray."""

from __future__ import annotations

import logging
import pickle
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from coconut.config import FitConfig
from coconut.files import replacing
from coconut.sweep import space as spaces
from coconut.sweep.plan import DRAW, METRIC, Repeat, Row, trial_name

log = logging.getLogger(__name__)


class Search:
    """Suggestions by trial key: the presets first, then what TPE makes of the scores so far, and `repeats` in their
    turn.

    `space` names the function that is asked (space.py), `base` holds for all trials, `fixed` was typed.
    The seed's preset lies outside the space (raw units, another window), so that Optuna is not told of
    it; coconut's own lies inside and informs the search. Nor is it told of repeats, whose scores are of other
    sentences. A result that comes twice, or for a trial that was never suggested, as after a restored driver, is
    dropped with a log line.
    """

    def __init__(
        self, space: str, base: FitConfig, fixed: Mapping[str, Any], seed: int = 0, startup: int = 10,
        presets: Mapping[str, dict[str, Any]] | None = None, repeats: Sequence[Repeat] = (),
    ) -> None:  # fmt: skip
        self.space, self.base, self.fixed = space, base, dict(fixed)
        self.presets = dict(spaces.presets(base, fixed) if presets is None else presets)
        self.repeats = {repeat.number: repeat for repeat in repeats}
        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=startup)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.numbers: dict[str, int] = {}
        self.asked: dict[str, optuna.Trial] = {}

    def suggest(self, key: str) -> dict[str, Any]:
        """Settings by dotted name, with the trial's `number` and the name of its `preset`, "" for none."""
        number = self.numbers.setdefault(key, len(self.numbers))
        if number in self.repeats:
            again = self.repeats[number]
            word = f"repeat of {again.of:03d}, seed {again.seed}"
            return {**again.settings, "seed": again.seed, "number": number, "preset": word, DRAW: again.seed}
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
                trial.report(row[METRIC], int(row["syntheses"]))  # Optuna ranks a pruned trial by its last report
                self.study.tell(trial, state=TrialState.PRUNED)
            else:
                self.study.tell(trial, row[METRIC])

        self._guarded(key, tell)

    def _guarded(self, key: str, method: Any) -> None:
        try:
            method(self.asked[key])
        except (KeyError, ValueError, RuntimeError, optuna.exceptions.OptunaError) as problem:
            log.info("search: a result of %s is dropped: %r", key, problem)

    def seen(self) -> dict[str, tuple[dict[int, float], float | None]]:
        """By trial key, the best score at each of the syntheses that were reported, and that of its end, None for one
        that has not ended by itself.
        """
        trials = self.study.get_trials(deepcopy=False)
        known = {key: trials[trial.number] for key, trial in self.asked.items()}
        return {key: (dict(t.intermediate_values), _last(t)) for key, t in known.items()}

    def reopen(self, keys: Sequence[str]) -> None:
        """Trials that Optuna was told the end of, and that go on after all: it is told of it again.

        What was reported of them stays. Optuna has no way back from an end, so that the study is made anew.
        """
        trials = self.study.get_trials()
        ended = {self.asked[key].number for key in keys if key in self.asked}
        ended = {number for number in ended if trials[number].state.is_finished()}
        if not ended:
            return
        self.study = optuna.create_study(direction="maximize", sampler=self.study.sampler)
        for trial in trials:
            self.study.add_trial(_running(trial) if trial.number in ended else trial)
        ids = [trial._trial_id for trial in self.study.get_trials(deepcopy=False)]
        self.asked = {key: optuna.Trial(self.study, ids[trial.number]) for key, trial in self.asked.items()}

    def learn(
        self, name: str, settings: Mapping[str, Any], curve: Mapping[int, float], whole: bool
    ) -> list[str] | None:
        """Tell Optuna of a trial of an earlier sweep: its best score by syntheses, and whether that is of a whole fit.

        Returns the settings that this space would not have given it, which are left out; None where it lies outside
        the space altogether, and nothing is learned of it.
        """
        replay = self._replay(settings)
        if replay is None or not curve:
            return None
        state = TrialState.COMPLETE if whole else TrialState.PRUNED
        found = optuna.create_trial(
            state=state, params=replay.params, distributions=replay.distributions, intermediate_values=dict(curve),
            value=curve[max(curve)] if whole else None, user_attrs={"trial": name},
        )  # fmt: skip
        self.study.add_trial(found)
        return sorted(replay.outside)

    def imitate(self, name: str, settings: Mapping[str, Any]) -> bool:
        """Try the settings of a trial of another sweep among the first, as far as they lie within the space.

        False where the trial lies outside it altogether.
        """
        replay = self._replay(settings)
        if replay is not None:
            self.presets[name] = replay.params
        return replay is not None

    def _replay(self, settings: Mapping[str, Any]) -> _Replay | None:
        other = {name for name, value in self.fixed.items() if settings.get(name, value) != value}
        if any(name.endswith(".kind") for name in other):
            return None  # another strategy or style space: what is searched here did nothing there
        replay = _Replay({**settings, **self.fixed})
        replay.outside |= other
        try:
            spaces.load(self.space)(replay, self.base, self.fixed)
        except _Outside:
            return None
        return replay

    def dump(self) -> bytes:
        """What `restore` goes on from, random state included."""
        return pickle.dumps((self.study, self.numbers, self.asked))

    def restore(self, dumped: bytes) -> None:
        self.study, self.numbers, self.asked = pickle.loads(dumped)

    def export(self, path: Path, name: str) -> None:
        """The study as a sqlite file, which optuna-dashboard reads; the sweep's own trials carry their names."""
        names = {trial.number: trial_name(self.numbers[key]) for key, trial in self.asked.items()}
        storage = RDBStorage("sqlite://")  # in memory: on a disk each trial would be synchronised several times
        made = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        for trial in self.study.get_trials():
            if trial.number in names:
                trial.set_user_attr("trial", names[trial.number])
            made.add_trial(trial)
        with replacing(path) as temporary, closing(sqlite3.connect(temporary)) as file:
            connection: Any = storage.engine.raw_connection()
            connection.driver_connection.backup(file)
        storage.remove_session()
        storage.engine.dispose()


class _Outside(Exception):
    """A space cannot be answered with the settings of an earlier trial."""


class _Replay:
    """Stands for an Optuna trial: answers a space with `settings` of an earlier one, and notes what it asked for.

    params, distributions: what lies within the space; outside: names that do not, or that the earlier trial lacks.
    """

    number = -1

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        self.outside: set[str] = set()

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        if self.settings.get(name) not in choices:
            raise _Outside
        return self._note(name, CategoricalDistribution(choices))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._note(name, FloatDistribution(low, high, log=log, step=step), low))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._note(name, IntDistribution(low, high, log=log, step=step), low))

    def _note(self, name: str, distribution: BaseDistribution, instead: Any = None) -> Any:
        """The earlier trial's value; where it is outside, `instead`, which only leads through the space."""
        value = self.settings.get(name)
        try:
            optuna.create_trial(params={name: value}, distributions={name: distribution}, value=0.0)
        except (ValueError, TypeError):
            self.outside.add(name)
            return instead
        self.params[name], self.distributions[name] = value, distribution
        return value


def _last(trial: FrozenTrial) -> float | None:
    return trial.value if trial.state == TrialState.COMPLETE else None


def _running(trial: FrozenTrial) -> FrozenTrial:
    return optuna.create_trial(
        state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions, user_attrs=trial.user_attrs,
        system_attrs=trial.system_attrs, intermediate_values=trial.intermediate_values,
    )  # fmt: skip


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
