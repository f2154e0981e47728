"""The loss of a population: synthesise all candidates on the window's texts, compare, weigh, add."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coconut.data import Utterance
from coconut.losses import Synthesis, Term
from coconut.style import StyleSpace
from coconut.synthesis import Synthesizer


@dataclass(frozen=True)
class Losses:
    """total [P], what the strategy minimises; terms {name: [P]}, unweighted, mean over utterances.

    Infinite throughout for a candidate whose style or audio is not finite.
    """

    total: Tensor
    terms: dict[str, Tensor]


class Objective:
    """Losses of genomes [P, D] on some utterances: sum over terms of weight x mean over utterances.

    References are computed once per utterance and kept. `syntheses` and `audio_seconds` count
    what was spent, candidates x utterances.
    """

    def __init__(
        self, space: StyleSpace, synth: Synthesizer, terms: Mapping[str, Term], weights: Mapping[str, float | None]
    ) -> None:
        self.space, self.synth, self.terms = space, synth, dict(terms)
        self.weights = {name: float(weights[name] or 0.0) for name in terms}
        self.syntheses = 0
        self.audio_seconds = 0.0
        self._references: dict[tuple[str, str], Any] = {}

    @torch.no_grad()
    def __call__(self, population: Tensor, utterances: Sequence[Utterance]) -> Losses:
        script = self.synth.prepare([utterance.phonemes for utterance in utterances])
        styles = self.space.styles(population, script.rows.to(population.device))
        syn = Synthesis.of(self.synth, script, styles)
        self.syntheses += syn.shape[0] * syn.shape[1]
        self.audio_seconds += float(syn.audio.lens.sum()) / 24_000
        bad = ~syn.ok.all(1)
        total = torch.zeros(len(population), device=bad.device)
        terms = {}
        for name, term in self.terms.items():
            refs = [self.reference(name, utterance) for utterance in utterances]
            value = term(refs, syn).mean(1).nan_to_num(nan=math.inf, posinf=math.inf)
            terms[name] = value.masked_fill(bad, math.inf).to(population)
            total = total + self.weights[name] * terms[name].to(total)
        return Losses(total.masked_fill(bad, math.inf).to(population), terms)

    def reference(self, name: str, utterance: Utterance) -> Any:
        """What the term `name` keeps of an utterance."""
        key = (name, utterance.id)
        if key not in self._references:
            self._references[key] = self.terms[name].reference(utterance)
        return self._references[key]
