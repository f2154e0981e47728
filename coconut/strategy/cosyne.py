"""CoSyNE, cooperative synapse neuroevolution.

Gomez, Schmidhuber, Miikkulainen: Accelerated Neural Evolution through Cooperatively Coevolved
Synapses, JMLR 9 (2008) 937-965, algorithm 1. The population [P, D] holds one subpopulation per
coordinate (a column). In each generation

    the best quarter are parents; crossover and Cauchy mutation of parents replace the worst quarter;
    in every column, entries are marked with probability 1 - q^(1/D) and permuted among themselves,
    q being the fitness of the entry's row scaled to [0, 1].

Here q comes of the *rank*, so that the loss may be transformed freely. Two rows are exempt from
permutation: the elite, and its rival, the best of the others. The rival takes over when it beats
the elite twice running, that is, on two windows of data.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coconut.config import InputError
from coconut.strategy.base import Strategy
from coconut.strategy.gaussian import geometric_mean

MUTATED = 0.25  # share of an offspring's coordinates that mutate
REACH = 0.3  # scale of the Cauchy mutation, in units of the starting sigma
TAIL = 10.0  # Cauchy draws are cut here


class Cosyne(Strategy):
    """CoSyNE; `mean` is the re-evaluated elite, `sigma` the spread of the population's better half.

    It starts from N(mean, sigma^2) and the mean itself. `sigma_min` and `sigma_max` bound what
    `sigma` reports; mutations keep their size. The elite is known by its numbers: told rounded
    candidates, it is always lost. Raises InputError for a popsize below 4.
    """

    kind = "cosyne"
    searched = False
    state = (*Strategy.state, "_rival", "_leads", "_population", "_spread")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.popsize < 4:
            raise InputError(f"popsize is {self.popsize}; cosyne needs at least 4: elite, rival, parents, offspring.")
        self._population = self._mean + self._sigma0 * self._noise()
        self._population[0] = self._mean
        self._rival = self._population[1].clone()
        self._leads = False
        self._spread = torch.full_like(self._mean, self._sigma0)
        fitness = torch.linspace(1, 0, self.popsize, dtype=torch.float64)
        self._marking = (1 - fitness ** (1 / self.dim))[:, None]

    @property
    def sigma(self) -> float:
        return geometric_mean(self._spread)

    def ask(self) -> Tensor:
        return self._population.clone()

    def _sample(self, z: Tensor) -> Tensor:
        return self._population.clone()

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        self._elect(x, ordered)
        self._spread = x[: self.popsize // 2].std(0, correction=0).clamp(self.sigma_min, self.sigma_max)
        # elite and rival first, the others by rank
        place = torch.arange(self.popsize)
        place[(x == self._rival).all(1)] = -1
        place[(x == self._mean).all(1)] = -2
        rows = x[place.argsort(stable=True)]
        count = max(1, self.popsize // 4)
        rows = torch.cat([rows[: self.popsize - count], self._offspring(x[: max(2, count)], count)])
        self._population = torch.cat([self._mean[None], self._rival[None], self._permute(rows)[2:]])

    def _elect(self, x: Tensor, ordered: Tensor) -> None:
        """The elite for the next generation, the rival, and whether that leads already."""
        elite, rival = (x == self._mean).all(1), (x == self._rival).all(1)
        to_beat = torch.where(elite, ordered, math.inf).amin()
        challenge = torch.where(rival, ordered, math.inf).amin()
        if self._leads and challenge < to_beat:
            self._mean, to_beat = self._rival, challenge
        elif not elite.any():  # the caller told other candidates: the best of them takes over
            self._mean, to_beat = x[0], ordered[0]
        best = 1 if torch.equal(x[0], self._mean) else 0  # of the others
        self._rival, self._leads = x[best], bool(ordered[best] < to_beat)

    def _offspring(self, parents: Tensor, count: int) -> Tensor:
        """`[count, D]` uniform crossover of two random parents each, then mutation."""
        pairs = torch.randint(len(parents), (2, count), generator=self._generator)
        child = torch.where(self._uniform(count) < 0.5, parents[pairs[0]], parents[pairs[1]])
        cauchy = (math.pi * (self._uniform(count) - 0.5)).tan().clamp(-TAIL, TAIL)
        return torch.where(self._uniform(count) < MUTATED, child + REACH * self._sigma0 * cauchy, child)

    def _permute(self, rows: Tensor) -> Tensor:
        """Entries marked by rank, shuffled within their column."""
        marked = self._uniform(self.popsize) < self._marking
        place = torch.arange(self.popsize, dtype=rows.dtype)[:, None]
        there = torch.where(marked, place, place + self.popsize).argsort(0)
        shuffled = torch.where(marked, self._uniform(self.popsize), place + 1).argsort(0)
        return torch.empty_like(rows).scatter_(0, there, rows.gather(0, shuffled))

    def _uniform(self, count: int) -> Tensor:
        return torch.rand((count, self.dim), generator=self._generator, dtype=torch.float64)
