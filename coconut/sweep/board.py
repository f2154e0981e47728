"""The leaderboard of a sweep, and what the sweep cost.

Entries come from trials' outcomes; nothing here knows Ray or MLflow. A trial that was stopped
early is not a bad one: it is ranked by its best held-out score like any other. Beside it stands
the test score of the first few, on sentences that chose nothing: where it does not follow the
held-out score, the search has overfitted to its judge. Both scores have a standard error over their
utterances, and so has every lead of one voice over another (errors.py). Repeats of trials (repeat.py)
are of other sentences, and stand after the ranking; where there are any, the trials that were repeated
lead it, in the order of their repeats' means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from coconut import artifacts, strategy
from coconut.config import FitConfig
from coconut.job import Nearest
from coconut.sweep.errors import gap, jackknife, verdicts
from coconut.sweep.lastwords import cell
from coconut.sweep.repeat import Repeated, rank

Row = dict[str, Any]
GUARD = ("patience", "overcooked")  # what ends a trial by itself before its budget
COLUMNS = (
    "rank", "trial", "preset", "kind", "space", "sigma", "popsize", "best_score", "best_error", "gain", "gain_error",
    "test_score", "test_error", "best_generation", "best_syntheses", "generations", "stop", "syntheses",
    "audio_seconds", "seconds", "repeat_of", "error",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One trial: its settings and what they came to. `best_score` is None when it never scored.

    `test_score` is None where the test was not heard: only the first of a ranking are. `test_left_out` are the
    test scores with each utterance in turn left out. A repeat is `of` a trial, with the seed `draw`; `nearest` is the
    nearest stock voice on its own held-out sentences, None for the sweep's.
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
    test_left_out: Sequence[float] = ()
    nearest: Nearest | None = None
    of: str = ""
    draw: int | None = None

    @property
    def words(self) -> str:
        """Which trial and what it is, such as `005 snes pca sigma .37 popsize 20`."""
        said = (self.trial.removeprefix("trial_"), self.preset, described(self.config))
        return " ".join(word for word in said if word)

    @cached_property
    def left_out(self) -> dict[str, list[float]]:
        """Held-out scores of "voice" and "nearest" with each utterance in turn left out; empty without a voice."""
        return artifacts.read_left_out(self.folder) if self.voice else {}

    @property
    def best_error(self) -> float | None:
        return jackknife(self.left_out.get("voice", ()))

    @property
    def test_error(self) -> float | None:
        return jackknife(self.test_left_out)

    @property
    def gain_error(self) -> float | None:
        """Of the lead over the nearest stock voice, on the same utterances."""
        lead = gap(0.0, 0.0, self.left_out.get("voice", ()), self.left_out.get("nearest", ()))
        return lead.error if lead else None

    @property
    def scored(self) -> list[Row]:
        """The generations whose mean was scored."""
        return [row for row in self.rows if "score" in row]

    @property
    def last(self) -> Row:
        return self.rows[-1] if self.rows else {}

    @property
    def best_score(self) -> float | None:
        return self.last.get("best_score")

    @property
    def own_gain(self) -> float | None:
        """Of a repeat that scored, the lead over the nearest stock voice of its draw."""
        scored = rankable(self) and self.nearest is not None
        return self.last["best_score"] - self.nearest.score if scored and self.nearest else None

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
        """One line of the leaderboard, by COLUMNS; `nearest` is that of the sweep."""
        score, last = self.best_score, self.last
        nearest = self.nearest or nearest
        return {
            "rank": rank,
            "trial": self.trial,
            "preset": self.preset,
            "kind": self.config.es.kind,
            "space": self.config.space.kind,
            "sigma": None if strategy.KINDS[self.config.es.kind].needs_gradient else self.config.es.sigma,
            "popsize": self.config.es.candidates,
            "best_score": score,
            "best_error": self.best_error,
            "gain": None if score is None else score - nearest.score,
            "gain_error": self.gain_error,
            "test_score": self.test_score,
            "test_error": self.test_error,
            "best_generation": last.get("best_generation"),
            "best_syntheses": self.best_syntheses,
            "generations": last.get("generation"),
            "stop": self.stop or self.status,
            "syntheses": last.get("syntheses"),
            "audio_seconds": last.get("audio_seconds"),
            "seconds": last.get("seconds"),
            "repeat_of": self.of,
            "error": self.error,
        }


@dataclass(frozen=True)
class Board:
    """A ranked sweep. `asked`: trials in all; `repeats` are no part of the ranking, `repeats_asked` were to run;
    `history`: what was asked of the sweep since it began, a sentence each.
    """

    name: str
    entries: list[Entry]
    nearest: Nearest
    asked: int
    wall_seconds: float
    nearest_test: float | None = None  # the nearest stock voice's test score
    tested: int = 0  # sentences of the test; 0: recordings were too few for one
    nearest_left_out: Sequence[float] = ()  # the nearest stock voice's test scores with each utterance left out
    sentences: Sequence[str] = ()  # texts of the held-out utterances
    repeats: Sequence[Entry] = ()
    repeats_asked: int = 0
    history: Sequence[str] = ()

    @cached_property
    def repeated(self) -> list[Repeated]:
        """The trials that were repeated, by their repeats' mean."""
        return rank(self.entries, self.repeats, self.repeats_asked)

    @property
    def all(self) -> list[Entry]:
        """All trials, repeats last."""
        return [*self.entries, *self.repeats]

    @property
    def best(self) -> Entry | None:
        """The first of the ranking that has a voice to show."""
        return next((entry for entry in self.entries if entry.voice), None)

    @property
    def nearest_error(self) -> float | None:
        """Of the nearest stock voice's held-out score."""
        return jackknife(self.best.left_out.get("nearest", ())) if self.best else None

    @property
    def nearest_test_error(self) -> float | None:
        return jackknife(self.nearest_left_out)

    @property
    def second(self) -> Entry | None:
        """The first after the best that has a voice."""
        return next((entry for entry in self.entries if entry.voice and entry is not self.best), None)

    @property
    def finished(self) -> int:
        return sum(entry.status == "finished" for entry in self.all)

    def records(self) -> list[dict[str, Any]]:
        ranks = iter(range(1, len(self.entries) + 1))
        return [entry.record(next(ranks) if rankable(entry) else None, self.nearest) for entry in self.entries]

    def summary(self) -> dict[str, Any]:
        """All that is said of a sweep but its curves, in plain data: the content of leaderboard.json."""
        best = self.best
        nearest = {"test_score": self.nearest_test, "test_error": self.nearest_test_error}
        nearest |= {"error": self.nearest_error}
        return {
            "name": self.name,
            "trials_asked": self.asked,
            "trials_finished": self.finished,
            "nearest": asdict(self.nearest) | nearest,
            "tested": self.tested,
            "best": best.trial if best else None,
            "verdicts": verdicts(self),
            "history": list(self.history),
            "repeated": [one.record() for one in self.repeated],
            "ledger": self.ledger(),
            "leaderboard": [*self.records(), *(entry.record(None, self.nearest) for entry in self.repeats)],
        }

    def stopped(self, *reasons: str) -> list[Entry]:
        """Finished trials that ended for one of these reasons."""
        return [entry for entry in self.all if entry.status == "finished" and entry.rows and entry.stop in reasons]

    def ledger(self) -> dict[str, float]:
        """What the sweep cost, and what early stops, by ASHA and by the trials' own guard, saved of its budget."""
        spent = {name: sum(e.last.get(name, 0.0) for e in self.all) for name in ("syntheses", "audio_seconds")}
        asha, guard = _unspent(self.stopped("asha")), _unspent(self.stopped(*GUARD))
        trial_seconds = sum(entry.last.get("seconds", 0.0) for entry in self.all)
        return {
            **spent,
            "trial_seconds": trial_seconds,
            "seconds": self.wall_seconds,
            "syntheses_saved": asha + guard,
            "syntheses_saved_by_asha": asha,
            "syntheses_saved_by_guard": guard,
        }


def _unspent(entries: Sequence[Entry]) -> float:
    return sum(max(0.0, (entry.config.budget or 0) - entry.last["syntheses"]) for entry in entries)


def _short(value: float) -> str:
    """Two digits, without a leading nought."""
    return f"{value:.2g}".removeprefix("0") if value else "0"


def rankable(entry: Entry) -> bool:
    return entry.best_score is not None and entry.status != "failed"


def ranked(entries: Sequence[Entry], repeats: Sequence[Entry] = (), asked: int = 0) -> list[Entry]:
    """By best held-out score; of equals the one that synthesised less, then the earlier one. Failed ones come last.

    First of all those that were repeated, by their repeats' mean, once all of the `asked` repeats have run.
    """
    first = {one.entry.trial: place for place, one in enumerate(rank(entries, repeats, asked))}

    def order(entry: Entry) -> tuple[int, bool, float, float, str]:
        place, score = first.get(entry.trial, len(first)), entry.best_score or 0.0
        return place, not rankable(entry), -score, entry.last.get("audio_seconds", 0.0), entry.trial

    return sorted(entries, key=order)


def described(config: FitConfig) -> str:
    """The settings that tell a trial from others at a glance, such as `snes pca sigma .37 popsize 20`."""
    es = config.es
    if strategy.KINDS[es.kind].needs_gradient:
        return f"{es.kind} {config.space.kind} learning rate {_short(es.learning_rate)}"
    return f"{es.kind} {config.space.kind} sigma {_short(es.sigma)} popsize {es.candidates}"


def markdown(board: Board) -> str:
    """The top of the leaderboard, for a note."""
    lines = [f"{board.finished} of {board.asked} trials finished; nearest stock voice {board.nearest.name} "]
    lines[0] += f"({board.nearest.score:.2f}).\n"
    lines += [f"{said}\n" for said in (*board.history, *verdicts(board))]
    lines += ["| rank | trial | kind | space | best | gain | test | stop |", "|---|---|---|---|---|---|---|---|"]
    for r in board.records()[:10]:
        held, gain = cell(r["best_score"], ".2f", r["best_error"]), cell(r["gain"], "+.2f", r["gain_error"])
        numbers = f"{held} | {gain} | {cell(r['test_score'], '.2f', r['test_error'])}"
        lines.append(f"| {r['rank'] or '-'} | {r['trial']} | {r['kind']} | {r['space']} | {numbers} | {r['stop']} |")
    return "\n".join(lines)
