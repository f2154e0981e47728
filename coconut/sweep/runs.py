"""A sweep as MLflow runs: one for the sweep, and nested in it one for each trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coconut.config import flatten
from coconut.job import Job
from coconut.sweep.board import Board, markdown
from coconut.sweep.plan import Outcome, Plan, Row, Ticket
from coconut.sweep.tracking import Tracker

STATUS = {"finished": "FINISHED", "failed": "FAILED", "unfinished": "KILLED"}
PAGES = ["leaderboard.json", "leaderboard.csv", "report.html"]
ARTIFACTS = ("*.pt", "*.wav", "*.png", "*.json", "*.jsonl")  # of a trial


class Runs:
    """Tune's events as MLflow's. Runs of trials that a kill has lost are closed."""

    def __init__(self, plan: Plan, job: Job, tracker: Tracker, sweep: str) -> None:
        self.plan, self.job, self.tracker, self.sweep = plan, job, tracker, sweep
        shared = {f"sweep.{name}": value for name, value in vars(plan).items() if name != "settings"}
        shared |= flatten(plan.configure(job)) | {"job": job.hash}
        tracker.begin(sweep, plan.name, shared, {"coconut.sweep": plan.name})

    def key(self, ticket: Ticket) -> str:
        return f"{self.sweep}/{ticket.key}"

    def began(self, ticket: Ticket) -> None:
        params = flatten(self.plan.configure(self.job, ticket.settings))
        tags = {"coconut.preset": ticket.preset, "coconut.trial": ticket.name, "coconut.sweep": self.plan.name}
        self.tracker.begin(self.key(ticket), ticket.name, params, tags, parent=self.sweep)

    def reported(self, ticket: Ticket, row: Row) -> None:
        self.tracker.log(self.key(ticket), row)

    def ended(self, ticket: Ticket, error: str | None) -> None:
        pass  # with its artifacts, once the sweep knows what became of it

    def tick(self) -> None:
        pass

    def conclude(self, board: Board, outcomes: Sequence[Outcome], folder: Path, how: str) -> None:
        """What MLflow gets once the trials are over: artifacts, states, and the leaderboard at the parent."""
        heard = {entry.trial: entry.test_score for entry in board.entries}
        for outcome in outcomes:
            self._trial(outcome, heard.get(outcome.ticket.name))
        for lost in self.tracker.children(self.sweep) - {self.key(outcome.ticket) for outcome in outcomes}:
            self.tracker.end(lost, "KILLED", {"coconut.stop": "lost when the driver died; tried anew as another run"})
        self._parent(board)
        if board.best:
            self.tracker.files(self.sweep, folder / "best", under="best")
        self.tracker.files(self.sweep, folder, PAGES)
        self.tracker.note(self.sweep, markdown(board))
        self.tracker.end(self.sweep, "KILLED" if how == "interrupted" else "FINISHED")

    def _trial(self, outcome: Outcome, test_score: float | None) -> None:
        key = self.key(outcome.ticket)
        last = int(outcome.rows[-1]["generation"]) if outcome.rows else 0
        if not self.tracker.closed(key):
            self.began(outcome.ticket)
            for row in outcome.rows:
                self.tracker.log(key, row)
            self.tracker.files(key, outcome.folder, [path.name for path in artifacts_in(outcome.folder)])
            tags = {"coconut.stop": outcome.stop or outcome.status}
            tags |= {"coconut.error": outcome.error} if outcome.error else {}
            self.tracker.end(key, STATUS[outcome.status], tags)
        if test_score is not None:
            self.tracker.log(key, {"test_score": test_score}, last + 1)

    def _parent(self, board: Board) -> None:
        """The best score so far over the syntheses of the trials in their order, and what came of the sweep."""
        spent, best = 0.0, 0.0
        for entry in sorted(board.entries, key=lambda entry: entry.trial):
            if entry.best_score is None:
                continue
            spent, best = spent + entry.last["syntheses"], max(best, entry.best_score)
            self.tracker.log(self.sweep, {"sweep.best_score": best, "sweep.trial_score": entry.best_score}, int(spent))
        if board.best is None or board.best.best_score is None:
            return
        result = {"best_score": board.best.best_score, "gain": board.best.best_score - board.nearest.score}
        result |= {"nearest_score": board.nearest.score}
        if board.best.test_score is not None and board.nearest_test is not None:
            result |= {"test_score": board.best.test_score, "nearest_test_score": board.nearest_test}
        result |= {f"sweep.{name}": value for name, value in board.ledger().items()}
        self.tracker.log(self.sweep, result, int(spent) + 1)


def artifacts_in(folder: Path) -> list[Path]:
    """The files of a trial that are worth keeping elsewhere."""
    return sorted(path for pattern in ARTIFACTS for path in folder.glob(pattern) if path.name != "params.json")
