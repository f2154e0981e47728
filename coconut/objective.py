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

    Float64 on the CPU, as genomes are. Infinite throughout for a candidate that cannot be heard on
    some utterance: its style or audio is not finite, or its speech endless.
    """

    total: Tensor
    terms: dict[str, Tensor]


class Objective:
    """Losses of genomes [P, D] on some utterances: sum over terms of weight x mean over utterances.

    What a term keeps of a recording is computed once, and found in `references` by the names of term
    and utterance: a caller may hand the same dict to several objectives with the same terms, device
    and recordings. `syntheses` and `audio_seconds` count what was spent, candidates x utterances.
    """

    def __init__(
        self,
        space: StyleSpace,
        synth: Synthesizer,
        terms: Mapping[str, Term],
        weights: Mapping[str, float | None],
        references: dict[tuple[str, str], Any] | None = None,
    ) -> None:
        self.space, self.synth, self.terms = space, synth, dict(terms)
        self.weights = {name: float(weights[name] or 0.0) for name in terms}
        self.syntheses = 0
        self.audio_seconds = 0.0
        self._references = {} if references is None else references

    @torch.no_grad()
    def __call__(self, population: Tensor, utterances: Sequence[Utterance]) -> Losses:
        """population [P, D] of any dtype and device; the synthesizer's device works on it in float32."""
        syn = self.synthesise(population, utterances)
        bad = ~syn.ok.all(1).cpu()
        total = torch.zeros(len(bad), dtype=torch.float64)
        terms = {}
        for name, term in self.terms.items():
            refs = [self.reference(name, utterance) for utterance in utterances]
            value = term(refs, syn).mean(1).cpu().double()
            terms[name] = value.nan_to_num(nan=math.inf, posinf=math.inf).masked_fill(bad, math.inf)
            total += self.weights[name] * terms[name]
        return Losses(total.masked_fill(bad, math.inf), terms)

    def synthesise(self, population: Tensor, utterances: Sequence[Utterance]) -> Synthesis:
        """What the candidates [P, D] make of the utterances' texts."""
        script = self.synth.prepare([utterance.phonemes for utterance in utterances])
        genomes = population.float().to(self.synth.device)
        syn = Synthesis.of(self.synth, script, self.space.styles(genomes, script.rows.to(genomes.device)))
        self.syntheses += syn.shape[0] * syn.shape[1]
        self.audio_seconds += syn.seconds
        return syn

    def reference(self, name: str, utterance: Utterance) -> Any:
        """What the term `name` keeps of an utterance."""
        key = (name, utterance.id)
        if key not in self._references:
            self._references[key] = self.terms[name].reference(utterance)
        return self._references[key]
