"""What a sweep searches: define-by-run, named as FitConfig names it.

A space is a function of an Optuna trial, of the settings that hold for the whole sweep, and of those
among them that were typed and are therefore fixed. It asks the trial for the others, and returns what
is not searched but set. `coconut sweep --space FILE.py:function` (or module:function) names another
one; experiments/spaces.py is an example to edit.

The default one knows no name: it asks every strategy and style space that is registered, and every
option that has a `search` range in config.py.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from coconut import strategy, style
from coconut.config import FitConfig, InputError, Range, flatten, walk
from coconut.sweep import SEARCHED

Space = Callable[[Any, FitConfig, Mapping[str, Any]], dict[str, Any]]
SEED, DEFAULT = "seed", "default"  # presets: the script that coconut grew from; coconut's own defaults


def voices(trial: Any, base: FitConfig, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Strategy, style space, and every option of theirs and weight of a loss term that has a range."""
    draw = Draw(trial, fixed)
    fewest = fixed.get("es.popsize") or 2  # one candidate is enough for some kinds alone
    kinds = [name for name, found in strategy.KINDS.items() if found.searched and found.fewest <= fewest]
    kind = draw.choice("es.kind", kinds)
    space = draw.choice("space.kind", list(style.KINDS))
    for name, spec, value in walk(base):
        where = spec.metadata["search"]
        if where and _applies(name, value, where, kind, space):
            draw.number(name, where)
    return dict(fixed)


def _applies(name: str, value: Any, where: Range, kind: str, space: str) -> bool:
    """Whether an option is to be searched: some are of other kinds, a term of weight 0 is off, unless 0 is within
    its range, and one of weight None is not there."""
    group, _, option = name.rpartition(".")
    if group == "loss":
        return bool(value) or (value == 0 and where.low == 0)
    if group == "es":
        sampling = () if strategy.KINDS[kind].needs_gradient else ("sigma", "popsize")
        return option in (*sampling, *strategy.options(kind))
    if group == "space":
        return option in style.KINDS[space].settings or not any(option in k.settings for k in style.KINDS.values())
    return True


class Draw:
    """Asks an Optuna trial for what is not fixed."""

    def __init__(self, trial: Any, fixed: Mapping[str, Any]) -> None:
        self.trial, self.fixed = trial, fixed

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        return self.fixed[name] if name in self.fixed else self.trial.suggest_categorical(name, options)

    def number(self, name: str, where: Range) -> None:
        if name in self.fixed:
            return
        if where.step:
            self.trial.suggest_int(name, int(where.low), int(where.high), step=where.step)
        else:
            self.trial.suggest_float(name, where.low, where.high, log=where.log)


def presets(base: FitConfig, fixed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings that are tried before anything is searched, by name. `fixed` holds for them too."""
    known = flatten(base) | {"es.popsize": base.es.candidates}
    defaults = {name: value for name, value in known.items() if name.startswith(SEARCHED)}
    return {SEED: {**seed(base), **fixed}, DEFAULT: defaults}


def seed(base: FitConfig) -> dict[str, Any]:
    """Settings of the original script: CMA-ES on mixture logits and a bias in raw units, from the mean voice.

    Its only loss was Mimi's; where that term is off, the nearest that can be had stands in.
    """
    loss = {"mimi": 1.0} if base.loss.mimi else {"logmel": 1.0, "spectral": 1.0, "speaker": 1.0}
    return {
        "es.kind": "cmaes",
        "es.sigma": 0.01,
        "es.popsize": 21,
        "space.kind": "interp+bias",
        "space.whiten": False,
        "space.start": "mean",
        "window.size": 4,
        "window.stride": 4,
        **{name: loss.get(name.removeprefix("loss."), 0.0) for name in flatten(base) if name.startswith("loss.")},
    }


def locate(reference: str) -> str:
    """FILE.py:function with an absolute path, or module:function as it is. Raises InputError where there is none."""
    place, _, function = reference.rpartition(":")
    if place.endswith(".py"):
        reference = f"{Path(place).expanduser().resolve()}:{function}"
    load(reference)
    return reference


def load(reference: str) -> Space:
    """The function that `reference` names."""
    place, _, function = reference.rpartition(":")
    if not place or not function:
        raise InputError(f"--space {reference} names no function; give FILE.py:function or module:function.")
    try:
        module = _file(place) if place.endswith(".py") else importlib.import_module(place)
        return getattr(module, function)
    except (ImportError, OSError, SyntaxError, AttributeError) as error:
        raise InputError(f"--space {reference} cannot be loaded ({error}); check file and function.") from error


def _file(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
