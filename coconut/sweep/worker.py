"""A trial in a sweep's worker: its reports, its checkpoints, its artifacts in the storage. It knows no Ray."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from coconut import artifacts
from coconut.config import InputError
from coconut.quiet import quiet
from coconut.sweep import storage
from coconut.sweep.ended import ASHA
from coconut.sweep.pace import Pace
from coconut.sweep.plan import METRIC, Plan, Row, Ticket
from coconut.synthesis.memory import keep_within
from coconut.trial import Trial, Wire

log = logging.getLogger(__name__)


class Worker:
    """One trial of the sweep's job, or of the job of a repeat, told to the driver by reports."""

    def __init__(self, plan: Plan, ticket: Ticket, wire: Wire) -> None:
        self.plan, self.ticket, self.written = plan, ticket, False
        self.failure: Exception | None = None
        self._told = 0  # rows of the trial that were reported, in this process
        job = storage.load_job(plan, ticket.draw)
        settings = {**plan.settings, **ticket.settings}
        self.trial = Trial(job, settings, wire)
        self.budget = settings.get("budget", job.config.budget)
        self.pace = Pace(plan.configure(job).budget, first=plan.first_budget)

    def report(self) -> dict[str, Any]:
        """Run until a report is due: the `rows` scored since the one before, and at the last of them the metric, what
        it cost, the budget of the fit, and why it stopped ("": it goes on). One that goes on from a checkpoint first
        tells all its rows: the driver may be another one, with an MLflow that knows none of them.

        Where settings or data cannot be used it tells rows, budget and `refused` alone; where the fit raised an error,
        rows and `failing`, with the error as `failure`: it would again. A trial that is over has left its artifacts.
        """
        rows = [row for row in self.trial.rows[self._told :] if "score" in row]
        earlier = len(rows)
        try:
            while len(rows) == earlier or not (self.trial.ended or self.pace.due(rows[-1])):
                row = self.trial.advance()
                if "score" in row or self.trial.ended:
                    rows.append(row)
            if self.trial.ended:
                self.write()
        except InputError as error:
            return {"rows": rows, "refused": str(error), "budget": self.budget, "done": True}
        except Exception as error:
            self.failure = error
            return {"rows": rows, "failing": _sentence(error)}
        self._told = len(self.trial.rows)
        self.pace.reported(rows[-1])
        clock = {METRIC: rows[-1][METRIC], "syntheses": rows[-1]["syntheses"], "budget": self.budget}
        end = {"stop": self.trial.stop, "done": self.trial.ended, "should_checkpoint": self.trial.due}
        return {**clock, "rows": rows, **end}

    def write(self) -> None:
        """The artifacts of the peak, once. Raises InputError for a rough voice."""
        if self.trial.best is None or self.written:
            return
        ticket, stop = self.ticket, self.trial.stop or ASHA
        record = {**ticket.settings, "number": ticket.number, "preset": ticket.preset, "key": ticket.key, "stop": stop}
        record |= {} if ticket.draw is None else {"draw": ticket.draw}
        with storage.writing(self.plan, ticket.name, record) as folder:
            self.trial.write(folder, stop)
        self.written = True

    def leave(self) -> None:
        """The process is told to go, or to begin another trial."""
        if self.failure:
            return
        try:
            self.write()
        except (InputError, OSError) as error:
            log.warning("%s: %s", self.ticket.name, error)


def finish(plan: Plan, ticket: Ticket, checkpoint: Path, wire: Wire) -> None:
    """Artifacts of a trial that could not write them itself, out of its checkpoint."""
    worker = Worker(plan, ticket, wire)
    worker.trial.load(checkpoint)
    worker.write()


def rows(plan: Plan, ticket: Ticket) -> list[Row] | None:
    """The rows of a trial that has left its artifacts, copied to this machine; None where it has not."""
    folder = plan.home / ticket.name
    if plan.remote:
        storage.fetch(plan, ticket.name, folder)
    return artifacts.read_rows(folder) if storage.complete(folder, ticket.key) else None


def _sentence(error: Exception) -> str:
    """One line: what was raised, and its first line."""
    said = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *said[:1]])


def pin(plan: Plan) -> None:
    """Keep this process within its share: who counts CPUs and GPUs limits neither threads nor memory."""
    quiet()
    torch.set_num_threads(max(1, int(plan.cpus)))
    if 0 < plan.gpus < 1 and torch.cuda.is_available():
        keep_within(plan.gpus)
