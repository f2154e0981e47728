"""Whether a transcript can be its recording's: by the phonemes spoken each second, beside those of all."""

from __future__ import annotations

import statistics
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from coconut.data.utterance import Utterance

FEWEST = 4  # recordings from which a median tells anything
FAST = 1.6  # a rate so many times the median is that of a longer text,
SLOW = 2.5  # and one of that part of it of a shorter; pauses within a recording are part of speech
SECONDS = 1.0  # unless the text would take only so much longer or shorter: single words have rates of their own
SPEECH = (4.0, 30.0)  # phonemes/s that people speak


class Doubt(NamedTuple):
    """An utterance whose transcript cannot be that of its recording, and why: a sentence's end."""

    utterance: Utterance
    why: str


def doubtful(utterances: Sequence[Utterance]) -> list[Doubt]:
    """Those that speak far faster or slower than the median. The recording may be cut short, or the text another's."""
    if len(utterances) < FEWEST:
        return []
    median = pace(utterances)
    return [Doubt(u, why) for u in utterances if (why := _doubt(u, median))]


def pace(utterances: Sequence[Utterance]) -> float:
    """The median of their phonemes per second."""
    return statistics.median(count(u.phonemes) / u.seconds for u in utterances)


def note(utterances: Sequence[Utterance], where: str) -> str | None:
    """A sentence where even the median is no pace of speech: then the texts are not the recordings'."""
    median = pace(utterances)
    if len(utterances) < FEWEST or SPEECH[0] <= median <= SPEECH[1]:
        return None
    return (
        f"{where} has {median:.1f} phonemes per second of speech, where people speak {SPEECH[0]:.0f} to "
        f"{SPEECH[1]:.0f}: look whether its texts are those of its recordings, and at --lang."
    )


def count(phonemes: str) -> int:
    """Of sounds: without stress, marks, spaces and punctuation."""
    return sum(unicodedata.category(sign) in ("Ll", "Lu", "Lo") for sign in phonemes)


def _doubt(utterance: Utterance, median: float) -> str:
    expected, rate = count(utterance.phonemes) / median, count(utterance.phonemes) / utterance.seconds
    if abs(expected - utterance.seconds) <= SECONDS or median / SLOW <= rate <= median * FAST:
        return ""
    kind = "its recording is cut short, or its text is another's" if rate > median else "its text is not all it says"
    return f"{rate:.1f} phonemes per second, where the others have {median:.1f}: {kind}"
