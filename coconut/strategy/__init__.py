"""Evolution strategies and a descent, one algorithm a file, all with the contract of `base.Strategy`.

s = build("snes", mean=torch.zeros(32), sigma=0.3, popsize=16, seed=0)
x = s.ask()                 # [P, D]
s.tell(x, losses)           # [P], lower is better; s.needs_gradient: s.tell(x, losses, gradient [P, D])
s.mean                      # [D]
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from coconut.config import InputError
from coconut.strategy.adam import Adam
from coconut.strategy.base import Strategy, default_popsize
from coconut.strategy.cem import Cem
from coconut.strategy.cmaes import Cmaes
from coconut.strategy.cosyne import Cosyne
from coconut.strategy.sepcmaes import Sepcmaes
from coconut.strategy.snes import Snes
from coconut.strategy.walk import Walk
from coconut.strategy.xnes import Xnes

__all__ = ["KINDS", "Strategy", "build", "default_popsize", "options"]

KINDS: dict[str, type[Strategy]] = {cls.kind: cls for cls in (Snes, Xnes, Cmaes, Sepcmaes, Cem, Cosyne, Walk, Adam)}


def options(kind: str) -> tuple[str, ...]:
    """Names of the options the kind uses beyond mean, sigma, popsize and seed. Raises InputError."""
    if kind not in KINDS:
        raise InputError(f"Unknown strategy {kind!r}; known: {', '.join(KINDS)}.")
    return KINDS[kind].settings


def build(
    kind: str, *, mean: Tensor, sigma: float, popsize: int | None = None, seed: int = 0, **values: Any
) -> Strategy:
    """The strategy of that kind, ready to be asked.

    One flat record of options may serve every kind: an option that only other kinds use (rho
    outside cem) is left aside. Raises InputError for an unknown kind, an option that no kind
    has, and values that no search could start from.
    """
    mine = options(kind)
    for name in values:
        if not any(name in cls.settings for cls in KINDS.values()):
            raise InputError(f"Unknown option {name} of strategy {kind}; it has: {', '.join(mine)}.")
    return KINDS[kind](mean, sigma, popsize, seed, **{k: v for k, v in values.items() if k in mine})
