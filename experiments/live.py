"""What watches a sweep while it runs: a table in the terminal, and MLflow."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from coconut.config import flatten
from coconut.tracking import Tracker
from coconut.tune import Plan, Row, Ticket, configure

RECENT = 6  # ended trials that the live table still shows


@dataclass
class Seen:
    """A trial as the terminal shows it."""

    ticket: Ticket
    row: Row
    state: str = "running"


class Screen:
    """A live table on a terminal; elsewhere a line at each third of a trial and at its end."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self.plan, self.console = plan, console
        self.seen: dict[str, Seen] = {}
        self.began_at = time.monotonic()
        self.steps = 0  # generations seen by this process, of all trials
        self.live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None

    def __enter__(self) -> Screen:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live:
            self.live.stop()

    def began(self, ticket: Ticket) -> None:
        before = self.seen.get(ticket.key)
        self.seen[ticket.key] = Seen(ticket, before.row if before else {})
        if not self.live and not before:
            self.console.print(f"{_name(ticket)}: {self._what(ticket)}", highlight=False)

    def reported(self, ticket: Ticket, row: Row) -> None:
        self.seen.setdefault(ticket.key, Seen(ticket, {})).row = row
        self.steps += 1
        generation = round(row["generation"])
        if not self.live and generation and generation % max(1, self.plan.base.generations // 3) == 0:
            self.console.print(f"{_name(ticket)}: {_progress(row, self.plan)}", highlight=False)

    def ended(self, ticket: Ticket, error: str | None) -> None:
        seen = self.seen.setdefault(ticket.key, Seen(ticket, {}))
        seen.state = "failed" if error else "ended"
        if not self.live:
            line = error or f"ended, {_progress(seen.row, self.plan)}"
            self.console.print(f"{_name(ticket)}: {line}", highlight=False)

    def tick(self) -> None:
        if self.live:
            self.live.update(self._table())

    def _what(self, ticket: Ticket) -> str:
        config = configure(self.plan, ticket.settings)
        return f"{config.es.kind} sigma {config.es.sigma:.3g} popsize {config.es.popsize}, {config.space.kind}"

    def _table(self) -> Table:
        done = [seen for seen in self.seen.values() if seen.state != "running"]
        running = [seen for seen in self.seen.values() if seen.state == "running"]
        best = max((seen.row.get("best_score", 0.0) for seen in self.seen.values()), default=0.0)
        title = (
            f"{self.plan.name}: {len(done)} of {self.plan.trials} trials done, best {best:.2f}, {self._eta(len(done))}"
        )
        table = Table(title=title, title_justify="left", box=None)
        for column in ("trial", "settings", "generation", "score", "best", "at"):
            table.add_column(column, justify="left" if column in ("trial", "settings") else "right")
        for seen in done[-RECENT:] + running:
            row, style = seen.row, "" if seen.state == "running" else "dim"
            cells = (f"{row[n]:{f}}" if n in row else "-" for n, f in _SHOWN)
            table.add_row(_name(seen.ticket), self._what(seen.ticket), *cells, style=style)
        return table

    def _eta(self, done: int) -> str:
        """From the pace of generations so far; trials that end early make it shorter."""
        seconds = time.monotonic() - self.began_at
        if not self.steps:
            return "starting"
        open_trials = [seen.row.get("generation", 0.0) for seen in self.seen.values() if seen.state == "running"]
        ahead = (self.plan.trials - done) * self.plan.base.generations - sum(open_trials)
        return f"{seconds:.0f} s gone, at most {ahead * seconds / self.steps:.0f} s to go"


_SHOWN = (("generation", ".0f"), ("score", ".2f"), ("best_score", ".2f"), ("best_generation", ".0f"))


def _name(ticket: Ticket) -> str:
    return f"{ticket.name} ({ticket.preset})" if ticket.preset else ticket.name


def _progress(row: Row, plan: Plan) -> str:
    if "best_score" not in row:
        return "nothing scored yet"
    best = f"best {row['best_score']:.2f} at {row['best_generation']:.0f}"
    return f"generation {row['generation']:.0f} of {plan.base.generations}, {best}"


class Runs:
    """Tune's events as MLflow runs, nested in the sweep's. Runs of trials lost to a kill are closed."""

    def __init__(self, plan: Plan, tracker: Tracker, sweep: str) -> None:
        self.plan, self.tracker, self.sweep = plan, tracker, sweep
        self.best, self.ends = 0.0, 0

    def key(self, ticket: Ticket) -> str:
        return f"{self.sweep}/{ticket.key}"

    def began(self, ticket: Ticket) -> None:
        params = flatten(configure(self.plan, ticket.settings))
        tags = {"coconut.preset": ticket.preset, "coconut.trial": ticket.name, "coconut.sweep": self.plan.name}
        self.tracker.begin(self.key(ticket), ticket.name, params, tags, parent=self.sweep)

    def reported(self, ticket: Ticket, row: Row) -> None:
        self.tracker.log(self.key(ticket), row)

    def ended(self, ticket: Ticket, error: str | None) -> None:
        pass  # with its artifacts, once the sweep knows what became of it

    def tick(self) -> None:
        pass
