"""Errors of scores against what is known of means, and what is said of two voices."""

import dataclasses
import json
import statistics

import pytest

from coconut.sweep.board import Board, ranked
from coconut.sweep.errors import gap, jackknife, verdicts
from tests.test_board import NEAREST, entry

VALUES = [50.0, 53.0, 49.0, 60.0, 55.0]


def without(values):
    return [statistics.mean(values[:i] + values[i + 1 :]) for i in range(len(values))]


def test_of_a_mean_the_jackknife_is_the_usual_error():
    assert jackknife(without(VALUES)) == pytest.approx(statistics.stdev(VALUES) / len(VALUES) ** 0.5)
    assert jackknife([50.0]) is None
    assert jackknife([]) is None


def test_what_both_voices_find_hard_is_no_error_of_their_difference():
    worse = [value - 2 for value in VALUES]
    lead = gap(55.0, 53.0, without(VALUES), without(worse))
    assert (lead.value, lead.count) == (2.0, 5)
    assert lead.error == pytest.approx(0, abs=1e-9)
    assert lead.clear
    assert jackknife(without(worse)) > 1


# scores with each of 4 utterances left out, of the better and of the worse voice -> told apart
CASES = {
    "far and steady": ([60.1, 59.9, 60.0, 60.0], [50.0, 50.1, 49.9, 50.0], True),
    "near and steady": ([50.4, 50.6, 50.5, 50.5], [50.0, 50.1, 49.9, 50.0], True),
    "near and scattered": ([52.0, 49.0, 51.0, 50.0], [49.0, 51.0, 50.0, 49.6], False),
}


@pytest.mark.parametrize("name", CASES)
def test_voices_are_told_apart_by_their_scatter(name):
    better, worse, expected = CASES[name]
    assert gap(statistics.mean(better), statistics.mean(worse), better, worse).clear is expected


def test_of_voices_not_heard_on_the_same_sentences_nothing_is_said():
    assert gap(55.0, 50.0, [55.0, 55.0], [50.0]) is None
    assert gap(55.0, None, [55.0, 55.0], [50.0, 50.0]) is None
    assert gap(55.0, 50.0, [], []) is None


def test_the_board_carries_errors_and_names_whom_the_best_is_not_told_apart_from(tmp_path):
    first, second = entry(tmp_path, 1, [50, 60]), entry(tmp_path, 2, [50, 59.5])
    for one, scores in ((first, [60, 62, 59, 59]), (second, [61, 58, 59, 60])):
        (one.folder / "heldout.json").write_text(json.dumps({"voice": scores, "nearest": [s - 9.9 for s in scores]}))
    board = Board("try", ranked([second, first]), NEAREST, 2, 1.0)
    assert verdicts(board) == [
        "trial_001 is told apart from the nearest stock voice, af_near: +10.00 ± 0.00 on 4 held-out sentences.",
        "trial_001 is not told apart from trial_002: +0.50 ± 3.57 on 4 held-out sentences, "
        "where ± 11.36 may be chance.",
    ]
    record = board.records()[0]
    assert record["best_error"] == pytest.approx(jackknife([60, 62, 59, 59]))
    assert record["gain_error"] == pytest.approx(0, abs=1e-9)
    assert record["test_error"] is None
    heard = dataclasses.replace(first, test_score=58.0, test_left_out=[58.0, 58.2, 57.8, 58.0])
    board = Board("try", ranked([second, heard]), NEAREST, 2, 1.0, 49.0, 4, [49.0, 49.1, 48.9, 49.2])
    assert "4 test sentences" in verdicts(board)[0]
    assert "4 held-out sentences" in verdicts(board)[1]  # of the second no test was heard
