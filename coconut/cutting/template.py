"""The text as the model's own voice speaks it: columns of cepstra, each of which belongs to a word."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from coconut.audio.voice import Bands
from coconut.cutting.sound import CEPSTRA, Floats, Ints, cepstra, rows, scaled
from coconut.cutting.words import Word, sentences
from coconut.synthesis import Prosody, Synthesizer

TOGETHER = 4  # sentences synthesised at once: 40 MB for each
RIDGE = 30.0  # rows that speak against a difference between two voices
EVEN = 16  # frames, of which each sentence has a multiple: convolutions keep memory for every length they meet
HASTE = 2  # times as fast as it speaks by itself: half the work, and time is warped anyway
MARKS = set('.,;:!?—…"()“” ')  # symbols that take the time of a pause


class Template:
    """Columns of a text as far as they were asked for: `grow` speaks more of it.

    features [C, D]; word [C], the word that a column is part of; filler [C], true for a column behind a clause,
    where somebody may say what is not in the text, or nothing. `turn` makes of the model's voice the speaker's.
    """

    def __init__(
        self, synth: Synthesizer, pack: Tensor, words: Sequence[Word], noise: Tensor, turn: Floats | None = None
    ) -> None:
        self.synth, self.pack, self.words, self.noise = synth, pack.to(synth.device), words, noise
        self.turn = turn
        self.features = np.zeros((1, 2 * CEPSTRA), np.float32)
        self.word, self.filler = np.array([-1]), np.array([True])
        self.mean: Tensor | None = None  # powers, and
        self.usual: Floats | None = None  # cepstra of the first sentences: what all are scaled by
        self._sentences = iter(sentences(words))
        self._next = 0

    def __len__(self) -> int:
        return len(self.word)

    def grow(self, columns: int) -> None:
        """Speak until there are so many columns, or the text is at its end."""
        while len(self) < columns:
            batch = list(itertools.islice(self._sentences, TOGETHER))
            if not batch:
                return
            self._add(batch)

    def _add(self, batch: list[Sequence[Word]]) -> None:
        powers, owners = zip(*self._spoken(batch), strict=True)
        if self.mean is None:
            self.mean = torch.cat([part[said >= 0] for part, said in zip(powers, owners, strict=True)]).mean(0)
        every = [cepstra(part / self.mean + self.noise) for part in powers]
        made = [(part[said >= 0], np.repeat(said[said >= 0], HASTE)) for part, said in zip(every, owners, strict=True)]
        if self.usual is None:
            self.usual = np.concatenate([features for features, _ in made])
        parts = [(self.features, self.word, self.filler)]
        for words, (features, said) in zip(batch, made, strict=True):
            features = np.repeat(scaled(features, self.usual), HASTE, 0)
            features = features if self.turn is None else context(features) @ self.turn
            for place, word in enumerate(words):
                own = features[said == place]
                parts.append((own, np.full(len(own), self._next), np.zeros(len(own), bool)))
                if word.ends or place + 1 == len(words):
                    parts.append((np.zeros_like(features[:1]), np.array([self._next]), np.array([True])))
                self._next += 1
        self.features, self.word, self.filler = (np.concatenate(column) for column in zip(*parts, strict=True))

    def _spoken(self, batch: list[Sequence[Word]]) -> Iterator[tuple[Tensor, Ints]]:
        """(powers [T, BANDS], the word in its sentence [T], -1 for a pause) of each sentence."""
        script = self.synth.prepare([" ".join(word.phonemes for word in words) for words in batch])
        styles = self.pack[script.rows.to(self.synth.device), 0][None]
        prosody = hurried(self.synth.prosody(script, styles))
        audio = self.synth.decode(script, prosody, styles)
        self.synth.forget()  # an hour of noise is 350 MB
        for u, words in enumerate(batch):
            durations = prosody.durations[0, u].tolist()
            wav = audio.wav[0, u, : int(audio.lens[0, u])].float().cpu()
            owners = np.repeat(_owners(words, self.synth.model.vocab), durations[: len(script.texts[u].ids)])
            powers = rows(Bands().of([wav]))[: len(owners)]
            yield powers, owners[: len(powers)]


def hurried(prosody: Prosody) -> Prosody:
    """The same speech in 1 / HASTE of its time, each token at least one frame, the last as long as EVEN asks for."""
    durations = -(-prosody.durations // HASTE)
    last = (durations > 0).sum(-1, keepdim=True) - 1
    durations = durations.scatter_add(-1, last, -durations.sum(-1, keepdim=True) % EVEN)
    frames = durations.sum(-1)
    longest = int(frames.max())
    curves = torch.zeros(2, *frames.shape, 2 * longest, dtype=prosody.F0.dtype, device=prosody.F0.device)
    for p, u in np.ndindex(*frames.shape):
        old, new = prosody.durations[p, u], durations[p, u]
        within = torch.arange(int(new.sum()), device=new.device) - (new.cumsum(0) - new).repeat_interleave(new)
        last = (old - 1).clamp_min(0).repeat_interleave(new)
        place = (old.cumsum(0) - old).repeat_interleave(new) + torch.minimum(HASTE * within, last)
        twice = torch.stack([2 * place, 2 * place + 1], 1).flatten()
        curves[0, p, u, : len(twice)] = prosody.F0[p, u, twice]
        curves[1, p, u, : len(twice)] = prosody.energy[p, u, twice]
    return Prosody(durations, curves[0], curves[1], frames, prosody.ok)


def context(features: Floats) -> Floats:
    """[C, 3 D + 1]: columns [C, D] beside those a little before and behind, and a constant."""
    wide = np.pad(features, ((HASTE, HASTE), (0, 0)), "edge")
    return np.concatenate([wide[: -2 * HASTE], features, wide[2 * HASTE :], np.ones_like(features[:, :1])], 1)


def turn(features: Floats, rows: Floats) -> Floats:
    """[3 D + 1, D] by which columns, in their `context` [R, 3 D + 1], come near to rows [R, D] that say the same."""
    square = features.T @ features + RIDGE * np.eye(features.shape[1], dtype=np.float32)
    return np.asarray(np.linalg.solve(square, features.T @ rows), np.float32)


def _owners(words: Sequence[Word], vocab: dict[str, int]) -> list[int]:
    """For each token of a sentence, its two boundaries included, the word it is part of; -1 for what is a pause."""
    found = [-1]
    for place, word in enumerate(words):
        symbols = (" " if place else "") + word.phonemes
        found += [-1 if symbol in MARKS else place for symbol in symbols if symbol in vocab]
    return [*found, -1]
