"""How far a score can be trusted, from its scatter over utterances: the jackknife (Efron and Stein, 1981).

A score is no mean over utterances, so that its error is not that of a mean. It is computed again with each of the
U utterances left out; of two voices heard on the same utterances it is the difference that is computed again, which
does not scatter with what both find hard. Of few utterances an error is itself uncertain: two voices are told
apart where the t interval of U - 1 degrees of freedom leaves 0 out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy import stats

if TYPE_CHECKING:
    from coconut.sweep.board import Board

SURE = 0.95  # of the interval of a difference


@dataclass(frozen=True)
class Gap:
    """How much better one voice scored than another, with the standard error and the voices' number of utterances."""

    value: float
    error: float
    utterances: int

    @property
    def margin(self) -> float:
        """Half the width of the interval of the difference."""
        return self.error * float(stats.t.ppf((1 + SURE) / 2, self.utterances - 1))

    @property
    def clear(self) -> bool:
        """Whether the two voices are told apart."""
        return abs(self.value) > self.margin


def jackknife(left_out: Sequence[float]) -> float | None:
    """The standard error of a score, from its values [U] with each utterance left out; None for fewer than two."""
    count = len(left_out)
    if count < 2:
        return None
    mean = sum(left_out) / count
    return math.sqrt((count - 1) / count * sum((value - mean) ** 2 for value in left_out))


def gap(score: float | None, other: float | None, left_out: Sequence[float], others: Sequence[float]) -> Gap | None:
    """Of two scores on the same utterances; None where one is missing, or was not heard without each utterance."""
    if score is None or other is None or len(left_out) != len(others):
        return None
    error = jackknife([a - b for a, b in zip(left_out, others, strict=True)])
    return None if error is None else Gap(score - other, error, len(left_out))


def verdicts(board: Board) -> list[str]:
    """How sure the best voice's lead over the nearest stock voice and over the second one is, a sentence each.

    By the test where both were heard on it, else by the held-out sentences, which chose the best voice.
    """
    best, second = board.best, board.second
    if not best:
        return []
    held, near = best.left_out.get("voice", ()), f"the nearest stock voice, {board.nearest.name}"
    test = gap(best.test_score, board.nearest_test, best.test_left_out, board.nearest_left_out)
    heldout = gap(best.best_score, board.nearest.score, held, best.left_out.get("nearest", ()))
    said = [_verdict(best.trial, near, test, heldout)]
    if second:
        test = gap(best.test_score, second.test_score, best.test_left_out, second.test_left_out)
        heldout = gap(best.best_score, second.best_score, held, second.left_out.get("voice", ()))
        said.append(_verdict(best.trial, second.trial, test, heldout))
    return [sentence for sentence in said if sentence]


def _verdict(best: str, other: str, test: Gap | None, heldout: Gap | None) -> str:
    lead, split = (test, "test") if test else (heldout, "held-out")
    if lead is None:
        return ""
    measured = f"{lead.value:+.2f} ± {lead.error:.2f} on {lead.utterances} {split} sentences"
    if lead.clear:
        return f"{best} is told apart from {other}: {measured}."
    return f"{best} is not told apart from {other}: {measured}, where ± {lead.margin:.2f} may be chance."
