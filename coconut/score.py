"""How good a voice is: one number from 0 to 100 on held-out utterances, blind to the loss.

Trials with different loss weights can only be compared by something that none of them chose.
The score is the weighted geometric mean of four parts, each in (0, 1], times 100:

    speaker   a straight line over the cosine, from 0 at a stranger's to 1, with a rounded corner
              (`likeness`); the voice's mean embedding over the utterances against the target's, by
              GE2E or by another encoder, which no loss term climbs
    logmel    exp(-distance / LOGMEL_SCALE), nepers per band along the DTW path
    f0        exp(-distance / F0_SCALE), octaves between voiced F0 distributions
    duration  exp(-distance / DURATION_SCALE), |log ratio| of speaking times

    score = 100 * prod(part ** weight), weights summing to 1

A geometric mean lets no part make up for another that is lost. Distances are averaged over
utterances first. Nothing saturates: every part keeps falling with its distance, and gaining 1%
of a part gains its weight in percent of the score. Among good voices log-mel moves it most: from
0.60 to 0.45 nepers the score gains 14%, from a cosine of 0.80 to 0.90 it gains 9%. Synthesis
noise is the synthesizer's, by seed, so that a genome always has the same score. A voice that is
not finite, or speaks without end, scores 0.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from coconut.audio import SAMPLE_RATE
from coconut.config import InputError
from coconut.data import Utterance
from coconut.losses import Encoder, SpeakerEncoder, Synthesis, Term
from coconut.losses.duration import DurationTerm
from coconut.losses.f0 import F0Term
from coconut.losses.logmel import LogMelTerm
from coconut.losses.synthesis import recording
from coconut.style import StyleSpace
from coconut.synthesis import Synthesizer
from coconut.synthesis.memory import Parts, enough_for
from coconut.synthesis.precision import tensor_cores
from coconut.synthesis.transfer import fetch, upload
from coconut.voicepack import STYLE

CORNER = 10.0  # the corner of `likeness` spans about a fifth of the way from a stranger to the voice itself
LOGMEL_SCALE = 0.5  # nepers; 0.06 is the right voice with fresh noise, 0.55 a good fit, 1.0 a stranger
F0_SCALE = 0.5  # octaves; 0.1 is one and a fifth semitones
DURATION_SCALE = 0.5  # 0.1 is 10% too fast or slow
WEIGHTS = {"speaker": 0.3, "logmel": 0.45, "f0": 0.15, "duration": 0.1}
LEAST = 1e-4  # floor of a part: the score of a stranger is low, yet still tells better from worse
TOGETHER = 64  # candidate-utterance pairs synthesised at once


NOBODY: Mapping[str, Encoder] = MappingProxyType({})


@dataclass(frozen=True)
class Metrics:
    """score 0..100, higher is better; parts {name: value in (0, 1]}, 0 for a voice that cannot be heard.

    What is heard beside the score has its parts behind those that make it.
    """

    score: float
    parts: dict[str, float]


class Score:
    """Score of genomes [D], style vectors or voicepacks on fixed utterances.

    `speaker_encoder` (default: GE2E) judges the speaker; what those in `beside` hear is told by their
    names, and counts for nothing. `cost` is the number of syntheses that one voice takes; `syntheses` and
    `audio_seconds` count what was spent.
    """

    def __init__(
        self,
        space: StyleSpace | None,
        synth: Synthesizer,
        utterances: Sequence[Utterance],
        speaker_encoder: Encoder | None = None,
        beside: Mapping[str, Encoder] = NOBODY,
    ) -> None:
        if not utterances:
            raise InputError("There is no utterance to score a voice on; hold out at least one.")
        self.space, self.synth, self.utterances = space, synth, tuple(utterances)
        self.cost = len(self.utterances)
        device = synth.device
        self.encoder = speaker_encoder or SpeakerEncoder().to(device)
        self.ears: dict[str, Encoder] = {"speaker": self.encoder, **beside}
        self.distances: dict[str, tuple[Term, float]] = {
            "logmel": (LogMelTerm(device), LOGMEL_SCALE),
            "f0": (F0Term(device), F0_SCALE),
            "duration": (DurationTerm(device), DURATION_SCALE),
        }
        with tensor_cores(device, False), enough_for("what is kept of a recording"):
            heard = [recording(u, device) for u in self.utterances]
            self.spoken = {name: torch.cat([ear(*item) for item in heard]) for name, ear in self.ears.items()}
            self.refs = {n: [term.reference(u) for u in self.utterances] for n, (term, _) in self.distances.items()}
        self.together = Parts(TOGETHER)
        self.syntheses = 0
        self.audio_seconds = 0.0

    def __call__(self, genome: Tensor) -> Metrics:
        """Metrics of one genome [D], of any dtype and device."""
        if self.space is None:
            raise ValueError("this Score was made without a style space; use styles() or voicepack()")
        with tensor_cores(self.synth.device, False):
            genomes = upload(genome[None].float(), self.synth.device)
            return self.styles(self.space.styles(genomes, upload(self.rows, genomes.device)))[0]

    def within(self, space: StyleSpace) -> Score:
        """The same score for genomes of `space`: it shares what is kept of the recordings, and counts anew."""
        other = copy.copy(self)
        other.space, other.syntheses, other.audio_seconds = space, 0, 0.0
        return other

    @property
    def rows(self) -> Tensor:
        """Voicepack row [U] that each utterance reads."""
        return self.synth.prepare([u.phonemes for u in self.utterances]).rows

    def voicepack(self, pack: Tensor) -> Metrics:
        """Metrics of a voicepack [510, 1, 256]."""
        return self.styles(pack.reshape(1, -1, STYLE)[:, self.rows.to(pack.device)])[0]

    def rank(self, packs: Mapping[str, Tensor]) -> list[tuple[str, Metrics]]:
        """Voices by score, best first; equal scores by name."""
        names = sorted(packs)
        styles = torch.stack([packs[name].reshape(-1, STYLE)[self.rows.to(packs[name].device)] for name in names])
        scored = zip(names, self.styles(styles), strict=True)
        return sorted(scored, key=lambda item: (-item[1].score, item[0]))

    @torch.no_grad()
    def styles(self, styles: Tensor) -> list[Metrics]:
        """Metrics of P voices by their style vectors [P, U, 256] on the rows of the utterances.

        Always computed exactly, but for the synthesis, which is the fit's. Raises InputError where memory does
        not hold one voice.
        """
        script = self.synth.prepare([u.phonemes for u in self.utterances])

        def work(part: Sequence[int]) -> tuple[list[Metrics], float]:
            return self._judge(Synthesis.of(self.synth, script, styles[part[0] : part[-1] + 1]))

        with tensor_cores(self.synth.device, False), enough_for(f"a voice that speaks {self.cost} texts"):
            parts = self.together.run(range(len(styles)), work, self.cost)
        self.syntheses += len(styles) * self.cost
        self.audio_seconds += sum(seconds for _, seconds in parts)
        return [metrics for found, _ in parts for metrics in found]

    @torch.no_grad()
    def left_out(self, pack: Tensor) -> list[float]:
        """Scores of a voicepack [510, 1, 256] with each utterance in turn left out, voice and target alike.

        Their scatter is what `sweep/errors.py` makes an error of. Empty for a single utterance.
        """
        count = self.cost
        if count < 2:
            return []
        script = self.synth.prepare([u.phonemes for u in self.utterances])
        with tensor_cores(self.synth.device, False), enough_for(f"a voice that speaks {count} texts"):
            syn = Synthesis.of(self.synth, script, pack.reshape(1, -1, STYLE)[:, self.rows.to(pack.device)])
            self.syntheses += count
            heard, target = syn.embeddings(self.encoder), self.spoken["speaker"]
            others = ((1 - torch.eye(count)) / (count - 1)).to(heard)  # [U, U]: row u is the mean of all but u
            pairs = normalize(others @ heard, dim=-1) * normalize(others @ target.to(heard), dim=-1)
            parts = {"speaker": likeness(pairs.sum(-1), self.encoder.stranger)}
            for name, (term, scale) in self.distances.items():
                parts[name] = torch.exp(-(others @ term(self.refs[name], syn)[0].to(heard)) / scale)
            *found, ok = fetch(*parts.values(), syn.ok.all())
        columns = dict(zip(parts, [part.tolist() for part in found], strict=True))
        return [combine({n: column[u] for n, column in columns.items()} if ok else {}).score for u in range(count)]

    def _judge(self, syn: Synthesis) -> tuple[list[Metrics], float]:
        """Metrics of P voices, and seconds of audio that they made, all read at once."""
        parts = {name: self._likeness(name, syn) for name in self.ears}
        for name, (term, scale) in self.distances.items():
            parts[name] = torch.exp(-term(self.refs[name], syn).mean(1) / scale).to(self.synth.device)
        *found, ok, samples = fetch(*parts.values(), syn.ok.all(1), syn.samples)
        columns = dict(zip(parts, [part.tolist() for part in found], strict=True))
        heard = enumerate(ok.tolist())
        metrics = [combine({name: column[p] for name, column in columns.items()} if fine else {}) for p, fine in heard]
        return metrics, float(samples) / SAMPLE_RATE

    def _likeness(self, name: str, syn: Synthesis) -> Tensor:
        """Of P voices to the target, by those ears."""
        ours = normalize(syn.embeddings(self.ears[name]).unflatten(0, syn.shape).mean(1), dim=-1)
        return likeness(ours @ normalize(self.spoken[name].mean(0), dim=-1), self.ears[name].stranger)


def likeness(cosine: Tensor, stranger: float) -> Tensor:
    """The speaker's part, 1 for a cosine of 1: softplus(s (cosine - stranger)) / softplus(s (1 - stranger)).

    s = CORNER / (1 - stranger), so that all encoders have the same curve between a stranger and the voice itself.
    """
    sharpness = CORNER / (1 - stranger)
    return softplus(sharpness * (cosine - stranger)) / math.log1p(math.exp(CORNER))


def combine(parts: Mapping[str, float]) -> Metrics:
    """Metrics of parts by WEIGHTS; a missing or non-finite part makes the score 0. Other parts are kept as they are."""
    kept = {name: parts.get(name, math.nan) for name in WEIGHTS}
    if not all(math.isfinite(value) for value in kept.values()):
        return Metrics(0.0, dict.fromkeys(WEIGHTS, 0.0))
    kept = {name: min(1.0, max(LEAST, value)) for name, value in kept.items()}
    score = 100 * math.exp(sum(WEIGHTS[name] * math.log(value) for name, value in kept.items()))
    return Metrics(score, kept | {name: value for name, value in parts.items() if name not in WEIGHTS})
