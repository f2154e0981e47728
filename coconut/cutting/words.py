"""A text as words, each with phonemes of its own, so that every sound of the text belongs to a place in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from coconut import text
from coconut.config import InputError
from coconut.words import ABBREVIATIONS

LONGEST = 200  # phonemes of a sentence that is spoken in one go; longer ones are divided at clauses or words
KEPT = 50_000  # different words whose phonemes are remembered
SENTENCE, CLAUSE = ".!?…", ",;:—–"
OPENING = "\"'([{«“‘"
CLOSING = "\"')]}»”’"  # signs that may follow the end of a sentence


@dataclass(frozen=True)
class Word:
    """What is written between two spaces, with signs that stand alone behind it; `phonemes` as it sounds by itself.

    `ends`: 2 where a sentence ends with it, 1 for a clause, else 0.
    """

    text: str
    phonemes: str
    ends: int


def words(transcript: str, lang: str) -> list[Word]:
    """All words of a transcript in which there is anything to pronounce; what has no sound joins the word before."""
    found: list[Word] = []
    for written in transcript.split():
        phonemes = _phonemes(written, lang)
        if phonemes:
            found.append(Word(written, phonemes, _ends(written)))
        elif found:
            last = found[-1]
            found[-1] = Word(f"{last.text} {written}", last.phonemes, max(last.ends, _ends(written)))
    return found


def sentences(spoken: Sequence[Word]) -> Iterator[Sequence[Word]]:
    """Runs of words that are spoken in one go: to the end of a sentence, or of a clause in one that is too long."""
    start, size, clause = 0, 0, 0
    for place, word in enumerate(spoken):
        size += len(word.phonemes) + 1
        clause = place + 1 if word.ends else clause
        if word.ends == 2 or size > LONGEST or place + 1 == len(spoken):
            end = place + 1 if word.ends == 2 or place + 1 == len(spoken) else max(clause, start) or place + 1
            end = end if end > start else place + 1
            yield spoken[start:end]
            start, size = end, sum(len(other.phonemes) + 1 for other in spoken[end : place + 1])


@lru_cache(KEPT)
def _phonemes(written: str, lang: str) -> str:
    try:
        return text.phonemize(written, lang)
    except InputError:  # a dash, an emoji, a word in another script
        return ""


def _ends(written: str) -> int:
    bare = written.rstrip(CLOSING)
    last, before = bare[-1:], bare[:-1].strip(OPENING)
    if not last or (
        last == "." and (before in ABBREVIATIONS or (len(before) == 1 and before.isalpha() and before != "I"))
    ):
        return 0
    return 2 if last in SENTENCE else 1 if last in CLAUSE else 0
