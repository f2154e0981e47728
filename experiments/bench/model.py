"""A small model of a voice fit: noisy sliding windows over few utterances, judged on others.

Genomes are whitened (1 = the spread of the stock voices), the search starts at 0, the target lies at
a distance of about 0.7 per coordinate. Each utterance has its own optimum around the target (what an
utterance shows of a voice, and what it does not), each loss is a weighted distance to it, weights
falling over two decades along oblique axes. A fit hears 4 of 24 utterances a generation, the window
moving by 2; the score is the loss on 100 other utterances, 0 at the start and 100 at their optimum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from coconut.strategy import build

FIT, HELDOUT, WINDOW, STRIDE = 24, 100, 4, 2
DISTANCE, SCATTER, DECADES = 0.7, 0.4, 2.0
EVERY = 4  # generations between scores
VOICES = 15

Cell = tuple[int, str, int, float, int, int]


class Voice:
    """One target in `dim` dimensions, with utterances to fit and utterances to judge by."""

    def __init__(self, dim: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(1000 + seed)
        target = DISTANCE * torch.randn(dim, generator=draw)
        weights = 10 ** (-DECADES * torch.arange(dim) / max(1, dim - 1))
        oblique = torch.eye(dim) + torch.randn(dim, dim, generator=draw) / math.sqrt(dim)
        self.root = torch.linalg.qr(oblique)[0] * (weights / weights.sum()).sqrt()
        optima = target + SCATTER * torch.randn(FIT + HELDOUT, dim, generator=draw)
        self.turned = optima @ self.root
        self.order = torch.randperm(FIT, generator=draw)
        self.base = self.heldout(torch.zeros(dim))
        self.floor = self.heldout(optima[FIT:].mean(0))

    def loss(self, x: Tensor, utterances: Tensor) -> Tensor:
        """`[P]` mean over the utterances of the distances of `x [P, D]` to their optima."""
        return torch.cdist(x.to(self.root) @ self.root, self.turned[utterances]).mean(1)

    def heldout(self, x: Tensor) -> float:
        return float(self.loss(x[None], torch.arange(FIT, FIT + HELDOUT)))

    def score(self, x: Tensor) -> float:
        return 100 * (self.base - self.heldout(x)) / (self.base - self.floor)


def run_model(dim: int, kind: str, popsize: int, sigma: float, generations: int, seed: int) -> dict[str, Any]:
    """Scores of the mean every `EVERY` generations."""
    voice = Voice(dim, seed)
    s = build(kind, mean=torch.zeros(dim), sigma=sigma, popsize=popsize, seed=seed, sigma_min=1e-4, sigma_max=10.0)
    scores = []
    for generation in range(generations):
        window = voice.order[(torch.arange(WINDOW) + generation * STRIDE) % FIT]
        x = s.ask()
        s.tell(x, voice.loss(x, window))
        if (generation + 1) % EVERY == 0:
            scores.append(round(voice.score(s.mean), 2))
    return {"scores": scores, "sigma": s.sigma}


def model_cells() -> Iterator[Cell]:
    """(D, kind, popsize, sigma, generations, seed)."""
    kinds = ("snes", "sepcmaes", "cmaes", "xnes", "cem")
    sigmas = (0.1, 0.2, 0.3, 0.5)
    for dim, kind, popsize, sigma, seed in itertools.product((36, 54), kinds, (16, 24, 32), sigmas, range(5)):
        yield dim, kind, popsize, sigma, 3200 // popsize, seed
    # more voices where the default is chosen
    near = itertools.product(("snes", "sepcmaes", "cmaes", "xnes"), (16, 24), (0.1, 0.2, 0.3), range(5, VOICES))
    for kind, popsize, sigma, seed in near:
        yield 36, kind, popsize, sigma, 3200 // popsize, seed
    for kind, sigma, seed in itertools.product(("cosyne", "walk"), (0.15, 0.3), range(5)):
        yield 36, kind, 16, sigma, 200, seed
    for kind, sigma, seed in itertools.product(("snes", "sepcmaes", "cmaes", "cem"), (0.1, 0.2, 0.3), range(3)):
        yield 310, kind, 24, sigma, 600, seed
    for kind, sigma, seed in itertools.product(("snes", "sepcmaes", "cmaes"), (0.1, 0.2, 0.3), range(3)):
        yield 54, kind, 24, sigma, 600, seed
