"""The leaderboard of a sweep, and what the sweep cost.

Entries come from trials' outcomes; nothing here knows Ray or MLflow. A trial that was stopped
early is not a bad one: it is ranked by its best held-out score like any other. Beside it stands
the test score of the first few, on sentences that chose nothing: where it does not follow the
held-out score, the search has overfitted to its judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from coconut.config import FitConfig
from coconut.job import Nearest

Row = dict[str, Any]
EARLY = ("patience", "overcooked", "asha")  # what ends a trial before its budget
COLUMNS = (
    "rank", "trial", "preset", "kind", "space", "sigma", "popsize", "best_score", "gain", "test_score",
    "best_generation", "best_syntheses", "generations", "stop", "syntheses", "audio_seconds", "seconds", "error",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One trial: its settings and what they came to. `best_score` is None when it never scored.

    `test_score` is None where the test was not heard: only the first of a ranking are.
    """

    trial: str
    preset: str
    config: FitConfig
    folder: Path
    status: str
    stop: str
    rows: list[Row] = field(repr=False)
    error: str | None = None
    test_score: float | None = None

    @property
    def last(self) -> Row:
        return self.rows[-1] if self.rows else {}

    @property
    def best_score(self) -> float | None:
        return self.last.get("best_score")

    @property
    def best_syntheses(self) -> float | None:
        """What had been spent when the kept voice was found."""
        at = self.last.get("best_generation")
        return next((row["syntheses"] for row in self.rows if row["generation"] == at), None)

    @property
    def voice(self) -> Path | None:
        path = self.folder / "voice.pt"
        return path if path.is_file() and self.status != "failed" else None

    def record(self, rank: int | None, nearest: Nearest) -> dict[str, Any]:
        """One line of the leaderboard, by COLUMNS."""
        score, last = self.best_score, self.last
        return {
            "rank": rank,
            "trial": self.trial,
            "preset": self.preset,
            "kind": self.config.es.kind,
            "space": self.config.space.kind,
            "sigma": self.config.es.sigma,
            "popsize": self.config.es.popsize,
            "best_score": score,
            "gain": None if score is None else score - nearest.score,
            "test_score": self.test_score,
            "best_generation": last.get("best_generation"),
            "best_syntheses": self.best_syntheses,
            "generations": last.get("generation"),
            "stop": self.stop or self.status,
            "syntheses": last.get("syntheses"),
            "audio_seconds": last.get("audio_seconds"),
            "seconds": last.get("seconds"),
            "error": self.error,
        }


@dataclass(frozen=True)
class Board:
    """A ranked sweep."""

    name: str
    entries: list[Entry]
    nearest: Nearest
    asked: int
    wall_seconds: float
    nearest_test: float | None = None  # the nearest stock voice's test score
    tested: int = 0  # sentences of the test; 0: recordings were too few for one

    @property
    def best(self) -> Entry | None:
        """The first of the ranking that has a voice to show."""
        return next((entry for entry in self.entries if entry.voice), None)

    @property
    def finished(self) -> int:
        return sum(entry.status == "finished" for entry in self.entries)

    def records(self) -> list[dict[str, Any]]:
        ranks = iter(range(1, len(self.entries) + 1))
        return [entry.record(next(ranks) if rankable(entry) else None, self.nearest) for entry in self.entries]

    def ledger(self) -> dict[str, float]:
        """What the sweep cost, and what early stops saved of its budget, in syntheses."""
        spent = {name: sum(e.last.get(name, 0.0) for e in self.entries) for name in ("syntheses", "audio_seconds")}
        done = [entry for entry in self.entries if entry.status == "finished" and entry.rows]
        stopped = [entry for entry in done if entry.stop in EARLY]
        saved = sum((entry.config.budget or 0) - entry.last["syntheses"] for entry in stopped)
        trial_seconds = sum(entry.last.get("seconds", 0.0) for entry in self.entries)
        return {
            **spent,
            "trial_seconds": trial_seconds,
            "seconds": self.wall_seconds,
            "syntheses_saved": max(0.0, saved),
        }


def rankable(entry: Entry) -> bool:
    return entry.best_score is not None and entry.status != "failed"


def ranked(entries: Sequence[Entry]) -> list[Entry]:
    """By best held-out score; of equals the one that synthesised less, then the earlier one. Failed ones come last."""

    def order(entry: Entry) -> tuple[bool, float, float, str]:
        score = entry.best_score or 0.0
        return not rankable(entry), -score, entry.last.get("audio_seconds", 0.0), entry.trial

    return sorted(entries, key=order)


def table(board: Board) -> Table:
    """The leaderboard for a terminal."""
    shown = Table(
        title=f"{board.name}: {board.finished} of {board.asked} trials finished",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for name in ("#", "trial", "kind", "space", "sigma", "pop", "best", "gain", "test", "at", "stop", "sec"):
        text = name in ("trial", "kind", "space", "stop")
        shown.add_column(name, justify="left" if text else "right", no_wrap=True)
    for record in board.records():
        trial = record["trial"].removeprefix("trial_") + (f" {record['preset']}" if record["preset"] else "")
        shown.add_row(
            _cell(record["rank"], ".0f"), trial, record["kind"], record["space"], _cell(record["sigma"], ".3g"),
            str(record["popsize"]), _cell(record["best_score"], ".2f"), _cell(record["gain"], "+.2f"),
            _cell(record["test_score"], ".2f"), _cell(record["best_syntheses"], ".0f"), record["stop"],
            _cell(record["seconds"], ".0f"),
        )  # fmt: skip
    return shown


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(round(value, 6) + 0.0, form)


def markdown(board: Board) -> str:
    """The top of the leaderboard, for a note."""
    lines = [f"{board.finished} of {board.asked} trials finished; nearest stock voice {board.nearest.name} "]
    lines[0] += f"({board.nearest.score:.2f}).\n"
    lines += ["| rank | trial | kind | space | best | gain | test | stop |", "|---|---|---|---|---|---|---|---|"]
    for r in board.records()[:10]:
        numbers = f"{_cell(r['best_score'], '.2f')} | {_cell(r['gain'], '+.2f')} | {_cell(r['test_score'], '.2f')}"
        lines.append(f"| {r['rank'] or '-'} | {r['trial']} | {r['kind']} | {r['space']} | {numbers} | {r['stop']} |")
    return "\n".join(lines)
