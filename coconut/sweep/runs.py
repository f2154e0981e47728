"""A sweep as MLflow runs: one for the sweep, and nested in it one for each trial."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coconut import artifacts, strategy
from coconut.config import FitConfig, flatten
from coconut.job import Job
from coconut.sweep import storage, worker
from coconut.sweep.board import Board, Entry, markdown
from coconut.sweep.errors import jackknife
from coconut.sweep.plan import Outcome, Plan, Row, Ticket
from coconut.sweep.tracking import Tracker

STATUS = {"finished": "FINISHED", "failed": "FAILED", "unfinished": "KILLED"}
PAGES = ["leaderboard.json", "leaderboard.csv", "report.html", "study.db"]
ARTIFACTS = ("*.pt", "*.wav", "*.png", "*.json", "*.jsonl")  # of a trial
GROUPS = {  # names of a row as MLflow shows them, by group and then by name
    "loss": "loss/total", "sigma": "search/sigma", "generation": "search/generation",
    "best_generation": "search/best_generation", "audio_seconds": "cost/audio_seconds", "seconds": "cost/seconds",
}  # fmt: skip
UNTOLD = ("settings", "repeats", "first_budget")  # of a plan: what is told of all trials, or has changed since
LEFT_OUT = ("syntheses", "bad_candidates")  # the step itself; what steps.jsonl tells
ERROR_STEP, TEST_STEP = 1, 2  # after a trial's last row: the error of its best score, then what the test says
PAUSE = 1.0  # seconds between looks for the artifacts of trials that were stopped


class Runs:
    """Tune's events as MLflow's: a trial's run ends when its artifacts are there.

    `fixed`: the searchable settings that were typed, which are the parent's. Runs of trials that a kill has lost
    are closed.
    """

    def __init__(self, plan: Plan, job: Job, tracker: Tracker, sweep: str, fixed: Mapping[str, Any]) -> None:
        self.plan, self.job, self.tracker, self.sweep, self.fixed = plan, job, tracker, sweep, fixed
        self.ending: dict[str, Ticket] = {}  # by key; over, but for their artifacts
        self.looked = 0.0
        shared = {f"sweep.{name}": value for name, value in vars(plan).items() if name not in UNTOLD}
        shared |= flatten(plan.configure(job)) | {"job": job.hash}
        tracker.begin(sweep, plan.name, shared, {"coconut.sweep": plan.name})

    def key(self, ticket: Ticket) -> str:
        return f"{self.sweep}/{ticket.key}"

    def began(self, ticket: Ticket) -> None:
        config = self.plan.configure(self.job, ticket.settings)
        params = {name: value for name, value in flatten(config).items() if name in ticket.settings}
        params = {name: value for name, value in params.items() if name not in self.fixed}
        tags = {"coconut.preset": ticket.preset, "coconut.trial": ticket.name, "coconut.sweep": self.plan.name}
        self.tracker.begin(self.key(ticket), run_name(ticket, config), params, tags, parent=self.sweep)

    def reported(self, ticket: Ticket, row: Row) -> None:
        self.tracker.log(self.key(ticket), grouped(row), int(row["syntheses"]))

    def ended(self, ticket: Ticket, error: str | None) -> None:
        if error:
            self.tracker.end(self.key(ticket), "FAILED", {"coconut.stop": "failed", "coconut.error": error})
            return
        if self.plan.remote:
            worker.rows(self.plan, ticket)  # which fetches them
        self.ending[ticket.key] = ticket
        self._settle()

    def tick(self) -> None:
        if self.ending and time.monotonic() - self.looked > PAUSE:
            self._settle()

    def _settle(self) -> None:
        """End the runs whose artifacts are there now: a trial that was stopped leaves them a moment later."""
        self.looked = time.monotonic()
        for ticket in list(self.ending.values()):
            folder = self.plan.home / ticket.name
            if storage.complete(folder, ticket.key):
                del self.ending[ticket.key]
                stop = json.loads((folder / storage.DONE).read_text(encoding="utf-8"))["stop"]
                self._finish(ticket, folder, "FINISHED", {"coconut.stop": stop}, artifacts.read_rows(folder))

    def _finish(self, ticket: Ticket, folder: Path, status: str, tags: dict[str, str], rows: Sequence[Row]) -> None:
        """The end of a trial's run, with its artifacts and how far its best score can be trusted."""
        key, error = self.key(ticket), jackknife(artifacts.read_left_out(folder).get("voice", ()))
        if rows and error is not None:
            self.tracker.log(key, {"best_score_error": error}, int(rows[-1]["syntheses"]) + ERROR_STEP)
        self.tracker.files(key, folder, [path.name for path in artifacts_in(folder)])
        self.tracker.end(key, status, tags)

    def conclude(self, board: Board, outcomes: Sequence[Outcome], how: str) -> None:
        """What MLflow gets once the trials are over: states and artifacts that it lacks, the scores at the parent."""
        heard = {entry.trial: entry for entry in board.all}
        for outcome in outcomes:
            self._trial(outcome, heard[outcome.ticket.name])
        for lost in self.tracker.children(self.sweep) - {self.key(outcome.ticket) for outcome in outcomes}:
            if not self.tracker.closed(lost):
                tags = {"coconut.stop": "lost when the driver died; tried anew as another run"}
                self.tracker.end(lost, "KILLED", tags)
        self._parent(board, how)

    def close(self, board: Board, folder: Path, how: str) -> None:
        """The end of the parent, with the best voice and whatever pages there are."""
        if board.best:
            self.tracker.files(self.sweep, folder / "best", under="best")
        self.tracker.files(self.sweep, folder, PAGES)
        self.tracker.note(self.sweep, markdown(board))
        stopped = "KILLED" if how in ("interrupted", "budget") else "FAILED"
        self.tracker.end(self.sweep, "FINISHED" if how == "complete" and board.finished else stopped)

    def _trial(self, outcome: Outcome, entry: Entry) -> None:
        ticket, rows = outcome.ticket, outcome.rows
        key = self.key(ticket)
        if not self.tracker.closed(key):
            self.began(ticket)
            for row in rows:
                self.reported(ticket, row)
            tags = {"coconut.stop": outcome.stop or outcome.status}
            tags |= {"coconut.error": outcome.error} if outcome.error else {}
            self._finish(ticket, outcome.folder, STATUS[outcome.status], tags, rows)
        if entry.test_score is not None and rows:
            heard = known({"test_score": entry.test_score, "test_score_error": entry.test_error})
            self.tracker.log(key, heard, int(rows[-1]["syntheses"]) + TEST_STEP)

    def _parent(self, board: Board, how: str) -> None:
        """What came of the sweep, at a step that counts its finished trials, and the best of the first ones before."""
        best = 0.0
        entries = [e for e in sorted(board.entries, key=lambda e: e.trial) if e.status == "finished" and e.best_score]
        rows = []
        for entry in entries:
            assert entry.best_score is not None
            best = max(best, entry.best_score)
            rows.append({"score": entry.best_score, "best_score": best})
        if not rows or board.best is None or board.best.best_score is None:
            return
        rows[-1] |= {"best_score": board.best.best_score, "gain": board.best.best_score - board.nearest.score}
        rows[-1] |= {"nearest_score": board.nearest.score}
        if board.best.test_score is not None and board.nearest_test is not None:
            rows[-1] |= {"test_score": board.best.test_score, "nearest_test_score": board.nearest_test}
        rows[-1] |= known(errors(board, board.best))
        if board.repeated:
            first = board.repeated[0]
            rows[-1] |= known({"repeated_gain": first.mean, "repeated_gain_error": first.error})
        rows[-1] |= {f"cost/{name}": value for name, value in board.ledger().items()}
        for step, row in enumerate(rows, 1):
            if how == "complete" or step == len(rows):
                self.tracker.log(self.sweep, row, step)


def errors(board: Board, best: Entry) -> dict[str, float | None]:
    """The standard errors of the parent's scores, None where one is not known."""
    heard = best.test_score is not None and board.nearest_test is not None
    found = {
        "best_score_error": best.best_error,
        "nearest_score_error": board.nearest_error,
        "gain_error": best.gain_error,
    }
    tests = {"test_score_error": best.test_error, "nearest_test_score_error": board.nearest_test_error}
    return found | (tests if heard else {})


def known(values: Mapping[str, float | None]) -> dict[str, float]:
    """Without what is None."""
    return {name: value for name, value in values.items() if value is not None}


def run_name(ticket: Ticket, config: FitConfig) -> str:
    """Which trial and what it is, such as `005 snes pca s.37 p20`."""
    said = [f"{ticket.number:03d}", ticket.preset, config.es.kind, config.space.kind]
    if not strategy.KINDS[config.es.kind].needs_gradient:
        said += [f"s{config.es.sigma:.2g}".replace("s0.", "s."), f"p{config.es.candidates}"]
    return " ".join(word for word in said if word)


def grouped(row: Row) -> dict[str, float]:
    """A generation's numbers by group: score, best_score, `score/...`, `loss/...`, `search/...`, `cost/...`."""
    shown = {name: value for name, value in row.items() if name not in LEFT_OUT and not name.endswith(".best")}
    return {GROUPS.get(name, name.replace(".", "/", 1)): value for name, value in shown.items()}


def artifacts_in(folder: Path) -> list[Path]:
    """The files of a trial that are worth keeping elsewhere."""
    return sorted(path for pattern in ARTIFACTS for path in folder.glob(pattern) if path.name != "params.json")
