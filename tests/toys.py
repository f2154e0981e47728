"""A model problem with the shape of a fit: the training optimum lies beyond the held-out one."""

from __future__ import annotations

import torch
from torch import Tensor

from coconut.data import Utterance
from coconut.objective import Losses
from coconut.score import Metrics

DIM = 6
TRAIN = torch.full((DIM,), 3.0)  # where the loss is least
HELDOUT = torch.full((DIM,), 1.5)  # where the voice is best: halfway there


class Line:
    """A style space whose genome is the style."""

    dim = DIM

    def init(self) -> Tensor:
        return torch.zeros(DIM)

    def styles(self, genomes: Tensor, rows: Tensor) -> Tensor:
        return genomes[:, None].expand(-1, len(rows), -1)

    def decode(self, genomes: Tensor) -> Tensor:
        return genomes[:, None, None].expand(-1, 510, 1, -1)


class Objective:
    """Squared distance to TRAIN, shifted a little by each window; one candidate may be bad."""

    def __init__(self, bad: bool = False) -> None:
        self.space, self.syntheses, self.audio_seconds, self.bad = Line(), 0, 0.0, bad

    def __call__(self, population: Tensor, utterances: list[Utterance]) -> Losses:
        self.syntheses += len(population) * len(utterances)
        self.audio_seconds += 2.0 * len(population) * len(utterances)
        shift = 0.05 * sum(int(utterance.id) for utterance in utterances) / len(utterances)
        total = (population - TRAIN - shift).square().sum(1)
        if self.bad:
            total[0] = float("nan")
        return Losses(total, {"distance": total.clone()})


class Score:
    """100 at HELDOUT, falling off exponentially."""

    def __init__(self) -> None:
        self.syntheses, self.audio_seconds = 0, 0.0

    def __call__(self, genome: Tensor) -> Metrics:
        self.syntheses += 4
        return Metrics(100 * float(torch.exp(-(genome - HELDOUT).norm() / 4)), {"closeness": 0.5})


class Windows:
    """Two utterances of ten, sliding."""

    def __getitem__(self, generation: int) -> list[Utterance]:
        ids = [(2 * generation + i) % 10 for i in range(2)]
        return [Utterance(str(i), "text", "tˈɛkst", torch.zeros(2400)) for i in ids]
