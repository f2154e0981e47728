"""What a fit minimises: distances between recordings and what candidates make of the same texts.

One term per file. A term answers `reference(utterance)`, which the objective keeps, and
`term(refs, synthesis) -> [P, U]`, lower is better. To add one, write its class, name it in TERMS
and give it a weight in `config.LossConfig`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coconut.config import InputError
from coconut.losses.duration import DurationTerm
from coconut.losses.f0 import F0Term
from coconut.losses.logmel import LogMelTerm
from coconut.losses.mimi import MimiTerm
from coconut.losses.prior import PriorTerm
from coconut.losses.speaker import SpeakerEncoder, SpeakerTerm
from coconut.losses.spectral import SpectralTerm
from coconut.losses.synthesis import Synthesis
from coconut.losses.term import Encoder, Term

__all__ = ["TERMS", "Encoder", "SpeakerEncoder", "Synthesis", "Term", "build"]

TERMS: dict[str, Callable[..., Term]] = {
    "logmel": LogMelTerm,
    "spectral": SpectralTerm,
    "speaker": SpeakerTerm,
    "mimi": MimiTerm,
    "f0": F0Term,
    "duration": DurationTerm,
    "prior": PriorTerm,
}


def build(
    weights: Mapping[str, float | None],
    device: torch.device | str = "cpu",
    *,
    encoder: SpeakerEncoder | None = None,
    stock: Tensor | None = None,
    mimi_model: str | Path | Any = None,
) -> dict[str, Term]:
    """The terms of positive weight, in the order of TERMS; a weight of 0 or None costs nothing.

    encoder: shared with other users of speaker embeddings. stock [V, 510, 256]: for `prior`.
    mimi_model: a MimiModel, `mini`, a hub name or a folder, for `mimi`. Raises InputError for an unknown name
    or a resource that a term lacks.
    """
    unknown = sorted(set(weights) - set(TERMS))
    if unknown:
        raise InputError(f"Unknown loss term {unknown[0]}; known: {', '.join(TERMS)}.")
    extra: dict[str, dict[str, Any]] = {
        "speaker": {"encoder": encoder},
        "prior": {"stock": stock},
        "mimi": {"model": mimi_model},
    }
    wanted = [name for name in TERMS if (weights.get(name) or 0.0) > 0]
    return {name: TERMS[name](device=device, **extra.get(name, {})) for name in wanted}
