"""What became of Tune's trials, and how a sweep is cut short: all that needs no Ray to be said.

`trial` is a ray.tune Trial throughout, as callbacks hand it over.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyarrow import fs

from coconut import artifacts
from coconut.tune.plan import METRIC, Outcome, Plan, Row, Ticket, trial_name
from coconut.tune.trial import complete, fetch

OURS = ("generation", "sigma", "syntheses", "audio_seconds", "seconds", "bad_candidates", METRIC, "best_generation")


def ticket(trial: Any) -> Ticket:
    config = {name: value for name, value in trial.config.items() if name not in ("trial", "preset")}
    return Ticket(trial.trial_id, trial.config["trial"], trial.config["preset"], config)


def measured(result: Row) -> Row:
    """The fit's own row out of a report, without what Tune adds."""
    return {k: v for k, v in result.items() if k in OURS or k.split(".")[0] in ("loss", "score")}


def why_failed(trial: Any) -> str | None:
    """One line about why a trial failed, or None."""
    if refused := (trial.last_result or {}).get("refused"):
        return str(refused)
    if trial.status != "ERROR":
        return None
    lines = str(trial.get_error() or "").strip().splitlines()
    return lines[-1].strip() if lines else "its process died."


def over(trial: Any) -> bool:
    """Whether nothing more will come of a trial. An interrupt leaves TERMINATED ones that were not done."""
    return trial.status == "ERROR" or (trial.status == "TERMINATED" and bool((trial.last_result or {}).get("done")))


def dirname(trial: Any) -> str:
    return trial_name(trial.config["trial"])


def snapshots(plan: Plan) -> bool:
    """Whether Tune has written down the state of any trial."""
    there, path = fs.FileSystem.from_uri(plan.folder) if plan.remote else (fs.LocalFileSystem(), plan.folder)
    found = there.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return any(info.base_name.startswith("experiment_state") for info in found)


def collect(plan: Plan, trial: Any, local: Path) -> Path:
    folder = local / dirname(trial)
    if plan.remote:
        fetch(plan, folder.name, folder)
    return folder


def outcome(plan: Plan, trial: Any, local: Path) -> Outcome:
    """What became of a trial, with its rows from its artifacts or else from its checkpoint."""
    folder, last = collect(plan, trial, local), trial.last_result or {}
    rows: list[Row] = []
    if complete(folder, trial.trial_id):
        rows = artifacts.read_rows(folder, plan.base.generations)
    elif trial.checkpoint:
        with trial.checkpoint.as_directory() as path:
            rows = artifacts.read_rows(Path(path), plan.base.generations)
    error = why_failed(trial)
    if error:
        return Outcome(ticket(trial), "failed", "", error, rows, folder)
    if over(trial):
        return Outcome(ticket(trial), "finished", last.get("stop") or "asha", None, rows, folder)
    return Outcome(ticket(trial), "unfinished", "", None, rows, folder)


@contextmanager
def interruptible(budget: float | None) -> Iterator[threading.Event]:
    """SIGTERM and the end of the budget act as Ctrl-C, which Tune turns into a last snapshot."""
    late = threading.Event()

    def expire() -> None:
        late.set()
        os.kill(os.getpid(), signal.SIGINT)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT)) if main else None
    ignored = main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:  # a shell's background job, which would sleep through its own budget
        signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(budget, expire) if budget else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield late
    finally:
        if timer:
            timer.cancel()
        if main:
            signal.signal(signal.SIGTERM, before)
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
