"""What `python experiments/sweep.py` searches: an example to edit. `--space FILE.py:function` names another.

A space is a function of an Optuna trial, of the settings that hold for the whole sweep, and of those
among them that were typed and are therefore fixed. It asks the trial for what is to be searched, named
as `coconut fit --help` names it, and returns what is not searched but set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coconut.config import FitConfig, Range
from coconut.sweep.space import Draw
from coconut.sweep.space import voices as everything


def voices(trial: Any, base: FitConfig, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """All that is registered: every strategy, style space, option with a range and weight of a loss term."""
    return everything(trial, base, fixed)


def steps(trial: Any, base: FitConfig, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Two strategies and their step size alone, in small populations: `--space experiments/spaces.py:steps`."""
    draw = Draw(trial, fixed)
    draw.choice("es.kind", ["snes", "sepcmaes"])
    draw.number("es.sigma", Range(0.05, 0.8, log=True))
    return {"es.popsize": 8, **fixed}
