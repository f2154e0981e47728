"""What early stops saved and may have cost, trials past their peak, and which settings mattered."""

import dataclasses

import pytest

from coconut.sweep.board import Board, ranked
from coconut.sweep.matters import ENOUGH, matters
from coconut.sweep.stops import falls, risks
from tests.test_board import NEAREST, entry

PARTS = {"score.speaker": 0.6, "score.logmel": 0.5, "score.f0": 0.8, "score.duration": 0.9}


def board(*entries):
    return Board("try", ranked(entries), NEAREST, len(entries), 1.0)


def test_what_asha_and_the_guard_saved_is_told_apart(tmp_path):
    made = board(
        entry(tmp_path, 0, [50, 60], stop="asha"),  # 4 of 20 syntheses
        entry(tmp_path, 1, [50, 62, 50], stop="overcooked"),  # 8
        entry(tmp_path, 2, [50, 55, 56, 57, 58, 59], stop="budget"),
    )
    ledger = made.ledger()
    assert (ledger["syntheses_saved_by_asha"], ledger["syntheses_saved_by_guard"]) == (16, 12)
    assert ledger["syntheses_saved"] == 28


# a stopped trial's best, then what another trial gained from there on -> whether it may have won over 62
ASHA = {"too far behind": (55, 4, False), "within reach": (59, 4, True), "nothing gained by anyone": (61, 0, False)}


@pytest.mark.parametrize("name", ASHA)
def test_what_asha_may_have_cost(tmp_path, name):
    best, gained, may = ASHA[name]
    made = board(
        entry(tmp_path, 0, [50, best], stop="asha"),
        entry(tmp_path, 1, [50, 62 - gained, 62], stop="budget"),
    )
    said = " ".join(risks(made))
    assert said.startswith("ASHA stopped 1 trial")
    assert ("trial_000" in said) is may


def test_what_the_guard_may_have_cost_is_how_often_others_rose_again(tmp_path):
    rose = entry(tmp_path, 0, [50, 60, 59, 59, 61, 61], stop="budget", **{"stop.patience": 4})
    fell = entry(tmp_path, 1, [50, 58, 55, 55], stop="overcooked", **{"stop.patience": 4})
    said = " ".join(risks(board(rose, fell)))
    assert "Of 2 times that a trial went half its patience without a new best, 1 ended in one, by 1.00 points" in said
    assert risks(board(rose)) == []


def with_parts(one, *changes):
    rows = [row | PARTS | change for row, change in zip(one.rows, changes, strict=True)]
    return dataclasses.replace(one, rows=rows)


def test_a_fall_tells_its_peak_its_depth_and_the_part_that_went_first(tmp_path):
    lost = {"score.logmel": 0.48}, {"score.logmel": 0.45, "score.speaker": 0.3}
    one = with_parts(entry(tmp_path, 0, [50, 60, 58.8, 50], stop="overcooked"), {}, {}, *lost)
    steady = with_parts(entry(tmp_path, 1, [50, 60, 59.5], stop="budget"), {}, {}, {})
    (fall,) = falls([steady, one])
    assert (fall.entry.trial, fall.at, fall.peak, fall.fell, fall.first) == ("trial_000", 1, 60, 10, "logmel")


def test_where_no_part_alone_cost_enough_none_is_named(tmp_path):
    slow = {name: value * 0.975 for name, value in PARTS.items()}
    (fall,) = falls([with_parts(entry(tmp_path, 0, [50, 60, 58.5], stop="overcooked"), {}, {}, slow)])
    assert fall.first is None


def swept(folder, count=12):
    """Scores that follow the learning rate and nothing else; half of the trials were stopped by ASHA."""
    made = []
    for number in range(1, count + 1):
        rate, logmel = 0.02 * number, 0.3 + (number * 7 % count)
        scores = [50, 50 + 60 * rate] + [55 + 60 * rate] * (number % 2)
        settings = {"es.learning_rate": rate, "loss.logmel": logmel}
        made.append(entry(folder, number, scores, stop="budget" if number % 2 else "asha", **settings))
    return made


def test_the_setting_that_mattered_has_the_largest_share_at_equal_syntheses(tmp_path):
    found = matters([*swept(tmp_path), entry(tmp_path, 0, [50, 90], **{"es.kind": "cmaes"})])
    assert found.at == 4
    assert found.scores == pytest.approx([50 + 60 * 0.02 * number for number in range(1, 13)])
    assert next(iter(found.shares)) == "es.learning_rate"
    assert found.shares["es.learning_rate"] > 0.8
    assert set(found.shares) == {"es.learning_rate", "loss.logmel"}  # the seed's preset lies outside the search
    assert sum(found.shares.values()) == pytest.approx(1)


def test_where_nothing_can_be_said_a_sentence_says_why(tmp_path):
    assert f"{ENOUGH} begin to" in matters(swept(tmp_path / "few", ENOUGH - 1)).reason
    assert matters([]).shares == {}
    same = [entry(tmp_path, number, [50, 60]) for number in range(1, 10)]
    assert matters(same).reason == "All trials had the same settings."
