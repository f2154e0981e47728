"""Speaker likeness by GE2E embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from coconut.data import Utterance
from coconut.losses.ge2e import SpeakerEncoder
from coconut.losses.synthesis import Synthesis, recording

__all__ = ["SpeakerEncoder", "SpeakerTerm"]


class SpeakerTerm:
    """1 - cosine of the GE2E embeddings of a candidate and of the recording of the same text."""

    differentiable = True

    def __init__(self, device: torch.device | str = "cpu", encoder: SpeakerEncoder | None = None) -> None:
        self.encoder, self.device = (encoder or SpeakerEncoder()).to(device), device

    def reference(self, utterance: Utterance) -> Tensor:
        """[256] of unit length."""
        return self.encoder(*recording(utterance, self.device))[0]

    def __call__(self, refs: list[Tensor], syn: Synthesis) -> Tensor:
        ours = syn.embeddings(self.encoder).unflatten(0, syn.shape)
        return (1 - (ours * torch.stack(refs)).sum(-1)).clamp_min(0)
