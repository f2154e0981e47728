"""The only file that knows Ray: trials on shares of machines, their search, and their resumption.

Every trial reports each scored generation with `best_score`; it is the last report that a
searcher sees, and an overcooked fit ends below its peak. A fit that is over stops itself, and
leaves its artifacts before it says so. A trial that is stopped from outside leaves them when its
process is told to go; where that was not in time, they are made afterwards from its checkpoint.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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

import ray
from ray import tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from coconut import artifacts, build
from coconut.config import FitConfig, InputError
from coconut.quiet import quiet
from coconut.sweep import storage
from coconut.sweep.interrupt import interruptible
from coconut.sweep.plan import METRIC, Monitor, Outcome, Plan, Row, Ticket
from coconut.sweep.search import Search
from coconut.sweep.worker import ASHA, Worker, finish, pin, rows
from coconut.trial import Wire

RETRIES = 3  # times a trial whose process died is taken up again from its checkpoint
KEPT = 3  # checkpoints of a trial: a snapshot may name one that is not the newest
GRACE = 1 / 3  # share of the budget before ASHA may stop a trial
REDUCTION = 2  # ASHA keeps the better half at each rung
STORE_BYTES = 2**28  # of Ray's object store: trials exchange next to nothing
OURS = ("number", "preset")  # of a suggestion, beside its settings
log = logging.getLogger(__name__)


class Trainable(tune.Trainable):
    """Tune's view of a Worker. A trial that is refused ends without retries."""

    def setup(self, config: dict[str, Any], plan: Plan | None = None, wire: Wire = build.wire) -> None:
        assert plan is not None
        pin(plan)
        self.worker = Worker(plan, _ticket(self.trial_id, config), wire)
        self.begin = lambda config: Worker(plan, _ticket(self.trial_id, config), wire)

    def step(self) -> Row:
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

    def __init__(self, monitors: Sequence[Monitor] = ()) -> None:
        self.monitors, self.trials, self.begun = list(monitors), list[RayTrial](), False

    def tell(self, event: str, *args: Any) -> None:
        for monitor in self.monitors:
            try:
                getattr(monitor, event)(*args)
            except Exception:
                log.exception("a monitor failed at %s", event)


_watch = _Watch()  # Tune pickles its callbacks, so that they cannot hold what watches


@contextmanager
def _watching(monitors: Sequence[Monitor]) -> Iterator[_Watch]:
    global _watch
    _watch = _Watch(monitors)
    try:
        yield _watch
    finally:
        _watch = _Watch()


class Bridge(tune.Callback):
    """Hands Tune's events to what watches this process."""

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        _watch.tell("tick")

    def on_trial_start(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        _watch.begun = True
        _watch.tell("began", _ticket(trial.trial_id, trial.config))

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: Row, **info: Any
    ) -> None:
        if METRIC in result:
            _watch.tell("reported", _ticket(trial.trial_id, trial.config), result["row"])

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        _watch.tell("ended", _ticket(trial.trial_id, trial.config), _why_failed(trial))

    on_trial_error = on_trial_complete

    def on_experiment_end(self, trials: list[RayTrial], **info: Any) -> None:
        _watch.trials = trials


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
        ray.init("local", **options, log_to_driver=False, logging_level=logging.ERROR)
    for name, wanted in (("CPU", plan.cpus), ("GPU", plan.gpus)):
        there = ray.cluster_resources().get(name, 0)
        if wanted > there:
            if mine:
                ray.shutdown()
            raise InputError(f"A trial asks for {wanted:g} {name}s and this machine has {there:g}; ask for less.")


def cluster_gpus(address: str) -> float:
    """GPUs of the cluster as it is now; nodes that it may start later are not known."""
    connect(Plan("", "", ""), address)
    return float(ray.cluster_resources().get("GPU", 0))


def check_nodes(plan: Plan, folders: Sequence[str]) -> None:
    """Raise InputError for a node that could run trials and lacks one of `folders`."""

    def lacking() -> list[str]:
        return [folder for folder in folders if not Path(folder).is_dir()]

    for node in ray.nodes():
        has = node["Resources"]
        if not (folders and node["Alive"] and has.get("CPU", 0) >= plan.cpus and has.get("GPU", 0) >= plan.gpus):
            continue
        there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        if missing := ray.get(ray.remote(lacking).options(num_cpus=0, scheduling_strategy=there).remote()):
            raise InputError(
                f"The node {node['NodeManagerAddress']} ({node['NodeID'][:8]}) has no folder {missing[0]}; put it "
                "there, or where all nodes see it under that name."
            )


def remotely(plan: Plan, task: Callable[[], Any]) -> Any:
    """The result of a function, run where a trial would run. InputError comes through as such.

    Its process ends with it, so that no GPU is held any more.
    """

    def call() -> Any:
        pin(plan)
        return task()

    try:
        return ray.get(ray.remote(max_calls=1)(call).options(num_cpus=plan.cpus, num_gpus=plan.gpus).remote())
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise InputError(str(error.cause)) from error
        raise


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
    """Run the sweep, or go on with the one in its folder (`again`). `connect` comes first, and the job lies there.

    `budget` in seconds ends the sweep as Ctrl-C does: what it cuts off can be resumed. Returns the
    outcomes by trial number, and how it ended: "complete", "interrupted" or "budget".
    """
    trainable = tune.with_parameters(Trainable, plan=plan, wire=wire)
    trainable = tune.with_resources(trainable, {"cpu": plan.cpus, "gpu": plan.gpus})
    tuner = (_restored(plan, trainable) if again else None) or _fresh(plan, trainable, search)
    with _watching(watchers) as watch, interruptible(budget) as out_of_time:
        try:
            tuner.fit()
        except KeyboardInterrupt:  # before Tune listens, or a second one
            if watch.begun:
                raise
    trials = sorted(watch.trials, key=lambda trial: trial.config["number"])
    done = len(trials) >= plan.trials and all(_over(trial) for trial in trials)
    how = "complete" if done else "budget" if out_of_time.is_set() else "interrupted"
    if how != "interrupted":
        _finish_all(plan, trials, wire)
    return [_outcome(plan, trial) for trial in trials], how


def _restored(plan: Plan, trainable: Any) -> tune.Tuner | None:
    """The sweep as its last snapshot has it; None when it was ended before it made one."""
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
            log.warning("%s left no voice: %s", ticket.name, str(error).strip().splitlines()[-1])


def _outcome(plan: Plan, trial: RayTrial) -> Outcome:
    """What became of a trial, with its rows from its artifacts or else from its checkpoint."""
    ticket, error = _ticket(trial.trial_id, trial.config), _why_failed(trial)
    found = rows(plan, ticket)
    if found is None and trial.checkpoint:
        with trial.checkpoint.as_directory() as path:
            found = artifacts.read_rows(Path(path))
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
    if refused := (trial.last_result or {}).get("refused"):
        return str(refused)
    if trial.status != "ERROR":
        return None
    lines = str(trial.get_error() or "").strip().splitlines()
    return lines[-1].strip() if lines else "its process died."


def _over(trial: RayTrial) -> bool:
    """Whether nothing more will come of a trial. An interrupt leaves TERMINATED ones that were not done."""
    return trial.status == "ERROR" or (trial.status == "TERMINATED" and bool((trial.last_result or {}).get("done")))
