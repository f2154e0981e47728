"""Where in the text a recording is: dynamic time warping, row by row, within a window that goes along.

Each row of the recording stays at its column of the text, or goes on by one or two. Behind every clause stands a
filler, where speech may pass that is not in the text, and from which the path may jump over text that nobody says.
The costs of a row are divided by their median over the window, so that all rows count alike, in noise too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coconut.cutting.sound import Floats, Heard, Ints
from coconut.cutting.template import Template
from coconut.waiting import watched

BLOCK = 400  # rows whose costs are computed at once: 10 s
BEHIND, AHEAD = 800, 2000  # columns of the window, on either side of the best one
LAG = 6  # blocks after which the path is settled
SAMPLED = 7  # every so many columns are enough for a median
PASSING = 0.75  # what a filler costs, beside the median; more while the voice is another's, and everything further off
STRANGE = 0.95
STAY, SKIP = 0.2, 0.2  # costs, in rows as far off as the median:
ENTER = 1.0
JUMP = 20.0
LEAP = 0.05  # for each column that is jumped over
IN_CLAUSE = 3.0  # at a pause of the recording
IN_WORD = 8.0
FAR = np.float32(1e9)


@dataclass(frozen=True)
class Path:
    """Settled rows, from `start`: the column of each [K], and how far off it is beside the median of its row [K]."""

    start: int
    columns: Ints
    costs: Floats


@dataclass
class Block:
    """Rows from `start` in a window from column `low`: how far back each state came from [K, W], its cost [K, W]."""

    start: int
    low: int
    back: npt.NDArray[np.int16]
    costs: npt.NDArray[np.float16]

    def before(self, columns: Ints, row: int) -> Ints:
        """The columns of the row before, on the best paths to `columns` of row `row`."""
        known = np.clip(columns - self.low, 0, self.back.shape[1] - 1)
        return columns - self.back[row - self.start, known]


def track(heard: Heard, template: Template, passing: float = PASSING, label: str = "") -> Iterator[Path]:
    """The path through a recording, settled piece by piece, in bounded memory; `label` stands beside its bar."""
    blocks: list[Block] = []
    low, scores = 0, np.zeros(0, np.float32)
    starts = range(0, len(heard.cepstra), BLOCK)
    for start in watched(starts, label) if label else starts:
        best = low + int(scores.argmin()) if len(scores) else 0
        new = max(low, best - BEHIND)
        template.grow(best + AHEAD)
        high = min(len(template), best + AHEAD)
        scores = _moved(scores, low, new, high)
        low = new
        block, scores = _block(heard, template, start, low, scores, passing)
        blocks.append(block)
        if len(blocks) > LAG:
            yield _settled(blocks, low, scores)
            blocks.pop(0)
    while blocks:
        yield _settled(blocks, low, scores)
        blocks.pop(0)


def _moved(scores: Floats, low: int, new: int, high: int) -> Floats:
    """Scores [W] of a window from column `new` to `high`, of those of one from `low`; at first, only 0 is open."""
    out = np.full(high - new, FAR, np.float32)
    if not len(scores):
        out[0] = 0
        return out
    kept = scores[new - low :][: len(out)]
    out[: len(kept)] = kept - scores.min()
    return out


def _block(
    heard: Heard, template: Template, start: int, low: int, scores: Floats, passing: float
) -> tuple[Block, Floats]:
    window = slice(low, low + len(scores))
    costs = _costs(heard.cepstra[start : start + BLOCK], template.features[window], template.filler[window], passing)
    plain, paused = (_steps(template.word[window], template.filler[window], at) for at in (False, True))
    fillers = np.flatnonzero(template.filler[window])
    back = np.zeros(costs.shape, np.int16)
    for k, cost in enumerate(costs):
        stay, one, two = paused if heard.pauses[start + k] else plain
        best = scores + stay
        came = back[k]
        for step, extra in ((1, one), (2, two)):
            other = scores[:-step] + extra
            better = other < best[step:]
            best[step:][better] = other[better]
            came[step:][better] = step
        _jump(scores, best, came, fillers)
        scores = best + cost
    return Block(start, low, back, costs.astype(np.float16)), scores


def _jump(scores: Floats, best: Floats, came: npt.NDArray[np.int16], fillers: Ints) -> None:
    """From each filler to any later one."""
    if len(fillers) < 2:
        return
    here = scores[fillers] - LEAP * fillers
    least = np.minimum.accumulate(here)
    source = np.maximum.accumulate(np.where(here <= least, np.arange(len(here)), 0))[:-1]
    later = fillers[1:]
    landed = here[source] + LEAP * later + JUMP
    better = landed < best[later]
    best[later[better]] = landed[better]
    came[later[better]] = (later - fillers[source])[better]


def _costs(rows: Floats, columns: Floats, filler: npt.NDArray[np.bool_], passing: float = PASSING) -> Floats:
    """[K, W] squared distances beside their median in each row; `passing` for a filler."""
    far = np.square(rows).sum(1)[:, None] + np.square(columns).sum(1)[None] - 2 * rows @ columns.T
    spoken = np.flatnonzero(~filler)[::SAMPLED]
    far /= np.median(far[:, spoken], 1, keepdims=True) if len(spoken) else 1.0
    far[:, filler] = passing
    return far


def _steps(word: Ints, filler: npt.NDArray[np.bool_], paused: bool) -> tuple[Floats, Floats, Floats]:
    """What it costs to stay [W], to come from one column before [W - 1], and from two [W - 2]."""
    stay = np.where(filler, 0, STAY).astype(np.float32)
    one = np.zeros(len(word) - 1, np.float32)
    two = np.full(len(word) - 2, SKIP, np.float32)
    one[filler[1:]] += ENTER
    two[filler[1:-1]] -= SKIP
    two[filler[2:]] += ENTER
    if paused:
        stay[~filler] += IN_WORD
        for step, cost in ((1, one), (2, two)):
            same, clause = word[step:] == word[:-step], np.zeros(len(cost), bool)
            for k in range(step + 1):
                clause |= filler[k : len(filler) - step + k]
            cost[~clause] += np.where(same, IN_WORD, IN_CLAUSE)[~clause]
    return stay, one, two


def _settled(blocks: list[Block], low: int, scores: Floats) -> Path:
    """The path through the first of some blocks. States that did not come by it are closed."""
    best = np.array([low + int(scores.argmin())])
    every = low + np.arange(len(scores))
    for block in reversed(blocks[1:]):
        for row in range(block.start + len(block.back) - 1, block.start - 1, -1):
            best, every = block.before(best, row), block.before(every, row)
    scores[every != best] = FAR
    block = blocks[0]
    columns, costs = [], []
    for row in range(block.start + len(block.back) - 1, block.start - 1, -1):
        columns.append(int(best[0]))
        costs.append(float(block.costs[row - block.start, columns[-1] - block.low]))
        best = block.before(best, row)
    return Path(block.start, np.array(columns[::-1]), np.array(costs[::-1], np.float32))
