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

    It starts from N(mean, (sigma scale)^2) and the mean itself. `sigma_min` and `sigma_max` bound
    what `sigma` reports; mutations keep their size. Raises InputError for a popsize below 4.
    """

    kind = "cosyne"
    tensors = ("_mean", "_rival", "_leads", "_population", "_spread")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.popsize < 4:
            raise InputError(f"popsize is {self.popsize}; cosyne needs at least 4: elite, rival, parents, offspring.")
        self._low, self._high = self.sigma_min * self._scale, self.sigma_max * self._scale
        self._population = torch.addcmul(self._mean, self._noise(), self._sigma0 * self._scale)
        self._population[0] = self._mean
        self._rival = self._population[1].clone()
        self._leads = torch.zeros_like(self._mute)
        self._spread = self._sigma0 * self._scale
        self._reach = REACH * self._spread
        fitness = torch.linspace(1, 0, self.popsize, dtype=torch.float64)
        self._marking = (1 - fitness ** (1 / self.dim)).to(self._mean)[:, None]

    @property
    def sigma(self) -> float:
        return geometric_mean(self._spread, self._log_scale)

    def ask(self) -> Tensor:
        return self._population.clone()

    def _sample(self, z: Tensor) -> Tensor:
        return self._population.clone()

    def _update(self, x: Tensor, ordered: Tensor) -> None:
        self._elect(x, ordered)
        self._spread = torch.clamp(x[: self.popsize // 2].std(0, correction=0), self._low, self._high)
        # elite and rival first, the others by rank
        place = torch.arange(self.popsize, device=x.device)
        place = torch.where((x == self._rival).all(1), -1, place)
        place = torch.where((x == self._mean).all(1), -2, place)
        rows = x[place.argsort(stable=True)]
        count = max(1, self.popsize // 4)
        rows = torch.cat([rows[: self.popsize - count], self._offspring(x[: max(2, count)], count)])
        rows = self._permute(rows)
        self._population = torch.cat([self._mean[None], self._rival[None], rows[2:]])

    def _elect(self, x: Tensor, ordered: Tensor) -> None:
        """The elite for the next generation, the rival, and whether that leads already."""
        elite, rival = (x == self._mean).all(1), (x == self._rival).all(1)
        elite_loss = torch.where(elite, ordered, math.inf).amin()
        rival_loss = torch.where(rival, ordered, math.inf).amin()
        wins = self._leads & (rival_loss < elite_loss)
        lost = ~elite.any()  # the caller told other candidates: the best of them takes over
        self._mean = torch.where(wins, self._rival, torch.where(lost, x[0], self._mean))
        elite_loss = torch.where(wins, rival_loss, torch.where(lost, ordered[0], elite_loss))
        second = (x[0] == self._mean).all()
        self._rival = torch.where(second, x[1], x[0])
        self._leads = torch.where(second, ordered[1], ordered[0]) < elite_loss

    def _offspring(self, parents: Tensor, count: int) -> Tensor:
        """`[count, D]` uniform crossover of two random parents each, then mutation."""
        pairs = torch.randint(len(parents), (2, count), generator=self._generator, device=parents.device)
        child = torch.where(self._uniform(count) < 0.5, parents[pairs[0]], parents[pairs[1]])
        cauchy = (math.pi * (self._uniform(count) - 0.5)).tan().clamp(-TAIL, TAIL)
        return torch.where(self._uniform(count) < MUTATED, child + self._reach * cauchy, child)

    def _permute(self, rows: Tensor) -> Tensor:
        """Entries marked by rank, shuffled within their column."""
        marked = self._uniform(self.popsize) < self._marking
        place = torch.arange(self.popsize, device=rows.device, dtype=rows.dtype)[:, None]
        there = torch.where(marked, place, place + self.popsize).argsort(0)
        shuffled = torch.where(marked, self._uniform(self.popsize), place + 1).argsort(0)
        return torch.empty_like(rows).scatter_(0, there, rows.gather(0, shuffled))

    def _uniform(self, count: int) -> Tensor:
        like = self._mean
        return torch.rand((count, self.dim), generator=self._generator, dtype=like.dtype, device=like.device)
