"""How fast a device does the parts of a fit, what memory they take, and how near its speech is to the CPU's.

Nothing is downloaded but the model that is named: the recordings are what one of its stock voices says.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import psutil
import torch
from torch import Tensor

from coconut import resources
from coconut.audio import LogMel
from coconut.build import Fitting, wire
from coconut.config import InputError, from_dict
from coconut.data import Utterance
from coconut.job import Job, settle
from coconut.synthesis import Synthesizer
from coconut.synthesis.memory import own
from coconut.synthesis.precision import EXACT
from coconut.synthesis.transfer import upload

Result = TypeVar("Result")

SENTENCES = (  # Harvard sentences in pairs, about 5 s each
    "ðə bˈɜɹʧ kənˈu slˈɪd ɔnðə smˈuð plˈæŋks, ænd ə lˈɑɹʤ sˈIz ɪn stˈɑkɪŋz ɪz hˈɑɹd tə sˈɛl.",
    "ɡlˈu ðə ʃˈit tə ðə dˈɑɹk blˈu bˈækɡɹWnd bᵻfˌɔɹ ðə mˈɔɹnɪŋ lˈIt kˈʌmz θɹu ðə wˈɪndO.",
    "ɪT ɪz ˈizi tə tˈɛl ðə dˈɛpθ əvə wˈɛl, bˌʌt ðiz dˈAz ə ʧˈɪkɪn lˈɛɡ ɪz ə ɹˈɛɹ dˈɪʃ.",
    "ɹˈIs ɪz ˈɔfən sˈɜɹvd ɪn ɹˈWnd bˈOlz, wˌIl ðə ʤˈus ʌv lˈɛmənz mˌAks ə fˈIn pˈʌnʧ ɪn sˈʌməɹ.",
)
NO_MIMI = "none"
SPREAD = 0.3  # of a population around its voice, in standard deviations of the stock voices
REPEATS = 3
NEAR = 0.005  # nepers of log-mel: a quarter of what another noise of the source makes (experiments/log/memory.md)
SHARES = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Reading:
    """One precision on one device.

    seconds of each stage for a population of `popsize`, median of three: `prosody`, `decode` and `losses` make up
    a generation, `score` judges its mean, `step` is one of the gradient for one voice and one text. audio: seconds
    that the population speaks. apart: log-mel distance in nepers of what one voice says, in a batch, from what it
    says on the CPU, exact and alone. frames: of a batch, at most. held, peak: bytes before the first population and
    within a generation; on a CPU held is the whole process, and peak 0, not known.
    """

    precision: str
    popsize: int
    audio: float
    apart: float
    frames: int
    held: int
    peak: int
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def generation(self) -> float:
        """Seconds of one, its scoring apart."""
        return self.seconds["prosody"] + self.seconds["decode"] + self.seconds["losses"]

    @property
    def rate(self) -> float:
        """Candidate-seconds per second: speech that is made and compared."""
        return self.audio / self.generation


def prepare(model: str, device: str, precision: str, window: int = 2, mimi: str | None = None) -> Fitting:
    """A fit of what a stock voice of `model` says, wired as any other.

    mimi: the model of that loss, NO_MIMI to do without, None for what is usual with `model`. Raises InputError where
    model, device or Mimi cannot be had.
    """
    spoken = _spoken(model)
    settings: dict[str, Any] = {
        "model": model, "device": device, "precision": precision, "window.size": window, "es.kind": "snes",
        "space.start": spoken[0].origin,
    }  # fmt: skip
    if mimi is not None:
        settings |= {"loss.mimi": 0.0} if mimi == NO_MIMI else {"loss.mimi": 1.0, "mimi_model": mimi}
    config = settle(from_dict(settings))
    return wire(Job(config, fit=spoken, heldout=spoken[:window]))


def read(fitting: Fitting, popsize: int, step: bool = True) -> Reading:
    """A Reading of a fit from `prepare`; without `step` the gradient, which needs the most memory, is left out."""
    synth, space, device = fitting.synth, fitting.space, fitting.synth.device
    utterances = fitting.windows[0]
    draw = torch.Generator().manual_seed(0)
    start = space.init().double().cpu()
    population = start + SPREAD * torch.randn(popsize, len(start), generator=draw, dtype=torch.float64)
    held = _held(device)
    before = fitting.objective.audio_seconds
    fitting.objective(population, utterances)
    audio = fitting.objective.audio_seconds - before
    script = synth.prepare([utterance.phonemes for utterance in utterances])
    styles = space.styles(upload(population.float(), device), upload(script.rows, device))
    seconds: dict[str, float] = {}
    seconds["prosody"], prosody = _timed(lambda: synth.prosody(script, styles), device)
    seconds["decode"], _ = _timed(lambda: synth.decode(script, prosody, styles), device)
    peak = _peak(lambda: fitting.objective(population, utterances), device)
    whole, _ = _timed(lambda: fitting.objective(population, utterances), device)
    seconds["losses"] = max(0.0, whole - seconds["prosody"] - seconds["decode"])
    seconds["score"], _ = _timed(lambda: fitting.score(start), device)
    if step:
        seconds["step"], _ = _timed(lambda: fitting.objective.gradient(start[None], utterances[:1]), device)
    apart = _apart(synth, fitting.voices, utterances)
    return Reading(synth.precision, popsize, audio, apart, synth.budget.frames, held, peak, seconds)


def fastest(readings: Sequence[Reading]) -> Reading:
    """Of those whose speech is near the CPU's, the one with the highest rate; exact where none is near."""
    near = [reading for reading in readings if reading.apart <= NEAR]
    return max(near or [r for r in readings if r.precision == EXACT] or readings, key=lambda reading: reading.rate)


def share(reading: Reading, total: float) -> float | None:
    """The least of SHARES of a GPU of `total` bytes that holds such a fit; None where not even all of it does."""
    return next((part for part in SHARES if own(part, total) >= reading.peak), None)


@lru_cache(1)
def _spoken(model: str) -> tuple[Utterance, ...]:
    """What the first stock voice says on the CPU, exact, one text at a time; `origin` is its name."""
    known = resources.model(model, "cpu")
    name = min(known.voices)
    synth, pack = Synthesizer(known.network), known.voices[name]
    found = []
    for i, phonemes in enumerate(SENTENCES):
        script = synth.prepare([phonemes])
        audio = synth(script, pack[script.rows, 0][None])
        if not audio.ok.all():
            raise InputError(f"{model} cannot speak in its own voice {name}; copy the model again.")
        found.append(Utterance(str(i), phonemes, phonemes, audio.wav[0, 0], name))
    return tuple(found)


def _apart(synth: Synthesizer, voices: dict[str, Tensor], utterances: Sequence[Utterance]) -> float:
    """Mean absolute difference of log-mels from the recordings of the voice that spoke them, beside three others."""
    script = synth.prepare([utterance.phonemes for utterance in utterances])
    names = [utterances[0].origin, *sorted(voices)[1:4]]
    styles = torch.stack([voices[name][script.rows, 0] for name in names])
    audio, mel = synth(script, upload(styles, synth.device)), LogMel()
    wavs, lens, apart = audio.wav[0].float().cpu(), audio.lens[0].tolist(), []
    for wav, size, utterance in zip(wavs, lens, utterances, strict=True):
        if size != len(utterance.audio):  # another duration: nothing to compare
            return float("inf")
        pair = torch.stack([wav[:size], utterance.audio])
        ours, theirs = mel(pair, torch.tensor([size, size]))[0]
        apart.append(float((ours - theirs).abs().mean()))
    return statistics.mean(apart)


def _timed(work: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    """Median of the seconds that work() takes, its queue of kernels included, and what it gave."""
    took = []
    for _ in range(REPEATS):
        _wait(device)
        begun = time.perf_counter()
        result = work()
        _wait(device)
        took.append(time.perf_counter() - begun)
    return statistics.median(took), result


def _held(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss


def _peak(work: Callable[[], object], device: torch.device) -> int:
    """The most that tensors hold on a GPU while work() runs, what was there before included."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    work()
    _wait(device)
    return torch.cuda.max_memory_allocated(device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
