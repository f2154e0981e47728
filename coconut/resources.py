"""What is loaded once per process and device, however many fits run in it: models, voices, encoders.

A sweep's trials follow one another in the same process, and so do the ranking of voices, a fit and
its test. Nothing here depends on a fit's settings but on what they name.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from coconut import losses
from coconut.config import GE2E, JUDGE, InputError
from coconut.losses import Encoder, SpeakerEncoder, Term
from coconut.losses.judge import Judge
from coconut.losses.xvector import XVector
from coconut.prior import Prior
from coconut.synthesis import Synthesizer, load_model, stock_voices, style_prior
from coconut.voicepack import ROWS, STYLE

MODELS = 2  # kept at once: a process that goes on to a third gives the first back


@dataclass(frozen=True, eq=False)
class Model:
    """A stock KModel on its device; voices {name: [510, 1, 256]} and their prior on the CPU."""

    network: Any
    voices: dict[str, Tensor]
    prior: Prior

    @cached_property
    def stock(self) -> Tensor:
        """The voices as [V, 510, 256], sorted by name."""
        return torch.stack([self.voices[name].reshape(ROWS, STYLE) for name in sorted(self.voices)])


@lru_cache(MODELS)
def model(name: str, device: str) -> Model:
    """Raises InputError where the model, its voices or the device cannot be had."""
    check_device(device)
    network = load_model(name, device=device)
    voices = stock_voices(network)
    packs = torch.stack([voices[voice].reshape(ROWS, STYLE).float() for voice in sorted(voices)])
    return Model(network, voices, style_prior(network) or Prior.of(packs))


@lru_cache(MODELS)
def speaker_encoder(device: str) -> SpeakerEncoder:
    return SpeakerEncoder().to(device)


@lru_cache(MODELS)
def encoder(name: str, device: str) -> Encoder:
    """The ears `score.encoder` names. Raises InputError where they cannot be had."""
    if name == GE2E:
        return speaker_encoder(device)
    return Judge().to(device) if name == JUDGE else XVector.load(name, device)


def ears(name: str, device: str) -> tuple[Encoder, dict[str, Encoder]]:
    """The ears that judge, and by name those that are heard beside them: the loss's, where they are others."""
    return encoder(name, device), {} if name == GE2E else {GE2E: speaker_encoder(device)}


@lru_cache(2 * MODELS)
def synthesizer(name: str, device: str, seed: int, precision: str, max_seconds: float) -> Synthesizer:
    """Raises InputError as `model` does, and for an unknown precision."""
    return Synthesizer(model(name, device).network, seed=seed, precision=precision, max_seconds=max_seconds)


@lru_cache(32)
def term(kind: str, device: str, name: str, mimi_model: str | None) -> Term:
    """The loss term `kind`, for the model `name`. Raises InputError for what it lacks."""
    ge2e, stock = speaker_encoder(device), model(name, device).stock.to(device)
    return losses.build({kind: 1.0}, device, encoder=ge2e, stock=stock, mimi_model=mimi_model)[kind]


def forget() -> None:
    """Give everything back."""
    for cached in (model, speaker_encoder, encoder, synthesizer, term):
        cached.cache_clear()


def check_device(device: str) -> None:
    """Raises InputError for a device that torch does not have here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device} cannot be used here; choose auto, cpu, or one that torch sees.") from error
