"""From a job and settings to a wired fit: space, objective, score. The one place where the rooms meet."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor

from coconut import data, resources, style
from coconut.config import STAGED, FitConfig, InputError, SpaceConfig, from_dict
from coconut.fit import Step, fit
from coconut.job import Job
from coconut.losses.channel import Channels
from coconut.objective import Objective
from coconut.prosody import Held, ProsodyObjective
from coconut.score import Metrics, Score
from coconut.stage import staged
from coconut.style import StyleSpace
from coconut.synthesis import Synthesizer

JOBS = 4  # whose references a process keeps


@dataclass(frozen=True)
class Fitting:
    """A fit ready to run: one job, the settings of this fit, and what they come to.

    `prosody` leads the first stage of a fit that is staged, and is None for any other.
    """

    job: Job
    config: FitConfig
    voices: dict[str, Tensor]
    synth: Synthesizer
    space: StyleSpace
    objective: Objective
    score: Score
    windows: data.Windows
    prosody: ProsodyObjective | None = None

    def steps(self, state: dict[str, Any] | None = None) -> Iterator[Step]:
        """The fit, from the start or from an earlier `step.state()`, which also holds how many frames a batch had."""
        found = self._steps(state)
        budget, most = self.synth.budget, (state or {}).get("frames", math.inf)
        while True:
            with budget.within(most):  # of this fit alone: the next one in this process shares the synthesizer
                step = next(found, None)
                if step is None:
                    return
                frames = budget.frames if budget.bytes_per_frame else most  # gradients alone measure no batch
            yield dataclasses.replace(step, _state=step.state() | {"frames": frames})

    def _steps(self, state: dict[str, Any] | None) -> Iterator[Step]:
        if self.prosody is None:
            return fit(self.config, self.objective, self.score, self.windows, state)
        return staged(self.config, self.prosody, self.objective, self.score, self.windows, state)

    def voicepack(self, genome: Tensor) -> Tensor:
        """The voicepack [510, 1, 256] of a genome [D], on the CPU."""
        return self.space.decode(genome[None].to(self.synth.device, self.synth.dtype))[0].float().cpu()


def wire(job: Job, config: FitConfig | None = None) -> Fitting:
    """A fit of `job` with the settings of `config` (default: the job's own).

    Model, voices, encoders and the references of the recordings are kept per process and device:
    the second fit of a job is wired at once. The start that the job found (`Job.start`) is that of this
    fit only where `config` names it. Raises InputError for settings that cannot be used.
    """
    config = config or job.config
    if config.space.start == "nearest":  # asked for by a setting of this fit; the job knows which one it is
        config = from_dict({"space.start": job.nearest.name if job.nearest else job.config.space.start}, config)
    model = resources.model(config.model, config.device)
    synth = job.synthesizer(config)
    weights = dataclasses.asdict(config.loss)
    terms = {
        name: resources.term(name, config.device, config.model, config.mimi_model)
        for name, weight in weights.items()
        if weight
    }
    where, start = _start(job, config.space)
    space = style.build(where, stock=model.voices, device=config.device, prior=model.prior, start=start)
    references = _references(job, config.device, config.mimi_model)
    prosody = None
    if config.schedule == STAGED:
        prosody = ProsodyObjective(Held(space), synth, terms, weights, references)
    return Fitting(
        job=job,
        config=config,
        voices=model.voices,
        synth=synth,
        space=space,
        objective=Objective(space, synth, terms, weights, references, Channels(config.seed, config.augment)),
        score=_score(job, "heldout", synth, config.score.encoder).within(space),
        windows=data.Windows(job.fit, config.window.size, config.window.stride),
        prosody=prosody,
    )


def forget() -> None:
    """Give everything back that a process keeps for its next fit."""
    for kept in (_references, _score):
        kept.cache_clear()
    resources.forget()


def hear_test(job: Job, pack: Tensor, config: FitConfig | None = None) -> Metrics | None:
    """How good a voicepack [510, 1, 256] is on the test utterances, which nothing chose it by; None without any."""
    if not job.test:
        return None
    config = config or job.config
    return _score(job, "test", job.synthesizer(config), config.score.encoder).voicepack(pack)


def hear_left_out(job: Job, pack: Tensor, config: FitConfig | None = None) -> list[float]:
    """Test scores of a voicepack [510, 1, 256] with each utterance in turn left out; empty where there is no test."""
    if not job.test:
        return []
    config = config or job.config
    return _score(job, "test", job.synthesizer(config), config.score.encoder).left_out(pack)


def _start(job: Job, config: SpaceConfig) -> tuple[SpaceConfig, Tensor | None]:
    """The settings of a space that begins at a stock voice or the mean, and the voicepack to begin at instead.

    Spaces of mixtures cannot begin at that voicepack: they begin at the nearest stock voice.
    """
    if config.start not in style.FOUND:
        return config, None
    if job.start is None or job.nearest is None or config.start != job.config.space.start:
        raise InputError(
            f"space.start is {config.start}, for which this job was not made; make one with it, or name a stock voice."
        )
    return dataclasses.replace(config, start=job.nearest.name), job.start


@lru_cache(JOBS)
def _references(job: Job, device: str, mimi_model: str | None) -> dict[tuple[str, str], Any]:
    """What the loss terms keep of the recordings, filled as they are heard."""
    return {}


@lru_cache(2 * JOBS)
def _score(job: Job, split: str, synth: Synthesizer, encoder: str) -> Score:
    return Score(None, synth, job.utterances[split], *resources.ears(encoder, str(synth.device)))
