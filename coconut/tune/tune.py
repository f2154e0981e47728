"""The only file that knows Ray: trials on shares of machines, their search, and their resumption.

Every trial reports each scored generation with `best_score`; it is the last report that a
searcher sees, and an overcooked fit ends below its peak. A fit that is over stops itself, and
leaves its artifacts before it says so. A trial that is stopped from outside leaves them when its
process is told to go; where that was not in time, they are made afterwards from its checkpoint.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.update(
    {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # steps.jsonl and MLflow hold it all
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a refused trial reports no metric
        "TUNE_GLOBAL_CHECKPOINT_S": "5",
        **os.environ,
    }
)

import optuna
import ray
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from coconut import build
from coconut.config import InputError
from coconut.tune import outcome as outcomes
from coconut.tune.outcome import interruptible, over, ticket, why_failed
from coconut.tune.plan import METRIC, Monitor, Outcome, Plan, Row, Ticket, trial_name
from coconut.tune.trial import EARLY, Trial, Wire, complete, pin, quiet

RETRIES = 3  # times a trial whose process died is taken up again from its checkpoint
KEPT = 3  # checkpoints of a trial: a snapshot may name one that is not the newest
GRACE = 1 / 3  # share of the generations before ASHA may stop a trial
REDUCTION = 2  # ASHA keeps the better half at each rung
STORE_BYTES = 2**28  # of Ray's object store: trials exchange next to nothing
log = logging.getLogger(__name__)
monitors: list[Monitor] = []  # of the sweep that this process drives
ended: list[TuneTrial] = []  # its trials, once it is over


class Trainable(tune.Trainable):
    """Tune's view of a Trial. An InputError ends it with its sentence as `refused`, without retries."""

    def setup(self, config: dict[str, Any], plan: Plan | None = None, wire: Wire = build.wire) -> None:
        assert plan is not None
        quiet()
        pin(plan.cpus, plan.gpus)
        self.plan, self.wire = plan, wire
        self.trial = Trial(plan, config, wire, self.trial_id)

    def step(self) -> Row:
        try:
            report = self.trial.advance()
            if report["stop"]:
                self.trial.write(report["stop"])
        except InputError as error:
            return {"refused": str(error), "done": True}
        return {**report, "done": bool(report["stop"]), "should_checkpoint": report["due"]}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self.trial.save(Path(checkpoint_dir))

    def restore(self, checkpoint_path: Any) -> None:
        """Go on from a checkpoint; from the start where it is gone or cut.

        A driver that is killed may have dropped the checkpoint that its last snapshot names. A fit
        repeats itself to the last bit, so beginning anew costs time and nothing else.
        """
        try:
            super().restore(checkpoint_path)
        except Exception as error:
            log.warning("%s begins anew, its checkpoint is gone: %s", trial_name(self.trial.suggestion["trial"]), error)
            self.trial = Trial(self.plan, self.trial.suggestion, self.wire, self.trial_id)

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.trial.load(Path(checkpoint))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self.trial = Trial(self.plan, new_config, self.wire, self.trial_id)
        return True

    def cleanup(self) -> None:
        try:
            self.trial.write(EARLY)
        except InputError as error:
            log.warning("%s: %s", trial_name(self.trial.suggestion["trial"]), error)


def finish(plan: Plan, whose: Ticket, checkpoint: tune.Checkpoint, wire: Wire) -> None:
    """Artifacts of a trial that could not write them itself, out of its checkpoint."""
    quiet()
    pin(plan.cpus, plan.gpus)
    trial = Trial(plan, {**whose.settings, "trial": whose.trial, "preset": whose.preset}, wire, whose.key)
    with checkpoint.as_directory() as path:
        trial.load(Path(path))
    trial.write(EARLY)


class Search(OptunaSearch):
    """Optuna's TPE over a define-by-run space; presets go first; replayed results do no harm.

    `presets` maps a name to the parameters to enqueue; the space finds the name in its trial's
    `user_attrs["preset"]`. After a restored driver a result may come twice, or for a trial that
    this searcher never suggested: both are dropped with a log line.
    """

    def __init__(
        self, space: Callable[[Any], Any], presets: Mapping[str, dict[str, Any]], seed: int = 0, startup: int = 10
    ) -> None:
        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=startup)
        super().__init__(space=space, metric=METRIC, mode="max", sampler=sampler)
        study: Any = self._ot_study
        for name, params in presets.items():
            study.enqueue_trial(params, user_attrs={"preset": name})
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        params = super().suggest(trial_id)
        if params is None:
            return None
        number = self._numbers.setdefault(trial_id, len(self._numbers))
        return {**params, "trial": number, "preset": self._ot_trials[trial_id].user_attrs.get("preset", "")}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if METRIC in result:
            self._guarded(super().on_trial_result, trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if not result or METRIC not in result:
            result, error = None, True  # no voice came of it
        self._guarded(super().on_trial_complete, trial_id, result, error)

    def _guarded(self, method: Callable[..., None], trial_id: str, *args: Any) -> None:
        try:
            method(trial_id, *args)
        except Exception as problem:
            log.info("search: a result of %s is dropped: %r", trial_id, problem)


class Bridge(tune.Callback):
    """Hands Tune's events to `monitors`. It is pickled with the tuner; they are not."""

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        _tell("tick")

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        _tell("began", ticket(trial))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: Row, **info: Any
    ) -> None:
        if METRIC in result:
            _tell("reported", ticket(trial), outcomes.measured(result))

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        _tell("ended", ticket(trial), why_failed(trial))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        _tell("ended", ticket(trial), why_failed(trial))

    def on_experiment_end(self, trials: list[TuneTrial], **info: Any) -> None:
        ended[:] = trials


def _tell(event: str, *args: Any) -> None:
    for monitor in monitors:
        try:
            getattr(monitor, event)(*args)
        except Exception:
            log.exception("a monitor failed at %s", event)


def scheduler(plan: Plan) -> TrialScheduler | None:
    """ASHA over generations; or None: every trial runs until its own fit is over."""
    if plan.scheduler == "none" or plan.base.generations < 3:
        return None
    return AsyncHyperBandScheduler(
        time_attr="generation", max_t=plan.base.generations + 1,
        grace_period=max(1, round(plan.base.generations * GRACE)), reduction_factor=REDUCTION,
    )  # fmt: skip


def connect(plan: Plan, address: str | None = None) -> None:
    """Start Ray on this machine, or join a cluster. InputError when a trial could never be placed."""
    quiet()
    mine = not ray.is_initialized()
    if mine and address:
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError) as error:
            raise InputError(f"No Ray cluster at {address}; start one with ray up, or leave --address away.") from error
    if address:
        return
    if mine:  # workers find the package where this process found it
        package = str(Path(__file__).resolve().parents[2])
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        options: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    for name, wanted in (("CPU", plan.cpus), ("GPU", plan.gpus)):
        there = ray.cluster_resources().get(name, 0)
        if wanted > there:
            if mine:
                ray.shutdown()
            raise InputError(f"A trial asks for {wanted:g} {name}s and this machine has {there:g}; ask for less.")


def remotely(plan: Plan, task: Callable[[], Any]) -> Any:
    """The result of a function, run where a trial would run. InputError comes through as such."""

    def call() -> Any:
        quiet()
        return task()

    try:
        return ray.get(ray.remote(call).options(num_cpus=plan.cpus, num_gpus=plan.gpus).remote())
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise InputError(str(error.cause)) from error
        raise


def run(
    plan: Plan,
    search: Search,
    *,
    again: bool = False,
    local: Path,
    watchers: Sequence[Monitor] = (),
    wire: Wire = build.wire,
    budget: float | None = None,
) -> tuple[list[Outcome], str]:
    """Run the sweep, or go on with the one in its folder (`again`). `connect` comes first.

    `local` is where a remote storage's artifacts are copied to. `budget` in seconds ends the
    sweep as Ctrl-C does: what it cuts off can be resumed. Returns the outcomes by trial number,
    and how it ended: "complete", "interrupted" or "budget".
    """
    monitors[:], ended[:] = list(watchers), []
    trainable = tune.with_parameters(Trainable, plan=plan, wire=wire)
    trainable = tune.with_resources(trainable, {"cpu": plan.cpus, "gpu": plan.gpus})
    tuner = (_restored(plan, trainable) if again else None) or _fresh(plan, trainable, search)
    with interruptible(budget) as out_of_time:
        tuner.fit()
    trials = sorted(ended, key=lambda trial: trial.config["trial"])
    done = len(trials) >= plan.trials and all(over(trial) for trial in trials)
    how = "complete" if done else "budget" if out_of_time.is_set() else "interrupted"
    if how != "interrupted":
        _finish_all(plan, trials, local, wire)
    return [outcomes.outcome(plan, trial, local) for trial in trials], how


def _restored(plan: Plan, trainable: Any) -> tune.Tuner | None:
    """The sweep as its last snapshot has it; None when it was ended before it made one."""
    if not tune.Tuner.can_restore(plan.folder) or not outcomes.snapshots(plan):
        return None
    return tune.Tuner.restore(plan.folder, trainable, resume_errored=True)


def _fresh(plan: Plan, trainable: Any, search: Search) -> tune.Tuner:
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            metric=METRIC, mode="max", search_alg=search, scheduler=scheduler(plan), num_samples=plan.trials,
            max_concurrent_trials=plan.concurrent, reuse_actors=True, trial_dirname_creator=outcomes.dirname,
        ),
        run_config=tune.RunConfig(
            name=plan.name, storage_path=plan.storage, verbose=0, callbacks=[Bridge()],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=KEPT, checkpoint_at_end=False),
        ),
    )  # fmt: skip


def _finish_all(plan: Plan, trials: Sequence[TuneTrial], local: Path, wire: Wire) -> None:
    """Make the artifacts that are missing, as Ray tasks on the trials' share of a machine."""
    kept = [trial for trial in trials if trial.checkpoint and not why_failed(trial)]
    lacking = [trial for trial in kept if not complete(outcomes.collect(plan, trial, local), trial.trial_id)]
    task: Any = ray.remote(max_retries=1)(finish).options(num_cpus=plan.cpus, num_gpus=plan.gpus)
    for trial, made in [(t, task.remote(plan, ticket(t), t.checkpoint, wire)) for t in lacking]:
        try:
            ray.get(made)
        except Exception as error:
            log.warning("%s left no voice: %s", outcomes.dirname(trial), str(error).strip().splitlines()[-1])
