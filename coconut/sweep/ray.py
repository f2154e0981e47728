"""The only file that knows Ray: started or joined, its nodes, trials on shares of them, and their resumption.

Every trial reports its scored generations (pace.py) with `best_score`; it is the last report that a
searcher sees, and an overcooked fit ends below its peak. A fit that is over stops itself, and
leaves its artifacts before it says so. A trial that is stopped from outside leaves them when its
process is told to go; where that was not in time, they are made afterwards from its checkpoint.

What a trial needs is imported where it runs.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

os.environ.update(
    {
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # steps.jsonl and MLflow hold it all
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a refused trial reports no metric
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the last words and error.txt of the trial say it
        "TUNE_GLOBAL_CHECKPOINT_S": "auto",  # every 10 s, less often where that would take more than 5% of the time
        **os.environ,
    }
)

import ray
from ray import tune
from ray._private.services import canonicalize_bootstrap_address
from ray.tune.execution.class_cache import DEFAULT_ENV_VARS
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher, SearchGenerator
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from coconut.config import InputError
from coconut.importing import importing
from coconut.quiet import quiet
from coconut.sweep import extend, node, pace, snapshots, storage
from coconut.sweep.aside import native_stderr_to
from coconut.sweep.ended import ERROR, UNWRITTEN, Ended, how_it_ended
from coconut.sweep.interrupt import Cut, interruptible
from coconut.sweep.plan import DRAW, METRIC, Monitor, Outcome, Plan, Row, Ticket

if TYPE_CHECKING:  # heavy, and a worker needs no Optuna
    from coconut.sweep.search import Search
    from coconut.trial import Wire

STORE_BYTES = 2**28  # of Ray's object store: trials exchange next to nothing
SETTINGS: dict[str, Any] = {"worker_niceness": 0}  # else trials get only what all other programs leave
PRELOADED = {"preload_python_modules": ["coconut.sweep.preload"]}  # what a trial's process imports
SPARE = 1  # CPUs of our own Ray beside those of the trials
PATIENCE = 10.0  # seconds that a head may take to answer at all
RETRIES = 3  # times a trial whose process died is taken up again from its checkpoint
CHECKPOINTS = tune.CheckpointConfig(num_to_keep=3, checkpoint_at_end=False)  # a snapshot may not name the newest
OURS = ("number", "preset", DRAW)  # of a suggestion, beside its settings
log = logging.getLogger(__name__)
DEFAULT_ENV_VARS.clear()  # one of PyTorch Lightning's, for which trials could not take processes that Ray has ready


class Session:
    """Ray from here to the end of the block, started or joined beside what the caller does meanwhile.

    One thread starts and ends it, for Linux ends the processes of a local Ray with the thread that started them.
    `resumed`: Tune starts trials that go on for as long as there are CPUs, so that a local Ray gets no other ones.
    """

    def __init__(self, plan: Plan, address: str | None, resumed: bool = False) -> None:
        self._thread = ThreadPoolExecutor(1, "ray")
        self._mine = not ray.is_initialized()
        self._connected = self._thread.submit(connect, plan, address, 0 if resumed else SPARE)

    def wait(self) -> None:
        """Until Ray is there. InputError when it is not to be had, or a trial could never be placed."""
        self._connected.result()

    def end(self) -> None:
        """Leave Ray, and wait until it is left: its C++ ends a process that lets go of a handle in the meantime."""
        if self._mine:
            gc.collect()  # the handles that nobody holds any more
            wait([self._thread.submit(ray.shutdown)])

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: Any) -> None:
        self.end()
        self._thread.shutdown()


def connect(plan: Plan, address: str | None = None, spare: int = SPARE) -> None:
    """Start Ray on this machine, with so many CPUs beyond those of trials, or join a cluster.

    InputError when a trial could never be placed.
    """
    quiet()
    logging.getLogger("ray").setLevel(logging.ERROR)
    if address:
        _join(address)
        return
    if plan.cpus > (there := os.cpu_count() or 1):
        raise InputError(f"A trial asks for {plan.cpus:g} CPUs and this machine has {there}; ask for less.")
    if not ray.is_initialized():
        _start(plan, spare)
    if plan.gpus > (there := ray.cluster_resources().get("GPU", 0)):
        raise InputError(f"A trial asks for {plan.gpus:g} GPUs and this machine has {there:g}; ask for less.")


def _join(address: str) -> None:
    if ray.is_initialized():
        return
    with TemporaryFile("w+") as said:
        try:
            if not _listens(address):
                raise ConnectionError
            with native_stderr_to(said):
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, ray.exceptions.AuthenticationError) as error:
            said.seek(0)
            raise InputError(_not_joined(address, said.read() + str(error))) from error


def _listens(address: str) -> bool:
    """Whether anything listens there, for Ray itself would try for minutes, of "auto" at what a dead head has left."""
    found = None if "://" in address else canonicalize_bootstrap_address(address)
    if not found:
        return True  # Ray looks for its own processes
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except OSError:
        return False
    return True


def _not_joined(address: str, said: str) -> str:
    """Why a cluster could not be joined, by what Ray said of it."""
    if "InvalidAuthToken" in said or "authentication" in said.lower():
        return (
            f"The Ray cluster at {address} asks for a token that it did not get; set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, as they are on its head."
        )
    return f"No Ray cluster at {address}; start one with ray up, or leave --address away."


def _start(plan: Plan, spare: int) -> None:
    """A Ray of our own, with no more CPUs than the trials take and so many to `spare`, for Tune's own tasks.

    Ray starts a process for each CPU at once. Where one is left over, they import what a trial needs while the
    job is being made; not with GPUs, which a process may only look for when Ray has given it its share.
    """
    package = str(Path(__file__).resolve().parents[2])  # workers find it where this process found it
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    there, wanted = os.cpu_count() or 1, math.ceil(plan.concurrent * plan.cpus) + spare
    settings = SETTINGS | (PRELOADED if spare and wanted <= there and not plan.gpus else {})
    ray.init(
        "local", num_cpus=min(wanted, there), include_dashboard=False, object_store_memory=STORE_BYTES,
        log_to_driver=False, logging_level=logging.ERROR, _system_config=settings,
    )  # fmt: skip


def cluster_gpus(address: str) -> float:
    """GPUs of the cluster as it is now; nodes that it may start later are not known."""
    connect(Plan("", "", ""), address)
    return float(ray.cluster_resources().get("GPU", 0))


def fitting_nodes(plan: Plan) -> list[dict[str, Any]]:
    """The nodes, as `ray.nodes` has them, that could run a trial."""

    def fits(found: dict[str, Any]) -> bool:
        has = found["Resources"]
        return found["Alive"] and has.get("CPU", 0) >= plan.cpus and has.get("GPU", 0) >= plan.gpus

    return [found for found in ray.nodes() if fits(found)]


def check_nodes(plan: Plan, folders: Sequence[str]) -> None:
    """Raise InputError for a node that could be given trials and could not run them; `folders`: see `node.wrong`.

    This machine is left out, and so are nodes that join later.
    """
    own = ray.get_runtime_context().get_node_id()
    others = [found for found in fitting_nodes(plan) if found["NodeID"] != own]
    if not others:
        return
    with node.sign(plan.storage) as laid:
        look, expected = ray.remote(num_cpus=0)(node.wrong), node.versions()
        asked = [look.options(scheduling_strategy=_on(found)).remote(laid, folders, expected) for found in others]
        for found, answer in zip(others, asked, strict=True):
            if wrong := _answer(answer):
                raise InputError(f"The node {found['NodeManagerAddress']} ({found['NodeID'][:8]}) {wrong}")


def _on(found: Mapping[str, Any]) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node_id=found["NodeID"], soft=False)


def _answer(answer: Any) -> str | None:
    try:
        return cast(str | None, ray.get(answer))
    except ray.exceptions.RayError as error:  # it has no coconut, or an older one
        return f"cannot run coconut ({_reason(error)}); install there what this machine has."


def remotely(plan: Plan, task: Callable[[], Any]) -> Any:
    """The result of a function, run where a trial would run. InputError comes through as such.

    Its process ends with it, so that no GPU is held any more.
    """

    def call() -> Any:
        from coconut.sweep.worker import pin

        pin(plan)
        return task()

    try:
        return ray.get(ray.remote(max_calls=1)(call).options(num_cpus=plan.cpus, num_gpus=plan.gpus).remote())
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise InputError(str(error.cause)) from error
        raise


class Trainable(tune.Trainable):
    """Tune's view of a Worker. A trial that is refused ends at once, and so does one that fails of itself."""

    def setup(self, config: dict[str, Any], plan: Plan | None = None, wire: Wire | None = None) -> None:
        with importing():
            from coconut.sweep.worker import Worker, pin

        assert plan is not None
        assert wire is not None
        pin(plan)
        self.worker = Worker(plan, _ticket_for(self.trial_id, config), wire)
        self.begin = lambda config: Worker(plan, _ticket_for(self.trial_id, config), wire)

    def step(self) -> Row:
        if self.worker.failure:  # as the report before said, so that the driver does not try again
            raise self.worker.failure
        return self.worker.report()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self.worker.trial.save(Path(checkpoint_dir))
        if self._last_result:
            self._last_result.pop("rows", None)  # Tune would keep them beside the checkpoint, in the driver too

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
    from coconut.sweep.worker import finish, pin

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
        """It was, before Tune began: the scheduler must know what it has seen."""


class Suggestions(SearchGenerator):
    """Tune's view of a sweep that goes on: with as many trials, and as many at once, as the plan has now.

    A snapshot remembers how many there were to be. `opened`: keys of the trials that have something left to do.
    """

    def __init__(self, search: Search, plan: Plan, opened: Sequence[str]) -> None:
        self.plan, self.opened = plan, opened
        super().__init__(ConcurrencyLimiter(TuneSearch(search), plan.concurrent))

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state | {"total_samples": self.plan.total, "finished": False})
        limits = {"max_concurrent": self.plan.concurrent, "live_trials": set(self.opened)}
        self.searcher.set_state(limits | {"num_unfinished_live_trials": len(self.opened)})


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
            trial.run_metadata.last_result.pop("failing", None)
        _watch.begun.add(trial.trial_id)
        _watch.tell("began", _ticket(trial))

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: Row, **info: Any
    ) -> None:
        for row in result.pop("rows", ()):  # Tune would keep them, and write them with every snapshot
            _watch.tell("reported", _ticket(trial), row)
        if result.get("failing"):
            trial.max_failures = 0

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        _watch.tell("ended", _ticket(trial), _ended(trial).why)

    on_trial_error = on_trial_complete

    def on_experiment_end(self, trials: list[RayTrial], **info: Any) -> None:
        _watch.trials = trials


class Asha(AsyncHyperBandScheduler):
    """ASHA (Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020) over syntheses, with a floor.

    The first trials at a rung go on however bad they are, for there is nothing to compare them with. One that is
    still below `floor` after its grace is stopped all the same. One that has ended by itself stands at all later
    rungs, with its best score. `first`: the budget that the sweep began with; `seen`: by trial, the best scores at
    syntheses of an earlier life, and that of its end if it has ended by itself. Repeats are of other sentences, and run
    to their end.
    """

    def __init__(
        self,
        budget: int,
        floor: float,
        first: int | None = None,
        seen: Mapping[str, tuple[Mapping[int, float], float | None]] | None = None,
    ) -> None:
        self.grace, self.floor, self.seen = pace.grace(first or budget), floor, seen or {}
        self.rungs = pace.rungs(budget, first)
        super().__init__("syntheses", max_t=budget + 1, grace_period=self.grace, reduction_factor=pace.REDUCTION)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        known: bool = super().set_search_properties(metric, mode, **spec)
        controller: Any = None  # none is asked
        for key, (scores, last) in self.seen.items():
            trial: Any = SimpleNamespace(trial_id=key)
            self.on_trial_add(controller, trial)
            for spent in sorted(scores):
                super().on_trial_result(controller, trial, {"syntheses": spent, METRIC: scores[spent]})
            if last is not None:
                self._stands(controller, trial, max(scores, default=0), last)
        self.seen = {}
        return known

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: Row) -> str:
        if DRAW in trial.config:
            return TrialScheduler.CONTINUE
        action: str = super().on_trial_result(tune_controller, trial, result)
        low = METRIC in result and result["syntheses"] >= self.grace and result[METRIC] < self.floor
        return TrialScheduler.STOP if low else action

    def on_trial_complete(self, tune_controller: Any, trial: RayTrial, result: Row) -> None:
        if DRAW in trial.config:
            return
        if result.get("stop") and METRIC in result:
            self._stands(tune_controller, trial, result["syntheses"], result[METRIC])
        super().on_trial_complete(tune_controller, trial, result)

    def _stands(self, tune_controller: Any, trial: Any, spent: float, score: float) -> None:
        """At the rungs beyond what a trial has spent, which it would have left with this score at least."""
        for rung in (rung for rung in self.rungs if rung > spent):
            super().on_trial_result(tune_controller, trial, {"syntheses": rung, METRIC: score})


def scheduler(plan: Plan, search: Search, floor: float) -> TrialScheduler | None:
    """What stops trials that fall behind; or None: every trial runs until its own fit is over."""
    budget = search.base.budget
    return None if plan.scheduler == "none" or budget is None else Asha(budget, floor, plan.first_budget, search.seen())


def run(
    plan: Plan,
    search: Search,
    *,
    wire: Wire,
    floor: float = -math.inf,
    again: bool = False,
    watchers: Sequence[Monitor] = (),
    budget: float | None = None,
) -> tuple[list[Outcome], str]:
    """Run the sweep, or go on with the one in its folder (`again`). Ray is there, and the job lies there.

    `wire` makes a fit of the job and a trial's settings; `floor` is the score that a trial should soon have;
    `budget` in seconds ends the sweep as Ctrl-C does: what it cuts off can be resumed. Returns the
    outcomes by trial number, and how it ended: "complete", "interrupted", "budget", or else a sentence
    about what broke it off. Raises InputError where its state is damaged, KeyboardInterrupt when a second
    Ctrl-C or one before the first trial leaves no time for outcomes.
    """
    trainable = tune.with_parameters(Trainable, plan=plan, wire=wire)
    trainable = tune.with_resources(trainable, {"cpu": plan.cpus, "gpu": plan.gpus})
    go = (_restored(plan, trainable, search, floor) if again else None) or _fresh(plan, trainable, search, floor)
    broken = ""
    with interruptible(budget) as cut, _watching([*watchers, snapshots.Keeper(plan)], cut) as watch:
        try:
            go()
        except KeyboardInterrupt:  # before Tune listens, or a second one
            if watch.begun:
                raise
        except Exception as error:
            log.debug("Tune broke off", exc_info=True)
            broken = f"The sweep broke off ({_reason(error)})."
    snapshots.keep(plan)
    trials = sorted(watch.trials, key=lambda trial: trial.config["number"])
    how = broken or how_it_ended(plan, [_ended(trial) for trial in trials], cut)
    if how not in ("interrupted", broken):
        _finish_all(plan, trials, wire)
    return [_outcome(plan, trial) for trial in trials], how


def _restored(plan: Plan, trainable: Any, search: Search, floor: float) -> Callable[[], Any] | None:
    """What goes on with the sweep as its last whole snapshot has it, and as the plan is now; None when it was ended
    before it made one.
    """
    snapshots.mend(plan)
    searcher = storage.newest(plan, extend.SEARCHER)
    if not tune.Tuner.can_restore(plan.folder) or not storage.snapshots(plan) or not searcher:
        return None
    opened = extend.reopen(plan, search.base.budget)
    search.restore(searcher.read())
    search.reopen(opened.keys)
    return partial(
        tune.run, trainable, name=plan.name, storage_path=plan.storage, metric=METRIC, mode="max",
        search_alg=Suggestions(search, plan, opened.keys), scheduler=scheduler(plan, search, floor), reuse_actors=True,
        resume="AUTO+ERRORED", raise_on_failed_trial=False, trial_dirname_creator=_dirname, callbacks=[Bridge()],
        max_failures=RETRIES, checkpoint_config=CHECKPOINTS, verbose=0,
    )  # fmt: skip


def _fresh(plan: Plan, trainable: Any, search: Search, floor: float) -> Callable[[], Any]:
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            metric=METRIC, mode="max", search_alg=TuneSearch(search), scheduler=scheduler(plan, search, floor),
            num_samples=plan.total, max_concurrent_trials=plan.concurrent, reuse_actors=True,
            trial_dirname_creator=_dirname,
        ),
        run_config=tune.RunConfig(
            name=plan.name, storage_path=plan.storage, verbose=0, callbacks=[Bridge()],
            failure_config=tune.FailureConfig(max_failures=RETRIES), checkpoint_config=CHECKPOINTS,
        ),
    ).fit  # fmt: skip


def _finish_all(plan: Plan, trials: Sequence[RayTrial], wire: Wire) -> None:
    """Make the artifacts that are missing, as Ray tasks on the trials' share of a machine."""
    from coconut.sweep.worker import rows

    kept = [(_ticket(t), t.checkpoint) for t in trials if t.checkpoint and not _ended(t).why]
    task: Any = ray.remote(max_retries=1)(_finish).options(num_cpus=plan.cpus, num_gpus=plan.gpus)
    made = [(t, task.remote(plan, t, point, wire)) for t, point in kept if rows(plan, t) is None]
    for ticket, result in made:
        try:
            ray.get(result)
        except ray.exceptions.RayError as error:
            log.warning("%s left no voice: %s", ticket.name, _reason(error))


def _outcome(plan: Plan, trial: RayTrial) -> Outcome:
    """What became of a trial, with its rows from its artifacts or else from its checkpoint."""
    from coconut import artifacts
    from coconut.sweep.worker import rows

    ended = _ended(trial)
    found = rows(plan, ended.ticket)
    if found is None and trial.checkpoint:
        try:
            with trial.checkpoint.as_directory() as path:
                found = artifacts.read_rows(Path(path))
        except OSError as problem:
            log.warning("%s: its checkpoint cannot be read: %s", ended.ticket.name, problem)
    return ended.outcome(plan, found or [])


def _ended(trial: RayTrial) -> Ended:
    """What Tune knows of a trial, in plain data."""
    said = _raised(trial) if trial.status == ERROR else None
    return Ended(_ticket(trial), trial.status, trial.last_result or {}, trial.run_metadata.num_failures, said)


def _raised(trial: RayTrial) -> str | None:
    """The last line of what a trial raised; None where its process was gone."""
    try:
        error = trial.get_pickled_error()
    except Exception:  # a full disk cuts this file too
        return UNWRITTEN
    gone = isinstance(error, ray.exceptions.RayActorError) and not error.actor_init_failed
    return None if error is None or gone else _reason(error)


def _reason(error: BaseException) -> str:
    """The last line of an error, which names what happened."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _ticket(trial: RayTrial) -> Ticket:
    return _ticket_for(trial.trial_id, trial.config)


def _ticket_for(key: str, suggestion: dict[str, Any]) -> Ticket:
    settings = {name: value for name, value in suggestion.items() if name not in OURS}
    return Ticket(key, suggestion["number"], suggestion["preset"], settings, suggestion.get(DRAW))


def _dirname(trial: RayTrial) -> str:
    return _ticket(trial).name
