"""What a fit is made of: recordings with their texts, and which of them a generation hears."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from coconut.audio import SAMPLE_RATE

STEPS = 2**23  # of a 24-bit sample between 0 and 1


@dataclass(frozen=True, eq=False)
class Utterance:
    """One recording: audio [N] float32 at 24 kHz, trimmed, at one level; `phonemes` as Kokoro reads them.

    `origin`: where it came from, for a person to read: a path, or a data set and the name of a row.
    """

    id: str
    text: str
    phonemes: str
    audio: Tensor
    origin: str = ""

    @property
    def seconds(self) -> float:
        return len(self.audio) / SAMPLE_RATE

    @cached_property
    def fingerprint(self) -> str:
        """Of its audio: equal for equal samples, whatever the recording is called."""
        return fingerprint(self.audio)


@dataclass(frozen=True)
class Dataset:
    """Utterances to fit, to choose the voice by (`heldout`) and to test it with (perhaps none).

    No text and no sound stands in two of them; `skipped` counts what was left out, by reason, and
    `notes` has a sentence for each thing that a user should know.
    """

    fit: tuple[Utterance, ...]
    heldout: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
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


def quantised(wav: Tensor) -> Tensor:
    """Samples [N] as a file of 24-bit samples holds them, float32: what is read from it is equal to the last bit.

    Multiples of 2^-23 from -1 to 1 - 2^-23, zero without a sign. A wav that exceeds 1 is made softer
    as a whole, not clipped.
    """
    wav = wav.double()
    peak = float(wav.abs().max()) if len(wav) else 0.0
    steps = (wav / max(1.0, peak) * STEPS).round().clamp(-STEPS, STEPS - 1)
    return steps.to(torch.int32).float() / STEPS


def fingerprint(audio: Tensor) -> str:
    """SHA-256 of the samples [N], in hexadecimal."""
    return hashlib.sha256(audio.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
