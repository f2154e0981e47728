"""The loss of a population: synthesise all candidates on the window's texts, compare, weigh, add."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from coconut.audio import SAMPLE_RATE
from coconut.data import Utterance
from coconut.losses import Synthesis, Term
from coconut.losses.channel import Channel, Channels
from coconut.style import StyleSpace
from coconut.synthesis import Synthesizer
from coconut.synthesis.gradient import Tape
from coconut.synthesis.memory import Parts, enough_for
from coconut.synthesis.precision import tensor_cores
from coconut.synthesis.transfer import fetch, upload

COST = 3  # syntheses that one is counted as when its gradient is computed


@dataclass(frozen=True)
class Losses:
    """total [P], what the strategy minimises; terms {name: [P]}, unweighted, mean over utterances.

    Float64 on the CPU, as genomes are. Infinite throughout for a candidate that cannot be heard on
    some utterance: its style or audio is not finite, or its speech endless. `flat` names the terms
    that a gradient beside these losses leaves aside, because they have none.
    """

    total: Tensor
    terms: dict[str, Tensor]
    flat: tuple[str, ...] = ()


class Objective:
    """Losses of genomes [P, D] on some utterances: sum over terms of weight x mean over utterances.

    What a term keeps of a recording is computed once, and found in `references` by the names of term
    and utterance: a caller may hand the same dict to several objectives with the same terms, device
    and recordings. `syntheses` and `audio_seconds` count what was spent, candidates x utterances.
    `channels`: what a term that listens through one hears each generation through.
    """

    share = 1.0  # of a synthesis, what hearing a candidate on an utterance costs
    spoken: ClassVar[type[Synthesis]] = Synthesis

    def __init__(
        self,
        space: StyleSpace,
        synth: Synthesizer,
        terms: Mapping[str, Term],
        weights: Mapping[str, float | None],
        references: dict[tuple[str, str], Any] | None = None,
        channels: Channels | None = None,
    ) -> None:
        self.space, self.synth, self.terms = space, synth, dict(terms)
        self.weights = {name: float(weights[name] or 0.0) for name in terms}
        self.syntheses = 0.0
        self.audio_seconds = 0.0
        self._references = {} if references is None else references
        self._channels = channels or Channels(seed=0, strength=0.0)
        self._together = Parts()
        self._tape = Tape(synth)
        self._flat = tuple(name for name, term in self.terms.items() if not getattr(term, "differentiable", False))
        self._warned = False

    @torch.no_grad()
    def __call__(self, population: Tensor, utterances: Sequence[Utterance], generation: int = 0) -> Losses:
        """population [P, D] of any dtype and device; the synthesizer's device works on it in float32.

        What is compared is computed exactly, whatever the precision of synthesis. Where memory does not hold
        the population, its parts come one after another. Raises InputError where it does not hold one candidate.
        """

        channel = self._channels[generation]

        def work(part: Sequence[int]) -> tuple[dict[str, Tensor], Tensor, float]:
            return self._heard(population[part[0] : part[-1] + 1], utterances, channel)

        with tensor_cores(self.synth.device, False), enough_for(f"a candidate that speaks {len(utterances)} texts"):
            parts = self._together.run(range(len(population)), work, len(utterances))
        self.syntheses += len(population) * len(utterances) * self.share
        self.audio_seconds += sum(seconds for *_, seconds in parts)
        values = {name: torch.cat([found[name] for found, *_ in parts]) for name in self.terms}
        return self._weighed(values, torch.cat([bad for _, bad, _ in parts]))

    def _heard(
        self, population: Tensor, utterances: Sequence[Utterance], channel: Channel | None
    ) -> tuple[dict[str, Tensor], Tensor, float]:
        """Values [P] by term, which candidates cannot be heard [P], and seconds of audio, all read at once."""
        syn = self.synthesise(population, utterances, channel)
        means = [value.mean(1) for value in self._compare(syn, utterances).values()]
        *found, ok, samples = fetch(*means, syn.ok.all(1), syn.samples)
        return dict(zip(self.terms, found, strict=True)), ok == 0, float(samples) / SAMPLE_RATE

    def gradient(
        self, population: Tensor, utterances: Sequence[Utterance], generation: int = 0
    ) -> tuple[Losses, Tensor]:
        """Losses of population [P, D], and their gradient [P, D], float64 on the CPU.

        One candidate and one utterance after another: memory holds the tape of one. Each counts as COST
        syntheses. A candidate that cannot be heard, or whose gradient is not finite, has infinite losses
        and a gradient of 0. Terms that have no gradient count in the losses alone, which is said once.
        """
        self._say_flat()
        with tensor_cores(self.synth.device, False), enough_for("the gradient of one candidate and one text"):
            return self._slopes(population, utterances, self._channels[generation])

    def _slopes(
        self, population: Tensor, utterances: Sequence[Utterance], channel: Channel | None
    ) -> tuple[Losses, Tensor]:
        slopes = torch.zeros(population.shape, dtype=torch.float64)
        values = {name: torch.zeros(len(population), dtype=torch.float64) for name in self.terms}
        bad = torch.zeros(len(population), dtype=torch.bool)
        for p, genome in enumerate(population):
            for utterance in utterances:
                found, slope = self._slope(genome, utterance, channel)
                for name, value in found.items():
                    values[name][p] += value / len(utterances)
                slopes[p] += slope / len(utterances)
            bad[p] = not slopes[p].isfinite().all()
        return self._weighed(values, bad, self._flat), slopes.masked_fill(bad[:, None], 0.0)

    def _slope(self, genome: Tensor, utterance: Utterance, channel: Channel | None) -> tuple[dict[str, float], Tensor]:
        """Values of the terms and the gradient [D] of their weighted sum; NaN where it cannot be heard."""
        leaf = upload(genome.detach()[None].float(), self.synth.device).requires_grad_()
        script = self.synth.prepare([utterance.phonemes])
        styles = self.space.styles(leaf, upload(script.rows, leaf.device))
        syn = self.spoken.taped(self._tape, script, styles, channel)
        values = self._compare(syn, [utterance])
        steep = [self.weights[name] * value.sum() for name, value in values.items() if value.requires_grad]
        (slope,) = torch.autograd.grad(torch.stack(steep).sum(), leaf) if steep else (torch.zeros_like(leaf),)
        *found, ok, samples, slope = fetch(*values.values(), syn.ok.all(), syn.samples, slope[0])
        self.syntheses += COST * self.share
        self.audio_seconds += float(samples) / SAMPLE_RATE
        if not ok:
            return {}, torch.full_like(slope, math.nan)
        return {name: float(value) for name, value in zip(values, found, strict=True)}, slope

    def _compare(self, syn: Synthesis, utterances: Sequence[Utterance]) -> dict[str, Tensor]:
        """Distances [P, U] by the name of the term. Terms without a gradient see nothing of the tape."""
        off = syn.detached() if syn.soft is not None else syn
        return {
            name: term([self.reference(name, u) for u in utterances], off if name in self._flat else syn)
            for name, term in self.terms.items()
        }

    def _weighed(self, values: Mapping[str, Tensor], bad: Tensor, flat: tuple[str, ...] = ()) -> Losses:
        """Losses of values [P] of the terms; infinite where `bad` [P]."""
        total = torch.zeros(len(bad), dtype=torch.float64)
        terms = {}
        for name, value in values.items():
            terms[name] = value.nan_to_num(nan=math.inf, posinf=math.inf).masked_fill(bad, math.inf)
            total += self.weights[name] * terms[name]
        return Losses(total.masked_fill(bad, math.inf), terms, flat)

    def _say_flat(self) -> None:
        if self._flat and not self._warned:
            self._warned = True
            warnings.warn(f"No gradient comes from {', '.join(self._flat)}: only the other terms lead.", stacklevel=3)

    def synthesise(
        self, population: Tensor, utterances: Sequence[Utterance], channel: Channel | None = None
    ) -> Synthesis:
        """What the candidates [P, D] make of the utterances' texts."""
        script = self.synth.prepare([utterance.phonemes for utterance in utterances])
        genomes = upload(population.float(), self.synth.device)
        styles = self.space.styles(genomes, upload(script.rows, genomes.device))
        return self.spoken.of(self.synth, script, styles, channel)

    def reference(self, name: str, utterance: Utterance) -> Any:
        """What the term `name` keeps of an utterance."""
        key = (name, utterance.id)
        if key not in self._references:
            self._references[key] = self.terms[name].reference(utterance)
        return self._references[key]
