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
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from coconut.synthesis.precision import tensor_cores
from coconut.synthesis.prosody import align, whole
from coconut.synthesis.ragged import Lengths
from coconut.synthesis.script import Script
from coconut.synthesis.synthesizer import Audio, Prosody, Synthesizer
from coconut.voicepack import ACOUSTIC, PROSODY


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
        _, ok = self.synth._checked(script, styles)
        styles = styles.to(self.synth.device, self.synth.dtype)
        with tensor_cores(self.synth.device, False):
            items = [
                self._item(script, u, styles[p, u], ok[p, u]) for p in range(len(styles)) for u in range(len(script))
            ]
        return _joined(items, len(script))

    def _item(self, script: Script, u: int, style: Tensor, ok: Tensor) -> Taped:
        """One candidate [256] and one text: all fields have a leading dimension of 1."""
        synth, text = self.synth, script.texts[u]
        voice = torch.where(ok, style, 0.0)[None]
        with recurrent(synth.device):
            features, soft = synth._durations.soft(text.prosodic[None], voice[:, PROSODY])
            steps = whole(soft.detach())
            frames = int(torch.where(ok, steps.sum(), synth.max_frames + 1))  # all that the host has to know
            if frames > synth.max_frames:
                return self._silent(steps.clamp_max(1), soft)
            index = align(steps, frames)[0]
            lengths = Lengths([frames], synth.device, tensor=steps.sum(-1))
            f0, energy = synth._contours(features[:, index], voice[:, PROSODY], lengths)
        noise = script.noise(u, frames * synth.samples_per_frame)[None]
        pitch = f0 if self.through_source else f0.detach()
        with tensor_cores(synth.device, synth.precision == "fast"):
            wav = synth._acoustics(text.acoustic[index][None], f0, energy, voice[:, ACOUSTIC], noise, lengths, pitch)
        return self._taped(wav, f0, energy, steps, soft, wav.detach().isfinite().all(-1))

    def _silent(self, steps: Tensor, soft: Tensor) -> Taped:
        frames = steps.shape[-1]  # one a token
        wav, curve = soft.new_zeros(1, frames * self.synth.samples_per_frame), soft.new_zeros(1, 2 * frames)
        return self._taped(wav, curve, curve, steps, soft.detach(), torch.zeros(1, dtype=torch.bool, device=wav.device))

    @staticmethod
    def _taped(wav: Tensor, f0: Tensor, energy: Tensor, steps: Tensor, soft: Tensor, ok: Tensor) -> Taped:
        frames = steps.sum(-1)
        lens = torch.full_like(frames, wav.shape[-1])
        return Taped(Audio(wav, lens, ok), Prosody(steps, f0, energy, frames, ok), soft.sum(-1))


def _joined(items: list[Taped], texts: int) -> Taped:
    """P U items -> one of [P, U, ...], zero past the end of each."""

    def join(values: list[Tensor]) -> Tensor:
        longest = max(value.shape[-1] for value in values)
        padded = [F.pad(v, (0, longest - v.shape[-1])) if v.ndim > 1 else v for v in values]
        return torch.cat(padded).unflatten(0, (-1, texts))

    def fields(parts: list[Audio] | list[Prosody]) -> dict[str, Tensor]:
        return {name: join([getattr(part, name) for part in parts]) for name in vars(parts[0])}

    audio, prosody = Audio(**fields([i.audio for i in items])), Prosody(**fields([i.prosody for i in items]))
    return Taped(audio, prosody, join([i.soft for i in items]))


@contextlib.contextmanager
def recurrent(device: torch.device | None) -> Iterator[None]:
    """For LSTMs on a tape. cuDNN's has no gradient in evaluation mode; torch's own has."""
    if device is None or device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=False):
        yield
