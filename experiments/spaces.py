"""What a sweep searches: define-by-run, named as FitConfig names it. Edit it, or write another.

A space is a module-level function, because the searcher is pickled with every snapshot of the
sweep. It gets an Optuna trial and the settings that are fixed on the command line, asks the
trial for the others, and returns what is not searched but set. Sigma is in whitened units: 1 is
the spread of the stock voices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coconut.config import FitConfig, flatten

KINDS = ("snes", "xnes", "cmaes", "sepcmaes", "cem")
SPACES = ("pca", "bias", "interp", "interp+bias")
WEIGHTS = {  # log-uniform bounds
    "loss.logmel": (0.1, 10.0),
    "loss.spectral": (0.05, 5.0),
    "loss.speaker": (0.1, 10.0),
    "loss.f0": (0.05, 5.0),
    "loss.duration": (0.05, 5.0),
}
MIMI = (0.1, 10.0)
SEED = "seed"  # the script that coconut grew from
DEFAULT = "default"  # coconut's own defaults


def voices(trial: Any, fixed: Mapping[str, Any], mimi: bool) -> dict[str, Any]:
    """Strategy, style space and loss weights of a fit. `mimi`: whether its weights can be had."""
    if trial.user_attrs.get("preset") == SEED:
        return {**seed(mimi), **fixed}
    draw = _Draw(trial, fixed)
    if draw.choice("es.kind", KINDS) == "cem":
        draw.real("es.rho", 0.1, 0.5)
    draw.real("es.sigma", 0.05, 1.0, log=True)
    draw.whole("es.popsize", 8, 32, step=4)
    if draw.choice("space.kind", SPACES) == "pca":
        draw.whole("space.components", 8, 48, step=8)
    for name, (low, high) in (WEIGHTS | ({"loss.mimi": MIMI} if mimi else {})).items():
        draw.real(name, low, high, log=True)
    return dict(fixed)


def presets(fixed: Mapping[str, Any], mimi: bool) -> dict[str, dict[str, Any]]:
    """What is tried before anything is searched: {name: parameters to enqueue}.

    The seed's settings lie outside the space (raw units, another window), so nothing of them is
    enqueued but the name, and the space returns them; coconut's own lie inside and inform the search.
    """
    defaults = flatten(FitConfig()) | {"loss.mimi": 1.0}
    searched = ["es.kind", "es.sigma", "es.popsize", "space.kind", "space.components", *WEIGHTS]
    searched += ["loss.mimi"] if mimi else []
    return {SEED: {}, DEFAULT: {name: defaults[name] for name in searched if name not in fixed}}


def seed(mimi: bool) -> dict[str, Any]:
    """Settings of the original script: CMA-ES on mixture logits and a bias in raw units, from the mean voice.

    Its only loss was Mimi's; without those weights the nearest that can be had stands in.
    """
    loss = {"mimi": 1.0} if mimi else {"logmel": 1.0, "spectral": 1.0, "speaker": 1.0}
    return {
        "es.kind": "cmaes",
        "es.sigma": 0.01,
        "es.popsize": 21,
        "space.kind": "interp+bias",
        "space.whiten": False,
        "space.start": "mean",
        "window.size": 4,
        "window.stride": 4,
        **{f"loss.{name}": loss.get(name, 0.0) for name in ("mimi", "logmel", "spectral", "speaker")},
        **{f"loss.{name}": 0.0 for name in ("f0", "duration", "prior")},
    }


class _Draw:
    """Asks an Optuna trial for what is not fixed."""

    def __init__(self, trial: Any, fixed: Mapping[str, Any]) -> None:
        self.trial, self.fixed = trial, fixed

    def choice(self, name: str, options: tuple[str, ...]) -> Any:
        return self.fixed[name] if name in self.fixed else self.trial.suggest_categorical(name, options)

    def real(self, name: str, low: float, high: float, log: bool = False) -> None:
        if name not in self.fixed:
            self.trial.suggest_float(name, low, high, log=log)

    def whole(self, name: str, low: int, high: int, step: int) -> None:
        if name not in self.fixed:
            self.trial.suggest_int(name, low, high, step=step)
