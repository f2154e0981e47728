"""Speaking time."""

from __future__ import annotations

import torch
from torch import Tensor

from coconut.data import Utterance
from coconut.losses.synthesis import Synthesis, recording


class DurationTerm:
    """|log ratio| of speaking times, silence at both ends apart: 0.1 is 10% too fast or too slow.

    On a tape the frames before rounding count, which alone have a slope: up to a few percent apart.
    """

    differentiable = True

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = device

    def reference(self, utterance: Utterance) -> Tensor:
        """Samples, a scalar."""
        return recording(utterance, self.device)[1][0]

    def __call__(self, refs: list[Tensor], syn: Synthesis) -> Tensor:
        _, lens = syn.speech
        ratio = lens.unflatten(0, syn.shape).clamp_min(1) / torch.stack(refs).clamp_min(1)
        if syn.soft is not None:
            ratio = ratio * syn.soft / syn.prosody.frames
        return ratio.log().abs()
