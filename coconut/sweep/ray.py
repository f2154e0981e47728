"""The only file that knows Tune: trials on shares of machines, their search, and their resumption.

Every trial reports each scored generation with `best_score`; it is the last report that a
searcher sees, and an overcooked fit ends below its peak. A fit that is over stops itself, and
leaves its artifacts before it says so. A trial that is stopped from outside leaves them when its
process is told to go; where that was not in time, they are made afterwards from its checkpoint.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.update(
    {
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # steps.jsonl and MLflow hold it all
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a refused trial reports no metric
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the last words and error.txt of the trial say it
        "TUNE_GLOBAL_CHECKPOINT_S": "5",
        **os.environ,
    }
)

import ray
from ray import tune
from ray.tune.execution.class_cache import DEFAULT_ENV_VARS
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search import Searcher

from coconut import artifacts, build
from coconut.config import FitConfig
from coconut.sweep import snapshots, storage
from coconut.sweep.interrupt import Cut, interruptible
from coconut.sweep.plan import METRIC, Monitor, Outcome, Plan, Row, Ticket
from coconut.sweep.worker import ASHA, Worker, finish, pin, rows
from coconut.trial import Wire

if TYPE_CHECKING:  # a worker needs no Optuna
    from coconut.sweep.search import Search

RETRIES = 3  # times a trial whose process died is taken up again from its checkpoint
KEPT = 3  # checkpoints of a trial: a snapshot may name one that is not the newest
GRACE = 1 / 3  # share of the budget before ASHA may stop a trial
REDUCTION = 2  # ASHA keeps the better half at each rung
OURS = ("number", "preset")  # of a suggestion, beside its settings
log = logging.getLogger(__name__)
DEFAULT_ENV_VARS.clear()  # one of PyTorch Lightning's, for which trials could not take processes that Ray has ready


class Trainable(tune.Trainable):
    """Tune's view of a Worker. A trial that is refused ends at once, and so does one that fails of itself."""

    def setup(self, config: dict[str, Any], plan: Plan | None = None, wire: Wire = build.wire) -> None:
        assert plan is not None
        pin(plan)
        self.worker = Worker(plan, _ticket(self.trial_id, config), wire)
        self.begin = lambda config: Worker(plan, _ticket(self.trial_id, config), wire)

    def step(self) -> Row:
        if self.worker.failure:  # as the report before said, so that the driver does not try again
            raise self.worker.failure
        return self.worker.report()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self.worker.trial.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.worker.trial.load(Path(checkpoint))

    def restore(self, checkpoint_path: Any) -> None:
        """Go on from a checkpoint; from the start where it is gone or cut.

        A driver that is killed may have dropped the checkpoint that its last snapshot names. A fit
        repeats itself to the last bit, so beginning anew costs time and nothing else.
        """
        try:
            super().restore(checkpoint_path)
        except Exception as error:
            log.warning("%s begins anew, its checkpoint is gone: %s", self.worker.ticket.name, error)
            self.worker = self.begin(self.config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.worker.leave()
        self.worker = self.begin(new_config)
        return True

    def cleanup(self) -> None:
        self.worker.leave()


def _finish(plan: Plan, ticket: Ticket, checkpoint: tune.Checkpoint, wire: Wire) -> None:
    pin(plan)
    with checkpoint.as_directory() as path:
        finish(plan, ticket, Path(path), wire)


class TuneSearch(Searcher):
    """Tune's view of a Search. It is saved with every snapshot of the sweep."""

    def __init__(self, search: Search) -> None:
        super().__init__(metric=METRIC, mode="max")
        self.search = search

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return self.search.suggest(trial_id)

    def on_trial_result(self, trial_id: str, result: Row) -> None:
        if METRIC in result:
            self.search.report(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: Row | None = None, error: bool = False) -> None:
        row = result if result and METRIC in result and not error else None
        self.search.complete(trial_id, row, pruned=bool(row and not row.get("stop")))

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_bytes(self.search.dump())

    def restore(self, checkpoint_path: str) -> None:
        self.search.restore(Path(checkpoint_path).read_bytes())


class _Watch:
    """What the sweep that this process drives tells, and its trials once it is over."""

    def __init__(self, monitors: Sequence[Monitor] = (), cut: Cut | None = None) -> None:
        self.monitors, self.cut = list(monitors), cut
        self.trials, self.begun = list[RayTrial](), set[str]()

    def tell(self, event: str, *args: Any) -> None:
        for monitor in self.monitors:
            try:
                getattr(monitor, event)(*args)
            except Exception:
                log.exception("a monitor failed at %s", event)


_watch = _Watch()  # Tune pickles its callbacks, so that they cannot hold what watches


@contextmanager
def _watching(monitors: Sequence[Monitor], cut: Cut) -> Iterator[_Watch]:
    global _watch
    _watch = _Watch(monitors, cut)
    try:
        yield _watch
    finally:
        _watch = _Watch()


class Bridge(tune.Callback):
    """Hands Tune's events to what watches this process.

    What a fit raises is not tried again, for it would raise it again; a process that died is, and a checkpoint that
    the storage did not take.
    """

    def setup(self, *args: Any, **info: Any) -> None:
        if _watch.cut:
            _watch.cut.follow()

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        _watch.tell("tick")

    def on_trial_start(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        if trial.trial_id not in _watch.begun:  # what failed in an earlier life does not count in this one
            trial.max_failures = trial.run_metadata.num_failures + RETRIES
        _watch.begun.add(trial.trial_id)
        _watch.tell("began", _ticket(trial.trial_id, trial.config))

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: Row, **info: Any
    ) -> None:
        if METRIC in result:
            _watch.tell("reported", _ticket(trial.trial_id, trial.config), result["row"])
        elif result.get("failing"):
            trial.max_failures = 0

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        _watch.tell("ended", _ticket(trial.trial_id, trial.config), _why_failed(trial))

    on_trial_error = on_trial_complete

    def on_experiment_end(self, trials: list[RayTrial], **info: Any) -> None:
        _watch.trials = trials


def scheduler(plan: Plan, base: FitConfig) -> TrialScheduler | None:
    """ASHA over syntheses; or None: every trial runs until its own fit is over."""
    if plan.scheduler == "none" or base.budget is None:
        return None
    return AsyncHyperBandScheduler(
        time_attr="syntheses", max_t=base.budget + 1, grace_period=max(1, round(base.budget * GRACE)),
        reduction_factor=REDUCTION,
    )  # fmt: skip


def run(
    plan: Plan,
    search: Search,
    *,
    again: bool = False,
    watchers: Sequence[Monitor] = (),
    wire: Wire = build.wire,
    budget: float | None = None,
) -> tuple[list[Outcome], str]:
    """Run the sweep, or go on with the one in its folder (`again`). Ray is there, and the job lies there.

    `budget` in seconds ends the sweep as Ctrl-C does: what it cuts off can be resumed. Returns the
    outcomes by trial number, and how it ended: "complete", "interrupted", "budget", or else a sentence
    about what broke it off. Raises InputError where its state is damaged, KeyboardInterrupt when a second
    Ctrl-C or one before the first trial leaves no time for outcomes.
    """
    trainable = tune.with_parameters(Trainable, plan=plan, wire=wire)
    trainable = tune.with_resources(trainable, {"cpu": plan.cpus, "gpu": plan.gpus})
    tuner = (_restored(plan, trainable) if again else None) or _fresh(plan, trainable, search)
    broken = ""
    with interruptible(budget) as cut, _watching([*watchers, snapshots.Keeper(plan)], cut) as watch:
        try:
            tuner.fit()
        except KeyboardInterrupt:  # before Tune listens, or a second one
            if watch.begun:
                raise
        except Exception as error:
            log.debug("Tune broke off", exc_info=True)
            broken = f"The sweep broke off ({_reason(error)})."
    snapshots.keep(plan)
    trials = sorted(watch.trials, key=lambda trial: trial.config["number"])
    how = broken or _ending(plan, trials, cut)
    if how not in ("interrupted", broken):
        _finish_all(plan, trials, wire)
    return [_outcome(plan, trial) for trial in trials], how


def _ending(plan: Plan, trials: Sequence[RayTrial], cut: Cut) -> str:
    over = sum(_over(trial) for trial in trials)
    if over >= plan.trials and over == len(trials):
        return "complete"
    if cut.late:
        return "budget"
    if cut.asked:
        return "interrupted"
    return f"The sweep ended after {over} of its {plan.trials} trials, and nobody stopped it."


def _restored(plan: Plan, trainable: Any) -> tune.Tuner | None:
    """The sweep as its last whole snapshot has it; None when it was ended before it made one."""
    snapshots.mend(plan)
    if not tune.Tuner.can_restore(plan.folder) or not storage.snapshots(plan):
        return None
    return tune.Tuner.restore(plan.folder, trainable, resume_errored=True)


def _fresh(plan: Plan, trainable: Any, search: Search) -> tune.Tuner:
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            metric=METRIC, mode="max", search_alg=TuneSearch(search), scheduler=scheduler(plan, search.base),
            num_samples=plan.trials, max_concurrent_trials=plan.concurrent, reuse_actors=True,
            trial_dirname_creator=_dirname,
        ),
        run_config=tune.RunConfig(
            name=plan.name, storage_path=plan.storage, verbose=0, callbacks=[Bridge()],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=KEPT, checkpoint_at_end=False),
        ),
    )  # fmt: skip


def _finish_all(plan: Plan, trials: Sequence[RayTrial], wire: Wire) -> None:
    """Make the artifacts that are missing, as Ray tasks on the trials' share of a machine."""
    kept = [(_ticket(t.trial_id, t.config), t.checkpoint) for t in trials if t.checkpoint and not _why_failed(t)]
    task: Any = ray.remote(max_retries=1)(_finish).options(num_cpus=plan.cpus, num_gpus=plan.gpus)
    made = [(t, task.remote(plan, t, point, wire)) for t, point in kept if rows(plan, t) is None]
    for ticket, result in made:
        try:
            ray.get(result)
        except ray.exceptions.RayError as error:
            log.warning("%s left no voice: %s", ticket.name, _reason(error))


def _outcome(plan: Plan, trial: RayTrial) -> Outcome:
    """What became of a trial, with its rows from its artifacts or else from its checkpoint."""
    ticket, error = _ticket(trial.trial_id, trial.config), _why_failed(trial)
    found = rows(plan, ticket)
    if found is None and trial.checkpoint:
        try:
            with trial.checkpoint.as_directory() as path:
                found = artifacts.read_rows(Path(path))
        except OSError as problem:
            log.warning("%s: its checkpoint cannot be read: %s", ticket.name, problem)
    status = "failed" if error else "finished" if _over(trial) else "unfinished"
    stop = ((trial.last_result or {}).get("stop") or ASHA) if status == "finished" else ""
    return Outcome(ticket, status, stop, error, found or [], plan.home / ticket.name)


def _ticket(key: str, suggestion: dict[str, Any]) -> Ticket:
    settings = {name: value for name, value in suggestion.items() if name not in OURS}
    return Ticket(key, suggestion["number"], suggestion["preset"], settings)


def _dirname(trial: RayTrial) -> str:
    return _ticket(trial.trial_id, trial.config).name


def _why_failed(trial: RayTrial) -> str | None:
    """One line about why a trial failed, or None."""
    result = trial.last_result or {}
    if refused := result.get("refused"):
        return str(refused)
    if trial.status != "ERROR":
        return None
    if failing := result.get("failing"):
        return str(failing)
    try:
        error = trial.get_pickled_error()
    except Exception:  # a full disk cuts this file too
        return "It failed, and why could not be written; is the disk full?"
    if error is None or isinstance(error, ray.exceptions.RayActorError):
        return (
            f"Its process died {trial.run_metadata.num_failures} times, most often for want of memory; fewer trials "
            "at once (--concurrent) or a smaller --es.popsize need less."
        )
    return _reason(error)


def _reason(error: BaseException) -> str:
    """The last line of an error, which names what happened."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _over(trial: RayTrial) -> bool:
    """Whether nothing more will come of a trial. An interrupt leaves TERMINATED ones that were not done."""
    return trial.status == "ERROR" or (trial.status == "TERMINATED" and bool((trial.last_result or {}).get("done")))
