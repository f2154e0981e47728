"""The prosody of a voice by itself: when each phoneme comes and how high it is, found without decoding.

Durations and F0 depend on dims 128:256 of a style alone, and the part of the model that predicts them is small.
A search that moves nothing else is cheap:

    space = Held(space)                                          # genomes whose prosody alone differs from the start's
    objective = ProsodyObjective(space, synth, terms, weights)   # by the terms that need no waveform
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from coconut.config import InputError
from coconut.losses import Synthesis, Term
from coconut.losses.channel import Channel
from coconut.objective import Objective
from coconut.style import Space
from coconut.synthesis import Audio, Prosody, Script, Synthesizer
from coconut.synthesis.gradient import Tape
from coconut.synthesis.transfer import upload
from coconut.voicepack import PROSODY

LEADING = ("f0", "duration")  # terms that look at the prosody; energy has no reference, each model has its own unit
TERMS = (*LEADING, "prior")


class Held(Space):
    """The genomes of a space whose styles differ from the start's in dims 128:256 alone, by the same on every row.

    A point [D] stands for the genome nearest to it of those; distances keep their meaning, so that a step is as long as
    in the whole space. Raises InputError for a space that has no such genomes.
    """

    def __init__(self, space: Space) -> None:
        self.space, self.dim, self.start = space, space.dim, space.init()
        free, _ = torch.linalg.qr(space.changes(PROSODY).double().cpu().T)
        self.onto = free @ free.T  # not `free` itself, whose axes are any: a fit may be resumed on another machine

    def init(self) -> Tensor:
        return self.start

    def settle(self, genome: Tensor) -> Tensor:
        start = self.start.to(genome)
        return start + (genome - start) @ self.onto.to(genome)

    def styles(self, genomes: Tensor, rows: Tensor) -> Tensor:
        return self.space.styles(self.settle(genomes), rows)


class Unspoken(Synthesis):
    """What candidates would say, which nobody decoded: there are no samples, and `speech` has nothing but lengths.

    Silence at both ends is the first and the last token; what terms compare to recordings lies between them.
    """

    @classmethod
    def of(cls, synth: Synthesizer, script: Script, styles: Tensor, channel: Channel | None = None) -> Unspoken:
        prosody = synth.prosody(script, styles)
        return cls(_silence(synth, script, prosody), prosody, styles, script.rows)

    @classmethod
    def taped(cls, tape: Tape, script: Script, styles: Tensor, channel: Channel | None = None) -> Unspoken:
        prosody, soft = tape.prosody(script, styles)
        return cls(_silence(tape.synth, script, prosody), prosody, styles, script.rows, soft)

    @property
    def samples(self) -> Tensor:
        return self.audio.lens.new_zeros(())

    @property
    def speech(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(wav [B, 0], lens [B])."""
        return self.audio.wav.flatten(0, 1), self.audio.lens.flatten()


class ProsodyObjective(Objective):
    """An Objective that decodes nothing, by the TERMS for which that is enough.

    Raises InputError where neither F0 nor speaking time has a weight.
    """

    share = 0.1  # measured on `mini`: .10 with its gradient, .09 for one voice, .05 in a population of 16
    spoken = Unspoken

    def __init__(
        self,
        space: Held,
        synth: Synthesizer,
        terms: Mapping[str, Term],
        weights: Mapping[str, float | None],
        references: dict[tuple[str, str], Any] | None = None,
    ) -> None:
        if not any(name in terms for name in LEADING):
            raise InputError("A staged fit begins by F0 and speaking time: give loss.f0 or loss.duration a weight.")
        super().__init__(space, synth, {name: terms[name] for name in TERMS if name in terms}, weights, references)


def _silence(synth: Synthesizer, script: Script, prosody: Prosody) -> Audio:
    """No samples [P, U, 0], and as `lens` how many the speech would have between the silences."""
    steps = prosody.durations
    last = upload([length - 1 for length in script.lengths], steps.device)[None, :, None].expand(len(steps), -1, -1)
    frames = prosody.frames - steps[..., 0] - steps.gather(-1, last)[..., 0]
    return Audio(prosody.F0.new_zeros(*prosody.ok.shape, 0), frames * synth.samples_per_frame, prosody.ok)
