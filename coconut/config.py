"""Every option of a fit, with its default, its meaning, its bounds and the range a sweep searches, once.

The dataclasses are frozen; `from_dict` is strict (a typo is an error that names the
nearest option) and takes nested dicts, dotted names or a mix; `flatten` gives the dotted
names that the command line, Ray Tune and MLflow share. Options that are None by default
depend on the model; `defaults` says what holds.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

EMBEDDED = "mini"  # the model that is part of the package
MIMI = "kyutai/mimi"
WHISPER = "openai/whisper-small"
GE2E, JUDGE = "ge2e", "judge"  # the speaker encoders that are part of the package
ADAM = "adam"  # the kind that follows the gradient
JOINT, STAGED = SCHEDULES = "joint", "staged"
BY_MODEL = {  # what holds where an option is None: for the embedded model, and for any other
    "budget": (600, 8_000),
    "mimi_model": (EMBEDDED, MIMI),
    "loss.mimi": (0.0, 1.0),  # figures: experiments/log/mimi.md
}


class InputError(ValueError):
    """Something the user gave cannot be used. One sentence: what, where, and what to do."""


@dataclass(frozen=True)
class Range:
    """Where a sweep looks for the value of an option: both ends are included; whole numbers go by `step`."""

    low: float
    high: float
    log: bool = False
    step: int | None = None


def option(
    default: Any,
    help: str,
    low: float | None = None,
    high: float | None = None,
    search: Range | None = None,
    bare: str | None = None,
) -> Any:
    """A dataclass field: its help text, closed numeric bounds (None: unbounded), and what a sweep searches.

    `bare`: what the option means on a command line that gives it no value.
    """
    return field(default=default, metadata={"help": help, "low": low, "high": high, "search": search, "bare": bare})


def weight(default: float, help: str) -> Any:
    """The weight of a loss term. A sweep searches a factor of ten to either side of the default."""
    return option(default, help, 0.0, search=Range(default / 10, default * 10, log=True))


@dataclass(frozen=True)
class EsConfig:
    """The evolution strategy. Genomes are whitened, so sigma 1 is the spread of the stock voices."""

    kind: str = option(ADAM, "strategy: adam, snes, xnes, cmaes, sepcmaes, cem, cosyne, walk")
    sigma: float = option(
        0.2, "initial step size, in standard deviations of the stock voices", 1e-8, 1e3, Range(0.05, 1.0, log=True)
    )
    popsize: int | None = option(
        None, "candidates per generation; None: 1 for adam, 16 for all others", 1, 65536, Range(8, 32, step=4)
    )
    rho: float = option(0.25, "share of elites (cem only)", 1e-6, 1.0, Range(0.1, 0.5))
    mirrored: bool = option(False, "sample in mirrored pairs")
    orthogonal: bool = option(True, "candidates at right angles to each other; false: independent draws")
    mean_rate: float = option(1.0, "learning rate of the mean", 1e-6, 10.0)
    learning_rate: float = option(
        0.1, "step size, in standard deviations of the stock voices (adam only)", 1e-6, 10.0, Range(0.02, 0.3, log=True)
    )
    beta1: float = option(0.9, "memory of the gradient (adam only)", 0.0, 0.9999)
    beta2: float = option(0.999, "memory of the squared gradient (adam only)", 0.0, 0.999999)
    clip: float = option(1.0, "longest gradient, longer ones are cut; 0: any (adam only)", 0.0)
    decay: float = option(0.0, "share of the step size lost each generation (adam only)", 0.0, 0.5, Range(0.0, 0.03))
    sigma_min: float = option(1e-4, "floor of the step size", 0.0)
    sigma_max: float = option(10.0, "ceiling of the step size", 1e-8)

    @property
    def candidates(self) -> int:
        """popsize, or what is usual for the kind: a second point that climbs costs as much again as the first."""
        return self.popsize or (1 if self.kind == ADAM else 16)


@dataclass(frozen=True)
class SpaceConfig:
    """What a genome is: how [D] numbers become a voicepack [510, 1, 256]."""

    kind: str = option("whole", "style space: whole, pca, bias, interp, interp+bias")
    components: int = option(32, "principal components of the stock voices (pca)", 1, 256, Range(8, 48, step=8))
    slopes: int = option(16, "components of the slope over rows (whole, pca)", 0, 256)
    start: str = option("encoder", "where the search starts: encoder, nearest, mix, mean, or the name of a stock voice")
    whiten: bool = option(True, "scale each coordinate by the spread of the stock voices; false: raw units")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms. A term of weight 0 is not built and costs nothing."""

    logmel: float = weight(3.0, "log-mel distance along the best alignment in time")
    spectral: float = weight(0.5, "distance of long-term spectra at several resolutions")
    speaker: float = weight(2.0, "1 - cosine of GE2E speaker embeddings")
    mimi: float | None = option(None, "distance of Mimi embeddings", 0.0, search=Range(0.0, 4.0))
    f0: float = weight(0.5, "distance of F0 distributions")
    duration: float = weight(0.5, "distance of speaking time")
    prior: float = weight(0.05, "distance from the stock voices, squared")


@dataclass(frozen=True)
class WindowConfig:
    """The minibatch of utterances that all candidates of a generation share."""

    size: int = option(2, "utterances per generation", 1)
    stride: int = option(2, "utterances by which the window moves each generation", 0)


@dataclass(frozen=True)
class StopConfig:
    """When a fit ends early. Judged on the held-out score alone."""

    patience: int = option(14, "scored generations without a new best before stopping; 0: never", 0)
    min_delta: float = option(0.05, "smallest gain of score (points of 100) that counts as a new best", 0.0)
    drop: float = option(1.0, "score this far below the best for half the patience is overcooked", 0.0)
    every: int = option(2, "score the mean every so many generations", 1)


@dataclass(frozen=True)
class ScoreConfig:
    """What judges a voice, the same for all fits that are compared. It knows nothing of the loss."""

    encoder: str = option(
        GE2E, "ears of its speaker part: ge2e, judge, or a hub name or folder of a model that gives x-vectors"
    )


@dataclass(frozen=True)
class FitConfig:
    """One complete fit. `FitConfig()` is the demo on the embedded model."""

    model: str = option(EMBEDDED, "mini, a hub name such as hexgrad/Kokoro-82M, or a folder")
    mimi_model: str | None = option(None, "the Mimi model: mini (embedded), a hub name or a folder")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    precision: str = option(
        "auto", "exact, tf32 (tensor cores, float32 sums), fast (bf16 in the generator), auto: tf32 on CUDA, else exact"
    )
    data: str = option(
        "demo", "demo, a folder of recordings or parquet files, a known data set, or OWNER/NAME of the hub"
    )
    columns: str | None = option(
        None, "columns of a table, of parquet files or of a hub set: audio=NAME,text=NAME,speaker=NAME,style=NAME"
    )
    speaker: str | None = option(None, "speaker to fit, as the data set names it")
    style: str | None = option(None, "speaking style to fit, as the data set names it")
    transcribe: str | None = option(
        None, f"Whisper model that writes missing texts: hub name or folder; without a value {WHISPER}", bare=WHISPER
    )
    lang: str = option("en-us", "language of the transcripts: en-us, en-gb, or an espeak-ng code")
    limit: int = option(64, "utterances to read at most", 2)
    heldout: int = option(4, "utterances kept apart for the score that chooses the voice", 1)
    test: int = option(4, "utterances kept apart for the test, heard once at the end; 0: no test", 0)
    min_seconds: float = option(0.5, "shorter recordings are skipped", 0.0)
    max_seconds: float = option(15.0, "longer recordings are cut at pauses into pieces of 2 to 12 s", 0.1)
    budget: int | None = option(None, "syntheses (candidates x utterances, scoring included) at most", 1)
    generations: int | None = option(None, "generations at most; None: the budget alone ends a fit", 1)
    schedule: str = option(
        "joint", "joint: all of the voice from the start; staged: first its prosody, which takes no decoding"
    )
    seed: int = option(0, "seed of the noise, the split and the strategy", 0)
    augment: float = option(
        0.0, "how much what the speaker term hears is changed, anew each generation; 0: not, 1: clearly", 0.0, 1.0
    )
    es: EsConfig = field(default_factory=EsConfig)
    space: SpaceConfig = field(default_factory=SpaceConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    window: WindowConfig = field(default_factory=WindowConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    stop: StopConfig = field(default_factory=StopConfig)

    def __post_init__(self) -> None:
        for name, spec, value in walk(self):
            _check(name, spec, value)
        if not any(value for value in dataclasses.asdict(self.loss).values()):
            raise InputError("loss: every weight is 0, so nothing is compared; give one term a weight above 0.")
        if self.budget is not None and self.budget < self.es.candidates:
            raise InputError(
                f"budget is {self.budget}, and one generation takes {self.es.candidates} candidates; raise the budget."
            )
        if self.es.candidates < 2 and self.es.kind != ADAM:
            raise InputError(f"es.popsize is {self.es.popsize}; it must be from 2 to 65536.")
        if self.es.sigma_min > self.es.sigma_max:
            raise InputError("es.sigma_min is above es.sigma_max; lower the floor or raise the ceiling.")
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule is {self.schedule}; it must be {' or '.join(SCHEDULES)}.")
        if self.min_seconds >= self.max_seconds:
            raise InputError("min_seconds is not below max_seconds; no recording could pass.")


def defaults(model: str = EMBEDDED) -> FitConfig:
    """The defaults that hold for a model: nothing in them is left to it."""
    return complete(FitConfig(model=model))


def complete(config: FitConfig) -> FitConfig:
    """`config` with what is left to the model filled in."""
    known, place = flatten(config), int(config.model != EMBEDDED)
    return from_dict({name: values[place] for name, values in BY_MODEL.items() if known[name] is None}, config)


def walk(config: Any, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """Yield (dotted name, field, value) of every leaf, in order of definition."""
    for spec in dataclasses.fields(config):
        value = getattr(config, spec.name)
        if dataclasses.is_dataclass(value):
            yield from walk(value, f"{prefix}{spec.name}.")
        else:
            yield f"{prefix}{spec.name}", spec, value


def flatten(config: Any) -> dict[str, Any]:
    """Dotted names to values, e.g. {"es.kind": "snes", "loss.logmel": 1.0, ...}."""
    return {name: value for name, _, value in walk(config)}


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain dicts, ready for JSON; `from_dict` reads them back."""
    return dataclasses.asdict(config)


def from_dict(data: Mapping[str, Any], base: FitConfig | None = None) -> FitConfig:
    """A FitConfig from nested and/or dotted names over `base` (default: the defaults).

    Raises InputError for an unknown name (the nearest known one is named), a wrong type or
    a value out of bounds.
    """
    base = base or FitConfig()
    known = flatten(base)
    values = dict(_leaves(data))
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}."
            raise InputError(f"Unknown option {name}; {hint}")
    return typing.cast(FitConfig, _build(FitConfig, {**known, **values}, ""))


def hints(cls: type) -> dict[str, Any]:
    """Field types of a config class, resolved."""
    return typing.get_type_hints(cls)


def base_type(hint: Any) -> tuple[type, bool]:
    """(plain type, whether None is allowed) of a leaf's annotation."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return kinds[0], True
    return hint, False


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _build(cls: type, values: Mapping[str, Any], prefix: str) -> Any:
    kinds = hints(cls)
    made: dict[str, Any] = {}
    for spec in dataclasses.fields(cls):
        kind, name = kinds[spec.name], f"{prefix}{spec.name}"
        if dataclasses.is_dataclass(kind):
            made[spec.name] = _build(typing.cast(type, kind), values, f"{name}.")
        else:
            made[spec.name] = _coerce(name, kind, values[name])
    return cls(**made)


def _coerce(name: str, hint: Any, value: Any) -> Any:
    kind, optional = base_type(hint)
    if value is None and optional:
        return None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise InputError(f"{name} must be {kind.__name__}, not {value!r}.")
    return value


def _check(name: str, spec: dataclasses.Field[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    low, high = spec.metadata.get("low"), spec.metadata.get("high")
    if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
        raise InputError(f"{name} is {value:g}; it must be {bounds}.")
