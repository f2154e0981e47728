"""What early stops saved of a sweep, what they may have cost, and the trials that went past their peak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coconut.score import WEIGHTS
from coconut.sweep.board import GUARD, Board, Entry, Row
from coconut.sweep.ended import ASHA


@dataclass(frozen=True)
class Fall:
    """A trial past its peak: `fell` points of score from `peak`, whose part `first` went first (None: none did).

    `points` are (syntheses, score) of its scored generations, `at` the index of the peak among them.
    """

    entry: Entry
    points: list[tuple[float, float]]
    at: int
    first: str | None

    @property
    def peak(self) -> float:
        return self.points[self.at][1]

    @property
    def fell(self) -> float:
        return self.peak - self.points[-1][1]


def falls(entries: Sequence[Entry]) -> list[Fall]:
    """The trials whose last score lies below their peak by more than their own `stop.drop`, the deepest fall first."""
    found = [_fall(entry) for entry in entries if entry.scored]
    return sorted((f for f in found if f.fell > f.entry.config.stop.drop), key=lambda fall: -fall.fell)


def _fall(entry: Entry) -> Fall:
    rows = entry.scored
    at = max(range(len(rows)), key=lambda index: rows[index]["score"])
    points = [(row["syntheses"], row["score"]) for row in rows]
    return Fall(entry, points, at, _first(rows[at], rows[at + 1 :], entry.config.stop.drop))


def _first(peak: Row, after: Sequence[Row], drop: float) -> str | None:
    """The part of the score that alone cost more than `drop` points first after the peak.

    The score is a product of powers: a part that falls to p times its value costs score * (1 - p ** weight).
    """
    for row in after:
        costs = {
            name: peak["score"] * (1 - (row[f"score.{name}"] / peak[f"score.{name}"]) ** weight)
            for name, weight in WEIGHTS.items()
            if peak.get(f"score.{name}") and f"score.{name}" in row
        }
        worst = max(costs, key=lambda name: costs[name], default=None)
        if worst and costs[worst] > drop:
            return worst
    return None


def risks(board: Board) -> list[str]:
    """What the early stops of a sweep may have cost, in sentences."""
    return [said for said in (_asha_risk(board), _guard_risk(board)) if said]


def _asha_risk(board: Board) -> str:
    """Which stopped trials lag behind the best by no more than some trial that went on gained from there."""
    stopped, best = board.stopped(ASHA), board.best
    if not stopped or not best or best.best_score is None:
        return ""
    whole = [entry for entry in board.entries if entry.status == "finished" and entry.stop != ASHA]
    close = []
    for entry in stopped:
        spent = entry.last["syntheses"]
        ahead = [_gain_after(other, spent) for other in whole if other.scored and other.last["syntheses"] > spent]
        if ahead and entry.best_score is not None and entry.best_score + max(ahead) > best.best_score:
            close.append(entry.trial)
    said = f"ASHA stopped {len(stopped)} trial{'s' if len(stopped) > 1 else ''}"
    if not close:
        return f"{said}: none was so near that what any other trial gained from there on would have made it the best."
    return f"{said}; what the luckiest other trial gained from there on would have made the best of {', '.join(close)}."


def _gain_after(entry: Entry, spent: float) -> float:
    """What a trial's best score rose by once it had spent so much."""
    before = [row["score"] for row in entry.scored if row["syntheses"] <= spent]
    after = [row["score"] for row in entry.scored]
    return max(after) - max(before, default=max(after))


def _guard_risk(board: Board) -> str:
    """How often a trial that had been below its peak for half its patience rose above it after all."""
    stopped = board.stopped(*GUARD)
    if not stopped:
        return ""
    spells = [spell for entry in board.entries for spell in _spells(entry)]
    rose = [gain for gain in spells if gain > 0]
    said = f"The guard stopped {len(stopped)} trial{'s' if len(stopped) > 1 else ''}"
    most = f", by {max(rose):.2f} points at most" if rose else ""
    if not spells:
        return f"{said}. No trial went half its patience without a new best."
    return (
        f"{said}. Of {len(spells)} times that a trial went half its patience without a new best, "
        f"{len(rose)} ended in one{most}."
    )


def _spells(entry: Entry) -> list[float]:
    """For each spell of half the patience without a new best, the gain of the next one, 0 where none came."""
    config, found, since = entry.config.stop, list[float](), 0
    best: float | None = None
    for row in entry.scored:
        if best is not None and row["score"] < best + config.min_delta:
            since += 1
            continue
        if best is not None and since >= max(2, config.patience // 2):
            found.append(row["score"] - best)
        best, since = row["score"], 0
    return [*found, 0.0] if since >= max(2, config.patience // 2) else found
