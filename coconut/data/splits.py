"""Which utterances lead a fit, which choose its voice, and which are heard once at the end.

What is drawn is a sentence, not a recording: all takes of one text go the same way, so that no text
and no sound stands in two splits.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import torch

from coconut.data.utterance import Utterance

STRESS = "ˈˌ"  # letters to Unicode


class Splits(NamedTuple):
    """Three disjoint parts; `left_out` has pairs (a take left out, the take of it that is held out or tested)."""

    fit: tuple[Utterance, ...]
    heldout: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
    left_out: tuple[tuple[Utterance, Utterance], ...]
    sentences: int  # different ones


def split(utterances: Sequence[Utterance], heldout: int, test: int, seed: int) -> Splits:
    """Split by sentence, the same for the same seed; `heldout` and `test` are the sizes asked for (see `sizes`).

    Sorted by length and cut into as many equal parts as are held out, one sentence is drawn from
    each part, so that the held-out ones are spread over lengths; then the same for the test, among
    those that remain. A drawn sentence gives its first take, and its other takes are left out. The
    fit keeps all takes of its sentences, shuffled. One sentence alone is all for the fit.
    """
    generator = torch.Generator().manual_seed(seed)
    takes = sentences(utterances)
    order = sorted(takes, key=lambda i: (len(utterances[i].audio), utterances[i].id))
    judges, testers = sizes(len(takes), heldout, test)
    judged = _spread(order, judges, generator)
    tested = _spread([i for i in order if i not in judged], testers, generator)
    drawn = judged | tested
    taken = {take for first in drawn for take in takes[first]}
    fitted = [i for i in torch.randperm(len(utterances), generator=generator).tolist() if i not in taken]
    return Splits(
        fit=tuple(utterances[i] for i in fitted),
        heldout=tuple(utterances[i] for i in sorted(judged)),
        test=tuple(utterances[i] for i in sorted(tested)),
        left_out=tuple((utterances[i], utterances[first]) for first in sorted(drawn) for i in takes[first][1:]),
        sentences=len(takes),
    )


def sizes(sentences: int, heldout: int, test: int) -> tuple[int, int]:
    """Sentences (held out, tested) of so many, where `heldout` and `test` are asked for.

    The fit keeps at least half, rounded up. Of the rest the held-out part comes first, and the
    test gets what is left. So with few sentences the test shrinks first, to none; then the
    held-out part, to one.
    """
    spare = sentences // 2
    judges = min(heldout, spare)
    return judges, min(test, spare - judges)


def sentences(utterances: Sequence[Utterance]) -> dict[int, list[int]]:
    """Positions of all takes of each sentence, by the position of its first.

    Utterances that share any of their `contents` are takes of one sentence, and so are those that
    are linked through others.
    """
    parents = list(range(len(utterances)))

    def root(i: int) -> int:
        while parents[i] != i:
            i = parents[i]
        return i

    owners: dict[tuple[str, str], int] = {}
    for i, utterance in enumerate(utterances):
        for content in contents(utterance):
            first, second = sorted((root(owners.setdefault(content, i)), root(i)))
            parents[second] = first
    takes: dict[int, list[int]] = {}
    for i in range(len(utterances)):
        takes.setdefault(root(i), []).append(i)
    return takes


def contents(utterance: Utterance) -> set[tuple[str, str]]:
    """What no two splits may share: phonemes without stress, the transcript's letters and digits, the sound.

    Phonemes without any sign and transcripts without any letter tell nothing, and are not among them.
    """
    found = {
        ("phonemes", spoken(utterance.phonemes)),
        ("transcript", written(utterance.text)),
        ("sound", utterance.fingerprint),
    }
    return {(kind, content) for kind, content in found if content}


def spoken(phonemes: str) -> str:
    """Without stress, punctuation and spaces. Lengths and tones remain: they tell words apart."""
    signs = unicodedata.normalize("NFC", phonemes)
    return "".join(sign for sign in signs if sign not in STRESS and unicodedata.category(sign)[0] not in "PZC")


def written(text: str) -> str:
    """Letters (with their vowel signs and accents) and digits, without case."""
    signs = unicodedata.normalize("NFKC", text).casefold()
    return "".join(sign for sign in signs if unicodedata.category(sign)[0] in "LMN")


def _spread(order: list[int], count: int, generator: torch.Generator) -> set[int]:
    """One of each of `count` equal parts of `order`, which has at least so many."""
    edges = [round(part * len(order) / max(count, 1)) for part in range(count + 1)]
    return {
        order[start + int(torch.randint(end - start, (), generator=generator))]
        for start, end in itertools.pairwise(edges)
    }
