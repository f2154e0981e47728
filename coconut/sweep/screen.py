"""The live table of a sweep in the terminal."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from coconut.config import FitConfig
from coconut.fit import progress
from coconut.job import Job
from coconut.sweep.board import described
from coconut.sweep.plan import Plan, Row, Ticket

RECENT = 6  # ended trials that the live table still shows
PER_SECOND = 2  # live tables
THIRDS = 3  # of a trial's budget: how often it is heard of without a live table


@dataclass
class Seen:
    """A trial as the terminal shows it."""

    ticket: Ticket
    row: Row
    state: str = "running"


class Screen:
    """A live table on a terminal; elsewhere a line at each third of a trial and at its end."""

    def __init__(self, plan: Plan, job: Job, console: Console) -> None:
        self.plan, self.job, self.base, self.console = plan, job, plan.configure(job), console
        self.seen: dict[str, Seen] = {}
        self.began_at = time.monotonic()
        self.gone = 0.0  # shares of trials that went by in this process
        self.drawn = -math.inf
        live = Live(console=console, refresh_per_second=PER_SECOND, transient=True, redirect_stdout=False)
        self.live = live if console.is_terminal else None

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
        seen = self.seen.setdefault(ticket.key, Seen(ticket, {}))
        before, now = (progress(r, self.base) if r else 0.0 for r in (seen.row, row))
        seen.row = row
        self.gone += now - before
        if not self.live and int(THIRDS * now) > int(THIRDS * before):
            self.console.print(f"{_name(ticket)}: {_progress(row, self.base)}", highlight=False)

    def ended(self, ticket: Ticket, error: str | None) -> None:
        seen = self.seen.setdefault(ticket.key, Seen(ticket, {}))
        seen.state = "failed" if error else "ended"
        if not self.live:
            line = error or f"ended, {_progress(seen.row, self.base)}"
            self.console.print(f"{_name(ticket)}: {line}", highlight=False)

    def tick(self) -> None:
        """Draw the table anew, unless that was just done: of many trials it takes a while."""
        if self.live and time.monotonic() - self.drawn > 1 / PER_SECOND:
            self.drawn = time.monotonic()
            self.live.update(self._table())

    def _what(self, ticket: Ticket) -> str:
        return described(self.plan.configure(self.job, ticket.settings))

    def _table(self) -> Table:
        done = [seen for seen in self.seen.values() if seen.state != "running"]
        running = [seen for seen in self.seen.values() if seen.state == "running"]
        best = max((seen.row.get("best_score", 0.0) for seen in self.seen.values()), default=0.0)
        title = (
            f"{self.plan.name}: {len(done)} of {self.plan.total} trials done, best {best:.2f}, {self._eta(len(done))}"
        )
        table = Table(title=title, title_justify="left", box=None)
        for column in ("trial", "settings", "syntheses", "score", "best", "at generation"):
            table.add_column(column, justify="left" if column in ("trial", "settings") else "right")
        for seen in done[-RECENT:] + running:
            row, style = seen.row, "" if seen.state == "running" else "dim"
            cells = (f"{row[n]:{f}}" if n in row else "-" for n, f in _SHOWN)
            table.add_row(_name(seen.ticket), self._what(seen.ticket), *cells, style=style)
        return table

    def _eta(self, done: int) -> str:
        """From the pace of syntheses so far; trials that end early make it shorter."""
        seconds = time.monotonic() - self.began_at
        if not self.gone:
            return "starting"
        running = sum(progress(s.row, self.base) for s in self.seen.values() if s.row and s.state == "running")
        ahead = max(0.0, self.plan.total - done - running)
        return f"{seconds:.0f} s gone, at most {ahead * seconds / self.gone:.0f} s to go"


_SHOWN = (("syntheses", ".0f"), ("score", ".2f"), ("best_score", ".2f"), ("best_generation", ".0f"))


def _name(ticket: Ticket) -> str:
    return f"{ticket.name} ({ticket.preset})" if ticket.preset else ticket.name


def _progress(row: Row, base: FitConfig) -> str:
    if "best_score" not in row:
        return "nothing scored yet"
    best = f"best {row['best_score']:.2f} at generation {row['best_generation']:.0f}"
    return f"{row['syntheses']:,.0f} of {base.budget:,} syntheses, {best}"
