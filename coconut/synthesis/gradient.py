"""The same synthesis with gradients: what a change of a style does to its waveform, F0, energy and speaking time.

A walk through the very layers of a Synthesizer, one item at a time and therefore without padding. The layers
take their plain paths where a gradient is asked for (ragged.on_cpu), so that memory holds one item's tape:
about 16 MB for a second of audio of `mini`; 250 MB of Kokoro-82M, and 90 MB where a sentence is longer than
about 2 s (layers.TAPED).

Frames are counted in whole numbers, which have no gradient: the alignment of text and frames is taken as it
is. `soft` is the speaking time before it is rounded, and has one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from coconut.synthesis.precision import tensor_cores
from coconut.synthesis.prosody import align, whole
from coconut.synthesis.ragged import Lengths
from coconut.synthesis.script import Script
from coconut.synthesis.synthesizer import Audio, Prosody, Synthesizer
from coconut.voicepack import ACOUSTIC, PROSODY

Item = TypeVar("Item", Audio, Prosody)


@dataclass(frozen=True)
class Taped:
    """Audio and Prosody as a Synthesizer gives them, on the tape; soft [P, U] frames before rounding."""

    audio: Audio
    prosody: Prosody
    soft: Tensor


class Tape:
    """A Synthesizer's synthesis that can be differentiated with regard to the styles.

    `through_source`: whether the gradient also goes through the phase of the sine source. The stock model
    cuts it there, and so is the default: F0 shifts every later period of a wave, so that a distance of waves
    or spectra is a comb over F0 whose slope says little about where its valley lies.
    """

    def __init__(self, synth: Synthesizer, through_source: bool = False) -> None:
        self.synth, self.through_source = synth, through_source

    def __call__(self, script: Script, styles: Tensor) -> Taped:
        """styles [P, U, 256] -> Taped. Raises InputError where the shape is wrong.

        An item whose style is not finite, or whose speech is endless, is not ok: it is silent, lasts one frame
        a token, and gives no gradient.
        """
        plans, voices = self._plans(script, styles)
        with tensor_cores(self.synth.device, self.synth.precision != "exact"):
            audio = [
                self._spoken(script, b % len(script), *item) for b, item in enumerate(zip(plans, voices, strict=True))
            ]
        return Taped(_joined(audio, len(script)), *_planned(plans, len(script)))

    def prosody(self, script: Script, styles: Tensor) -> tuple[Prosody, Tensor]:
        """The first half alone, which reads dims 128:256 of the styles: Prosody, and `soft` [P, U] of Taped."""
        plans, _ = self._plans(script, styles)
        return _planned(plans, len(script))

    def _plans(self, script: Script, styles: Tensor) -> tuple[list[_Plan], Tensor]:
        """What each of the P U items will say when, and their styles [P U, 256], zero where not finite."""
        _, ok = self.synth._checked(script, styles)
        voices = torch.where(ok[..., None], styles.to(self.synth.device, self.synth.dtype), 0.0).flatten(0, 1)
        items = enumerate(zip(voices, ok.flatten(), strict=True))
        with tensor_cores(self.synth.device, False), recurrent(self.synth.device):
            return [self._plan(script, b % len(script), *item) for b, item in items], voices

    def _plan(self, script: Script, u: int, voice: Tensor, ok: Tensor) -> _Plan:
        """One candidate [256] and one text: all fields have a leading dimension of 1."""
        synth, style = self.synth, voice[None, PROSODY]
        features, soft = synth._durations.soft(script.texts[u].prosodic[None], style)
        steps = whole(soft.detach())
        frames = int(torch.where(ok, steps.sum(), synth.max_frames + 1))  # all that the host has to know
        if frames > synth.max_frames:
            return _Plan.silent(steps.clamp_max(1), soft)
        index, total = align(steps, frames)[0], steps.sum(-1)
        f0, energy = synth._contours(features[:, index], style, Lengths([frames], synth.device, tensor=total))
        return _Plan(Prosody(steps, f0, energy, total, torch.ones_like(total, dtype=torch.bool)), soft.sum(-1), index)

    def _spoken(self, script: Script, u: int, plan: _Plan, voice: Tensor) -> Audio:
        synth, prosody = self.synth, plan.prosody
        samples = prosody.F0.shape[-1] // 2 * synth.samples_per_frame
        lens = prosody.frames * synth.samples_per_frame
        if plan.index is None:
            return Audio(plan.soft.new_zeros(1, samples), lens, prosody.ok)
        lengths = Lengths([len(plan.index)], synth.device, tensor=prosody.frames)
        text, noise = script.texts[u].acoustic[plan.index][None], script.noise(u, samples)[None]
        pitch = prosody.F0 if self.through_source else prosody.F0.detach()
        wav = synth._acoustics(text, prosody.F0, prosody.energy, voice[None, ACOUSTIC], noise, lengths, pitch)
        return Audio(wav, torch.full_like(lens, wav.shape[-1]), wav.detach().isfinite().all(-1))


@dataclass(frozen=True)
class _Plan:
    """One item: its Prosody, soft [1] frames before rounding, index [T] of the token of each frame; None: silent."""

    prosody: Prosody
    soft: Tensor
    index: Tensor | None

    @classmethod
    def silent(cls, steps: Tensor, soft: Tensor) -> _Plan:
        """Of steps [1, S], one frame a token."""
        curve, frames = soft.new_zeros(1, 2 * steps.shape[-1]), steps.sum(-1)
        return cls(
            Prosody(steps, curve, curve, frames, torch.zeros_like(frames, dtype=torch.bool)),
            soft.detach().sum(-1),
            None,
        )


def _planned(plans: Sequence[_Plan], texts: int) -> tuple[Prosody, Tensor]:
    return _joined([plan.prosody for plan in plans], texts), _join([plan.soft for plan in plans], texts)


def _joined(items: Sequence[Item], texts: int) -> Item:
    """P U items -> one of [P, U, ...], zero past the end of each."""
    return type(items[0])(**{name: _join([getattr(item, name) for item in items], texts) for name in vars(items[0])})


def _join(values: Sequence[Tensor], texts: int) -> Tensor:
    longest = max(value.shape[-1] for value in values)
    padded = [F.pad(v, (0, longest - v.shape[-1])) if v.ndim > 1 else v for v in values]
    return torch.cat(padded).unflatten(0, (-1, texts))


@contextlib.contextmanager
def recurrent(device: torch.device | None) -> Iterator[None]:
    """For LSTMs on a tape. cuDNN's has no gradient in evaluation mode; torch's own has."""
    if device is None or device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=False):
        yield
