"""What became of the trials of a sweep, told from what Tune knows of each in plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coconut.sweep.interrupt import Cut
from coconut.sweep.plan import Outcome, Plan, Row, Ticket

ERROR, TERMINATED = "ERROR", "TERMINATED"  # Tune's names for how a trial ends
ASHA = "asha"  # what stopped a trial that did not stop by itself
UNWRITTEN = "It failed, and why could not be written; is the disk full?"


@dataclass(frozen=True)
class Ended:
    """A trial that runs no more. status: Tune's; result: its last report; failures: how often its process died or
    raised; error: the last line of what was raised, None where the process itself was gone.
    """

    ticket: Ticket
    status: str
    result: Row
    failures: int = 0
    error: str | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it. An interrupt leaves TERMINATED trials that were not done."""
        return self.status == ERROR or (self.status == TERMINATED and bool(self.result.get("done")))

    @property
    def why(self) -> str | None:
        """One line about why it failed, or None."""
        if refused := self.result.get("refused"):
            return str(refused)
        if self.status != ERROR:
            return None
        if said := self.result.get("failing") or self.error:
            return str(said)
        return (
            f"Its process died {self.failures} times, most often for want of memory; fewer trials at once "
            "(--concurrent) or a smaller --es.popsize need less."
        )

    def outcome(self, plan: Plan, rows: list[Row]) -> Outcome:
        status = "failed" if self.why else "finished" if self.over else "unfinished"
        stop = (self.result.get("stop") or ASHA) if status == "finished" else ""
        return Outcome(self.ticket, status, stop, self.why, rows, plan.home / self.ticket.name)


def how_it_ended(plan: Plan, trials: Sequence[Ended], cut: Cut) -> str:
    """How a sweep ended: complete, interrupted, budget, or a sentence about what is missing."""
    over = sum(trial.over for trial in trials)
    if over >= plan.total and over == len(trials):
        return "complete"
    if cut.late:
        return "budget"
    if cut.asked:
        return "interrupted"
    return f"The sweep ended after {over} of its {plan.total} trials, and nobody stopped it."
