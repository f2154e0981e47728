"""Which texts cannot be those of their recordings, as a table over paces."""

import pytest
import torch

from coconut.audio import SAMPLE_RATE
from coconut.data import Utterance, plausible


def spoken(sounds, seconds):
    return Utterance("0:u", "text", "ˈa, " * sounds, torch.zeros(round(seconds * SAMPLE_RATE)))


@pytest.mark.parametrize(
    ("sounds", "seconds", "doubted"),
    [
        (40, 4.0, ""),
        (40, 2.6, ""),  # a quick reader
        (40, 2.4, "cut short, or its text is another's"),
        (40, 9.9, ""),  # with long pauses
        (40, 10.1, "its text is not all it says"),
        (1, 0.9, ""),  # a single word, however slow
        (9, 0.5, ""),
        (1, 1.2, "its text is not all it says"),
        (500, 20.0, "25.0 phonemes per second, where the others have 10.0"),
    ],
)
def test_a_text_is_doubted_by_its_pace_beside_the_others(sounds, seconds, doubted):
    others = [spoken(10 * k, k) for k in (2, 3, 4, 5)]
    found = plausible.doubtful([*others, spoken(sounds, seconds)])
    assert len(found) == bool(doubted)
    assert all(doubted in doubt.why for doubt in found)


def test_stress_marks_and_spaces_are_no_sounds():
    assert plausible.count("ðɪs ɪz, nˈʌmbəɹ wˈʌn!") == 3 + 2 + 6 + 3


def test_few_recordings_have_no_median():
    assert plausible.doubtful([spoken(10, 1), spoken(10, 1), spoken(100, 1)]) == []


def test_a_pace_that_nobody_speaks_at_is_told():
    assert plausible.note([spoken(10, 1)] * 4, "x") is None
    assert "x has 50.0 phonemes per second" in plausible.note([spoken(50, 1)] * 4, "x")
    assert "x has 1.0 phonemes per second" in plausible.note([spoken(1, 1)] * 4, "x")
