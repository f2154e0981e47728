"""From a path to pieces: a recording cut at pauses where the path says what was said before and behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from coconut.audio import SAMPLE_RATE
from coconut.cutting.sound import ROW, Floats, Heard, Ints
from coconut.cutting.template import Template
from coconut.cutting.track import Path

SECONDS = ROW / SAMPLE_RATE  # of a row
SHORTEST, LONGEST = 2.0, 12.0  # s of a piece
USUAL = 6.0  # s: nearer to it is better
WORST = 40  # rows, 1 s: a piece is as sure as its worst second
SURE = 0.08


@dataclass(frozen=True)
class Piece:
    """A part of a recording between two pauses, and what is said in it.

    `start` and `seconds` of it; confidence: from 0 to 1, of its worst second; 0 where it holds speech that is not in
    the text, or its text has words that nobody says.
    """

    start: float
    seconds: float
    text: str
    confidence: float


@dataclass(frozen=True)
class Run:
    """Rows between two pauses: its first and last place (rows of the recording), the column and the cost of each."""

    first: int
    last: int
    columns: Ints
    costs: Floats


def pieces(heard: Heard, template: Template, paths: Iterable[Path], longest: float = LONGEST) -> Iterator[Piece]:
    """All of a recording in pieces of SHORTEST to `longest` seconds, where its pauses allow that; else as they come."""
    waiting: list[Run] = []
    before = 0  # column of the row before the first of those that wait
    for run in _runs(heard, paths):
        waiting.append(run)
        while _span(waiting) > longest and len(waiting) > 1:
            count = _best(waiting, template, longest)
            yield _piece(waiting[:count], before, waiting[count], template)
            before = int(waiting[count - 1].columns[-1])
            del waiting[:count]
    if waiting:
        yield _piece(waiting, before, None, template)


def _runs(heard: Heard, paths: Iterable[Path]) -> Iterator[Run]:
    columns, costs, start = np.zeros(0, np.int64), np.zeros(0, np.float32), 0
    for path in paths:
        columns, costs = np.append(columns, path.columns), np.append(costs, path.costs)
        end = start + len(columns)
        edges = [row for row in range(max(start + 1, path.start), end) if heard.pauses[row]]
        edges += [end] if end == len(heard.places) else []
        for edge in edges:
            size = edge - start
            yield Run(int(heard.places[start]), int(heard.places[edge - 1]), columns[:size], costs[:size])
            columns, costs, start = columns[size:], costs[size:], edge


def _span(runs: Sequence[Run]) -> float:
    return (runs[-1].last + 1 - runs[0].first) * SECONDS


def _best(runs: Sequence[Run], template: Template, longest: float) -> int:
    """How many of the first of several runs make the best piece."""
    spans = [_span(runs[:count]) for count in range(1, len(runs))]
    values = [
        _value(runs[k], runs[k + 1], template) - abs(span - USUAL) / USUAL if SHORTEST <= span <= longest else -np.inf
        for k, span in enumerate(spans)
    ]
    return int(np.argmax(values)) + 1


def _value(run: Run, following: Run, template: Template) -> float:
    """Of a cut between two runs: best at the end of a sentence, worst within a word."""
    a, b = int(run.columns[-1]), int(following.columns[0])
    if _split(a, b, template):
        return -3.0
    return float(template.words[template.word[a]].ends) if template.word[a] >= 0 else 2.0


def _piece(runs: Sequence[Run], before: int, following: Run | None, template: Template) -> Piece:
    columns = np.concatenate([run.columns for run in runs])
    costs = np.concatenate([run.costs for run in runs])
    first = _next(before, int(columns[0]), template)
    last = int(template.word[columns[-1]])
    words = template.words[first : last + 1]
    told = " ".join(word.text for word in words)
    start = runs[0].first * SECONDS
    whole = len(words) > 0 and not _split(before, int(columns[0]), template)
    whole = whole and (following is None or not _split(int(columns[-1]), int(following.columns[0]), template))
    whole = whole and bool((np.diff(columns) <= 2).all())
    return Piece(start, _span(runs), told, _confidence(costs, template.filler[columns]) if whole else 0.0)


def _next(a: int, b: int, template: Template) -> int:
    """The word that begins behind a pause, where the path goes from column a to column b over it."""
    if b - a <= 2:
        return int(template.word[a]) + 1
    return int(template.word[b]) + int(template.filler[b])


def _split(a: int, b: int, template: Template) -> bool:
    """Whether a pause lies within a word."""
    return bool(template.word[a] == template.word[b] and not template.filler[a] and not template.filler[b])


def _confidence(costs: Floats, filler: Floats) -> float:
    """Of the worst second: how much nearer the text is than usual text, a filler being no nearer."""
    near = np.where(filler, 0.0, 1.0 - costs)
    size = min(WORST, len(near))
    return float(np.clip(np.convolve(near, np.ones(size) / size, "valid").min(), 0.0, 1.0))
