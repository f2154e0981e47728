"""Tune's snapshots of a sweep: a copy of the last whole one is kept, and takes the place of one that a full disk cut.

Tune writes its state over itself every few seconds. Object stores replace a file whole; a folder's file may be
left half, and Tune would then begin the sweep anew beside what is there.
"""

from __future__ import annotations

import json
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

from coconut.config import InputError
from coconut.files import replacing
from coconut.sweep.plan import Plan, Row, Ticket

STATE = "experiment_state-*.json"  # trials; named by when the life of the sweep began, the newest sorts last
SEARCHER = "searcher-state-*.pkl"
PARTS = (STATE, SEARCHER, "search_gen_state-*.json", "callback_states-*.pkl", "tuner.pkl")
KEPT = ".snapshot"  # the folder of the copy
PERIOD = 30.0  # seconds between copies


class Keeper:
    """Copies a snapshot now and then while a sweep runs, if there is a new one."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.copied, self.last = plan, time.monotonic(), -1

    def tick(self) -> None:
        if time.monotonic() - self.copied <= PERIOD:
            return
        self.copied = time.monotonic()
        if (newest := written(self.plan)) != self.last:
            self.last = newest
            keep(self.plan)

    def began(self, ticket: Ticket) -> None: ...

    def reported(self, ticket: Ticket, row: Row) -> None: ...

    def ended(self, ticket: Ticket, error: str | None) -> None: ...


def written(plan: Plan) -> int:
    """When Tune last wrote a snapshot, in nanoseconds since 1970; 0: never, or to a remote storage."""
    found = [] if plan.remote else Path(plan.folder).glob(STATE)
    return max((path.stat().st_mtime_ns for path in found), default=0)


def keep(plan: Plan) -> None:
    """Copy the snapshot of a sweep, if it is whole, over the copy before."""
    folder = Path(plan.folder)
    if plan.remote or not any(folder.glob(STATE)):
        return
    fresh = folder / f"{KEPT}.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir()
        for path in _parts(folder):
            shutil.copy2(path, fresh / path.name)
        if whole(fresh):
            shutil.rmtree(folder / KEPT, ignore_errors=True)
            fresh.rename(folder / KEPT)
    except OSError:  # a full disk: the copy before stays
        shutil.rmtree(fresh, ignore_errors=True)


def mend(plan: Plan) -> None:
    """Put the kept copy in the place of a snapshot that is not whole. InputError where there is none."""
    folder = Path(plan.folder)
    if plan.remote or not any(folder.glob(STATE)) or whole(folder):
        return
    if not whole(folder / KEPT):
        raise InputError(
            f"The state of the sweep in {folder} is damaged ({max(folder.glob(STATE)).name}), and no earlier one was "
            "kept; its finished trials are whole, but a sweep under another --name must take over."
        )
    for path in _parts(folder):
        path.unlink()
    for path in (folder / KEPT).iterdir():
        with replacing(folder / path.name) as temporary:
            shutil.copy2(path, temporary)


def whole(folder: Path) -> bool:
    """Whether the newest state of the trials and of the search can be read."""
    try:
        json.loads(max(folder.glob(STATE)).read_bytes())
        return bool(_unpickled(max(folder.glob(SEARCHER)))) and bool((folder / "tuner.pkl").stat().st_size)
    except Exception:  # whatever a cut file raises when it is unpickled
        return False


def _unpickled(path: Path) -> Any:
    return pickle.loads(path.read_bytes())


def _parts(folder: Path) -> list[Path]:
    return [path for part in PARTS for path in folder.glob(part)]
