"""The contracts of a loss term and of a speaker encoder."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from coconut.data import Utterance
from coconut.losses.synthesis import Synthesis


class Term(Protocol):
    """A distance between recordings and what candidates make of the same texts.

    `differentiable`: whether it has a slope. The same call then serves a Synthesis on a tape, and leaves
    what is decided there (alignment, voicing, silence) as it is; else a gradient leaves the term aside.
    """

    differentiable: bool

    def reference(self, utterance: Utterance) -> Any:
        """What is kept of a recording; the objective asks once per utterance."""

    def __call__(self, refs: list[Any], syn: Synthesis) -> Tensor:
        """Distances [P, U], 0 or more, lower is better; refs of the U utterances in order."""


class Encoder(Protocol):
    """Ears for speakers: wav [B, T] at 24 kHz, lens [B] -> embeddings [B, E] of unit length.

    `stranger`: the cosine of different speakers, about.
    """

    @property
    def stranger(self) -> float: ...

    def __call__(self, wav: Tensor, lens: Tensor, /) -> Tensor: ...
