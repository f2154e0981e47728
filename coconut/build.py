"""From a FitConfig to a wired fit: device, models, data, space, objective, score.

The one place where the rooms meet; everything it calls can be used without it.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coconut import data, losses, strategy, style
from coconut.config import FitConfig, InputError
from coconut.fit import Step, fit
from coconut.losses import SpeakerEncoder
from coconut.objective import Objective
from coconut.score import Metrics, Score
from coconut.style import StyleSpace
from coconut.synthesis import Synthesizer, load_model, stock_voices, style_prior
from coconut.voicepack import ROWS, STYLE

RANKED_UTTERANCES = 4  # fitting utterances on which the nearest stock voice is chosen


@dataclass(frozen=True)
class Fitting:
    """A fit ready to run. `config` is resolved: device, start voice and Mimi are settled."""

    config: FitConfig
    dataset: data.Dataset
    voices: dict[str, Tensor]
    synth: Synthesizer
    space: StyleSpace
    objective: Objective
    score: Score
    windows: data.Windows
    baseline: tuple[str, Metrics] | None  # the nearest stock voice and its held-out score
    notes: tuple[str, ...]

    @property
    def start(self) -> str:
        """The stock voice that the search starts from, or "mean"."""
        return self.config.space.start

    def steps(self, state: dict[str, Any] | None = None) -> Iterator[Step]:
        """The fit, from the start or from an earlier `step.state()`."""
        return fit(self.config, self.objective, self.score, self.windows, state)

    def voicepack(self, genome: Tensor) -> Tensor:
        """The voicepack [510, 1, 256] of a genome [D], on the CPU."""
        return self.space.decode(genome[None].to(self.config.device))[0].cpu()


def wire(config: FitConfig) -> Fitting:
    """Load and connect all that `config` names.

    Raises InputError for anything in it that cannot be used; nothing is written.
    """
    config, notes = resolve(config)
    dataset = data.load(config)
    device = config.device
    model = load_model(config.model, device=device)
    voices = stock_voices(model)
    synth = Synthesizer(model, seed=config.seed, precision=config.precision)
    encoder = SpeakerEncoder().to(device)
    weights = dataclasses.asdict(config.loss)
    terms = losses.build(
        weights, device, encoder=encoder, stock=_stack(voices).to(device), mimi_model=config.mimi_model
    )

    config, baseline = _settle_start(config, dataset, voices, synth, encoder)
    space = style.build(config.space, stock=voices, device=device, prior=style_prior(model))
    return Fitting(
        config=config,
        dataset=dataset,
        voices=voices,
        synth=synth,
        space=space,
        objective=Objective(space, synth, terms, weights),
        score=Score(space, synth, dataset.heldout, encoder),
        windows=data.Windows(dataset.fit, config.window.size, config.window.stride),
        baseline=baseline,
        notes=(*notes, *dataset.notes),
    )


def nearest(config: FitConfig) -> tuple[str, Metrics]:
    """The stock voice nearest to the target on fitting utterances, and its held-out score."""
    baseline = wire(dataclasses.replace(config, space=dataclasses.replace(config.space, start="nearest"))).baseline
    assert baseline is not None
    return baseline


def resolve(config: FitConfig) -> tuple[FitConfig, tuple[str, ...]]:
    """Settle what depends on the machine or on other options; with notes for the user.

    What can be refused without loading anything is refused here, by InputError.
    """
    notes = []
    strategy.options(config.es.kind)
    style.check_kind(config.space.kind)
    if config.device == "auto":
        config = dataclasses.replace(config, device="cuda" if torch.cuda.is_available() else "cpu")
    _check_device(config.device)
    if config.loss.mimi is None:
        embedded = config.model == "mini"
        config = dataclasses.replace(config, loss=dataclasses.replace(config.loss, mimi=0.0 if embedded else 1.0))
        if embedded:
            notes.append("The Mimi term is off: its weights need the model hub; --loss.mimi 1 turns it on.")
    return config, tuple(notes)


def _check_device(device: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device} cannot be used here; choose auto, cpu, or one that torch sees.") from error


def _settle_start(
    config: FitConfig, dataset: data.Dataset, voices: dict[str, Tensor], synth: Synthesizer, encoder: SpeakerEncoder
) -> tuple[FitConfig, tuple[str, Metrics] | None]:
    """Replace start "nearest" by the stock voice that scores best on fitting utterances."""
    if config.space.start != "nearest":
        return config, None
    space = style.build(config.space, stock=voices, device=config.device)
    ranking = Score(space, synth, dataset.fit[:RANKED_UTTERANCES], encoder).rank(voices)
    name = ranking[0][0]
    heldout = Score(space, synth, dataset.heldout, encoder).voicepack(voices[name])
    settled = dataclasses.replace(config, space=dataclasses.replace(config.space, start=name))
    return settled, (name, heldout)


def _stack(voices: dict[str, Tensor]) -> Tensor:
    """Stock voices as [V, 510, 256], sorted by name."""
    return torch.stack([voices[name].reshape(ROWS, STYLE) for name in sorted(voices)])
