"""Speaker likeness by GE2E embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coconut.data import Utterance
from coconut.losses.ge2e import SpeakerEncoder
from coconut.losses.synthesis import Synthesis, recording

__all__ = ["SpeakerEncoder", "SpeakerReference", "SpeakerTerm"]


@dataclass(frozen=True)
class SpeakerReference:
    """embedding [256] of unit length as the recording is; the utterance, to be heard through a channel."""

    embedding: Tensor
    utterance: Utterance


class SpeakerTerm:
    """1 - cosine of the GE2E embeddings of a candidate and of the recording of the same text.

    Where the synthesis comes through a `channel`, the recording is heard through the same one.
    """

    differentiable = True

    def __init__(self, device: torch.device | str = "cpu", encoder: SpeakerEncoder | None = None) -> None:
        self.encoder, self.device = (encoder or SpeakerEncoder()).to(device), device

    def reference(self, utterance: Utterance) -> SpeakerReference:
        return SpeakerReference(self.encoder(*recording(utterance, self.device))[0], utterance)

    def __call__(self, refs: list[SpeakerReference], syn: Synthesis) -> Tensor:
        if syn.channel is None:
            ours, theirs = syn.embeddings(self.encoder), [ref.embedding for ref in refs]
        else:
            ours, theirs = self._heard(syn, *syn.speech), [self._recorded(syn, ref.utterance) for ref in refs]
        return (1 - (ours.unflatten(0, syn.shape) * torch.stack(theirs)).sum(-1)).clamp_min(0)

    def _recorded(self, syn: Synthesis, utterance: Utterance) -> Tensor:
        return self._heard(syn, *recording(utterance, self.device))[0]

    def _heard(self, syn: Synthesis, wav: Tensor, lens: Tensor) -> Tensor:
        """Embeddings [B, 256] of wav [B, T] through the channel of the synthesis."""
        assert syn.channel is not None
        return self.encoder(*syn.channel(wav, lens), gain=syn.channel.gain)
