"""Stopping: decisions as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coconut.config import StopConfig
from coconut.stop import StopReason, peak, should_stop

RULE = StopConfig(patience=4, min_delta=0.5, drop=1.0)


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([], None),
        ([50], None),
        ([50, 51, 52, 53, 54, 55], None),  # rises
        ([50, 50, 50, 50], None),  # flat, patience not spent
        ([50, 50, 50, 50, 50], StopReason.PATIENCE),  # flat, four without a new best
        ([50, 50.4, 50.3, 50.4, 50.2], StopReason.PATIENCE),  # gains below min_delta do not count
        ([50, 50.4, 50.8, 51.2, 51.6], None),  # small steps that add up do
        ([50, 55, 53, 53], StopReason.OVERCOOKED),  # two in a row well below the best
        ([50, 55, 53, 54.5], None),  # recovering
        ([50, 55, 54.2, 54.1, 54.3], None),  # a little below is no decay
        ([50, 55, 54.2, 54.1, 54.3, 54.2], StopReason.PATIENCE),
        ([50, 55, 0, 0], StopReason.OVERCOOKED),
        ([0, 0, 0, 0, 0], StopReason.PATIENCE),
    ],
)
def test_decisions(scores, reason):
    assert should_stop(scores, RULE) is reason


def test_no_patience_never_stops():
    assert should_stop([50.0, 0.0] * 50, StopConfig(patience=0)) is None


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.floats(0, 5))
def test_no_later_score_beats_the_peak_by_the_margin(scores, margin):
    best = peak(scores, margin)
    assert all(score < scores[best] + margin or score <= scores[best] for score in scores[best + 1 :])


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_a_decision_only_looks_back(scores):
    """Stopping at the first reason gives the same answer as having seen no more."""
    for end in range(1, len(scores) + 1):
        if reason := should_stop(scores[:end], RULE):
            assert should_stop(list(scores[:end]), RULE) is reason
            assert end >= 1 + RULE.patience // 2
            break
