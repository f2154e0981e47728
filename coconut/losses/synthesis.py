"""What a loss term sees: a population's audio, prosody and styles, with the features terms share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from coconut.audio import SAMPLE_RATE, LogMel, speech
from coconut.data import Utterance
from coconut.losses.channel import Channel
from coconut.synthesis import Audio, Prosody, Script, Synthesizer
from coconut.synthesis.gradient import Tape
from coconut.synthesis.memory import Parts
from coconut.synthesis.transfer import upload

SPECTRA = Parts(240 * SAMPLE_RATE)  # samples of padded audio whose spectra are held at once


@dataclass(frozen=True)
class Synthesis:
    """P candidates speaking U utterances.

    styles [P, U, 256]; rows [U]: the voicepack row of each utterance. Features are flat over
    B = P U items, item b being candidate b // U and utterance b % U. On a tape, which is where it came
    from `taped`, soft [P, U] are the frames before they are rounded. `channel`: what a term that listens
    through one hears it through, with the recording.
    """

    audio: Audio
    prosody: Prosody
    styles: Tensor
    rows: Tensor
    soft: Tensor | None = None
    channel: Channel | None = None
    _embeddings: dict[int, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, synth: Synthesizer, script: Script, styles: Tensor, channel: Channel | None = None) -> Synthesis:
        """Both stages of synthesis for styles [P, U, 256]."""
        prosody = synth.prosody(script, styles)
        return cls(synth.decode(script, prosody, styles), prosody, styles, script.rows, channel=channel)

    @classmethod
    def taped(cls, tape: Tape, script: Script, styles: Tensor, channel: Channel | None = None) -> Synthesis:
        """The same with a gradient with regard to styles [P, U, 256]."""
        found = tape(script, styles)
        return cls(found.audio, found.prosody, styles, script.rows, found.soft, channel)

    def detached(self) -> Synthesis:
        """The same off the tape."""
        audio = Audio(**{name: value.detach() for name, value in vars(self.audio).items()})
        prosody = Prosody(**{name: value.detach() for name, value in vars(self.prosody).items()})
        return Synthesis(audio, prosody, self.styles.detach(), self.rows, channel=self.channel)

    @property
    def shape(self) -> tuple[int, int]:
        """(P, U)."""
        return self.audio.lens.shape[0], self.audio.lens.shape[1]

    @property
    def samples(self) -> Tensor:
        """Of audio that was made: a number, on the device."""
        return (self.audio.lens * self.audio.ok).sum()

    @cached_property
    def ok(self) -> Tensor:
        """[P, U] true where style and audio are finite, and the speech not endless."""
        finite = self.audio.wav.isfinite().all(-1) & self.styles.isfinite().all(-1).to(self.audio.wav.device)
        return self.audio.ok & finite

    @cached_property
    def speech(self) -> tuple[Tensor, Tensor]:
        """(wav [B, T], lens [B]): float32, without silence at the ends, at one level; zeros where not ok."""
        wav = narrow(self.audio.wav).masked_fill(~self.ok.unsqueeze(-1), 0)
        wav, lens = wav.flatten(0, 1), self.audio.lens.flatten()

        def work(part: Sequence[int]) -> tuple[Tensor, Tensor]:
            return speech(wav[part[0] : part[-1] + 1], lens[part[0] : part[-1] + 1])

        treated = SPECTRA.run(range(len(wav)), work, max(1, wav.shape[-1]))
        return torch.cat([wav for wav, _ in treated]), torch.cat([lens for _, lens in treated])

    @cached_property
    def logmel(self) -> tuple[Tensor, Tensor]:
        """(log-mel [B, 80, F], frames [B]) of `speech`."""
        wav, lens = self.speech
        mel = _logmel(wav.device)
        return chunked(lambda part, size: mel(part, size)[0], wav, lens), mel.frames(lens)

    def embeddings(self, encoder: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """[B, E] speaker embeddings of `speech`, computed once per encoder."""
        if id(encoder) not in self._embeddings:
            self._embeddings[id(encoder)] = encoder(*self.speech)
        return self._embeddings[id(encoder)]


@cache
def _logmel(device: torch.device) -> LogMel:
    return LogMel().to(device)


def narrow(x: Tensor) -> Tensor:
    """x in float32; on a tape it keeps its precision."""
    return x if x.requires_grad else x.float()


def chunked(function: Callable[[Tensor, Tensor], Tensor], wav: Tensor, lens: Tensor) -> Tensor:
    """function(wav [B, T], lens [B]) in parts, as many as memory holds of their spectra."""
    return SPECTRA.rows(function, wav, lens, cost=max(1, wav.shape[-1]))


def recording(utterance: Utterance, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """(wav [1, N], lens [1]) of an utterance, treated as synthesised speech is: trimmed, at one level.

    It is treated where it lies, on the CPU, so that its length is known without asking the device.
    """
    wav = utterance.audio.to("cpu", torch.float32)[None]
    wav, lens = speech(wav, torch.tensor([wav.shape[1]]))
    return upload(wav[:, : int(lens)], device), upload(lens, device)


def stacked(items: list[Tensor], popsize: int) -> tuple[Tensor, Tensor]:
    """Ragged references [C, F_u] as ([P U, C, F] zero-padded, frames [P U])."""
    frames = upload([item.shape[-1] for item in items], items[0].device)
    batch = pad_sequence([item.T for item in items], batch_first=True).transpose(1, 2)
    return batch.repeat(popsize, 1, 1), frames.repeat(popsize)
