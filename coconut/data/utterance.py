"""What a fit is made of: recordings with their texts, and which of them a generation hears."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Utterance:
    """One recording: audio [N] float32 at 24 kHz, trimmed, at one level; `phonemes` as Kokoro reads them."""

    id: str
    text: str
    phonemes: str
    audio: Tensor

    @property
    def seconds(self) -> float:
        return len(self.audio) / 24_000


@dataclass(frozen=True)
class Dataset:
    """Utterances to fit and others to judge by, disjoint; `skipped` counts what was left out, by reason."""

    fit: tuple[Utterance, ...]
    heldout: tuple[Utterance, ...]
    source: str
    skipped: dict[str, int]
    notes: tuple[str, ...]


class Windows:
    """windows[generation]: the utterances that all candidates of a generation speak.

    A window of `size` that moves by `stride`, around and around. It depends on the generation
    alone. Where strides alone would skip utterances, every lap starts `size` further on, so that
    all are heard; a stride of 0 stays with the first window.
    """

    def __init__(self, utterances: Sequence[Utterance], size: int, stride: int) -> None:
        if not utterances:
            raise ValueError("no utterances to make windows of")
        self.utterances = tuple(utterances)
        self.size, self.stride = min(size, len(self.utterances)), stride

    def __getitem__(self, generation: int) -> list[Utterance]:
        n = len(self.utterances)
        lap = n // math.gcd(self.stride, n)  # generations until the strides alone come back
        start = generation * self.stride + (self.size * (generation // lap) if self.stride else 0)
        return [self.utterances[(start + i) % n] for i in range(self.size)]
