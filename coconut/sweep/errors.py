"""How far a score can be trusted, from its scatter over utterances: the jackknife (Efron and Stein, 1981).

A score is no mean over utterances, so that its error is not that of a mean. It is computed again with each of the
U utterances left out; of two voices heard on the same utterances it is the difference that is computed again, which
does not scatter with what both find hard. Of few utterances an error is itself uncertain: two voices are told
apart where the t interval of U - 1 degrees of freedom leaves 0 out. Where trials were repeated (repeat.py), the same is
said of the means over their repeats, which have another seed and other held-out sentences each.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy import stats

if TYPE_CHECKING:
    from coconut.sweep.board import Board, Entry
    from coconut.sweep.repeat import Repeated

SURE = 0.95  # of the interval of a difference
NAMED = 5  # trials that the best one is not told apart from


@dataclass(frozen=True)
class Gap:
    """How much better one voice scored than another, with the standard error and the number of utterances, or of
    repeats, that it comes from.
    """

    value: float
    error: float
    count: int

    @property
    def margin(self) -> float:
        """Half the width of the interval of the difference."""
        return self.error * float(stats.t.ppf((1 + SURE) / 2, self.count - 1))

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


def mean_gap(differences: Sequence[float]) -> Gap | None:
    """Of the mean of paired differences; None for fewer than two."""
    if len(differences) < 2:
        return None
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return Gap(statistics.mean(differences), error, len(differences))


def verdicts(board: Board) -> list[str]:
    """How sure the best voice's lead over the nearest stock voice and over the other ones is, in sentences.

    By the test where both were heard on it, else by the held-out sentences, which chose the best voice. What repeats
    say comes first.
    """
    best, second = board.best, board.second
    if not best:
        return []
    near = f"the nearest stock voice, {board.nearest.name}"
    held, theirs = best.left_out.get("voice", ()), best.left_out.get("nearest", ())
    test = gap(best.test_score, board.nearest_test, best.test_left_out, board.nearest_left_out)
    heldout = gap(best.best_score, board.nearest.score, held, theirs)
    said = [*_of_repeats(board.repeated), _verdict(best.trial, near, test, heldout)]
    if second:
        said.append(_verdict(best.trial, second.trial, *_gaps(best, second)))
        said.append(_others(best, [entry for entry in board.entries if entry not in (best, second)]))
    return [sentence for sentence in said if sentence]


def _gaps(best: Entry, other: Entry) -> tuple[Gap | None, Gap | None]:
    """On the test, and on the held-out sentences."""
    test = gap(best.test_score, other.test_score, best.test_left_out, other.test_left_out)
    voices = best.left_out.get("voice", ()), other.left_out.get("voice", ())
    return test, gap(best.best_score, other.best_score, *voices)


def _verdict(best: str, other: str, test: Gap | None, heldout: Gap | None) -> str:
    lead, split = (test, "test") if test else (heldout, "held-out")
    return _told(best, other, lead, f"on {lead.count} {split} sentences") if lead else ""


def _told(best: str, other: str, lead: Gap, by: str) -> str:
    measured = f"{lead.value:+.2f} ± {lead.error:.2f} {by}"
    if lead.clear:
        return f"{best} is told apart from {other}: {measured}."
    return f"{best} is not told apart from {other}: {measured}, where ± {lead.margin:.2f} may be chance."


def _others(best: Entry, others: Sequence[Entry]) -> str:
    """Whom of those after the second the best one is not told apart from."""
    leads = [(entry.trial, test or heldout) for entry in others for test, heldout in [_gaps(best, entry)]]
    like = [trial for trial, lead in leads if lead and not lead.clear]
    more = f", and {len(like) - NAMED} more" if len(like) > NAMED else ""
    return f"Among the others it is not told apart from {', '.join(like[:NAMED])}{more}." if like else ""


def _of_repeats(repeated: Sequence[Repeated]) -> list[str]:
    """What the repeats say of the first of them: its lead over the nearest stock voice, and over the next ones."""
    if not repeated:
        return []
    first, trial = repeated[0], repeated[0].entry.trial
    if (lead := mean_gap(list(first.gains.values()))) is None:
        return [f"{trial} is the best of the repeated trials; of one repeat there is no error."]
    by = f"over {lead.count} repeats with other seeds and held-out sentences"
    said = [_told(trial, "the nearest stock voice", lead, by)]
    for other in repeated[1:]:
        paired = mean_gap([first.gains[seed] - other.gains[seed] for seed in first.gains if seed in other.gains])
        said.append(_told(trial, other.entry.trial, paired, f"over {paired.count} repeats") if paired else "")
    return said
