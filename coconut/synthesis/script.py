"""Texts made ready: all that does not depend on the style, computed once per text and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coconut.config import InputError
from coconut.synthesis.source import UnitNoise
from coconut.synthesis.transfer import upload
from coconut.voicepack import ROWS

KEPT_TEXTS = 512


@dataclass(frozen=True)
class Text:
    """One phoneme string as the model reads it. `ids` include the two boundary tokens: [S]."""

    phonemes: str
    ids: tuple[int, ...]
    prosodic: Tensor  # [S, hidden], what durations and F0 are read from
    acoustic: Tensor  # [S, hidden], what is spoken
    unit_noise: UnitNoise

    @property
    def row(self) -> int:
        """The voicepack row that Kokoro's own pipeline reads: by the length of the string."""
        return min(len(self.phonemes), ROWS) - 1


class Script:
    """U texts. rows [U] long, on the CPU: the voicepack row of each text."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self.texts = list(texts)
        self.rows = torch.tensor([text.row for text in texts], dtype=torch.long)
        self.lengths = [len(text.ids) for text in texts]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def phonemes(self) -> list[str]:
        return [text.phonemes for text in self.texts]

    def noise(self, u: int, n: int) -> Tensor:
        """[n] the first n samples of text u's unit noise, the same for every candidate."""
        text = self.texts[u]
        return text.unit_noise.first(n, text.acoustic.device, text.acoustic.dtype)


class TextEncoder:
    """Phoneme strings -> Script. Encodings of the latest texts are kept."""

    def __init__(self, model: Any, seed: int) -> None:
        self.model, self.seed = model, seed
        self.kept: OrderedDict[str, Text] = OrderedDict()

    def __call__(self, phonemes: Sequence[str]) -> Script:
        """Raises InputError for a text with no known phoneme, or more than the model can read."""
        if isinstance(phonemes, str):
            raise InputError("prepare() takes a list of phoneme strings, not one string.")
        return Script([self._text(p) for p in phonemes])

    def _text(self, phonemes: str) -> Text:
        if phonemes in self.kept:
            self.kept.move_to_end(phonemes)
            return self.kept[phonemes]
        ids = self._ids(phonemes)
        prosodic, acoustic = self._encode(upload(torch.tensor([ids]), self.model.device))
        text = Text(phonemes, ids, prosodic, acoustic, UnitNoise(self.seed, phonemes))
        self.kept[phonemes] = text
        if len(self.kept) > KEPT_TEXTS:
            self.kept.popitem(last=False)
        return text

    def _ids(self, phonemes: str) -> tuple[int, ...]:
        found = [self.model.vocab[p] for p in phonemes if p in self.model.vocab]
        shown = phonemes if len(phonemes) <= 40 else phonemes[:37] + "..."
        if not found:
            raise InputError(f"The text {shown!r} has no phoneme that the model knows: give it one that is spoken.")
        limit = self.model.context_length - 2
        if len(found) > limit:
            raise InputError(f"The text {shown!r} has {len(found)} phonemes, more than {limit}: cut it into sentences.")
        return (0, *found, 0)

    def _encode(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """[1, S] -> two [S, hidden]; one text at a time, so nothing is padded and BERT needs no mask to look at."""
        model, encoder = self.model, self.model.text_encoder
        prosodic = model.bert_encoder(model.bert(ids))
        x = encoder.embedding(ids).transpose(1, 2)
        for convolution, norm, activation, _ in encoder.cnn:
            x = convolution(x).transpose(1, 2)
            x = activation(F.layer_norm(x, (norm.channels,), norm.gamma, norm.beta, norm.eps)).transpose(1, 2)
        acoustic, _ = encoder.lstm(x.transpose(1, 2))
        return prosodic[0], acoustic[0]
