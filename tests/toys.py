"""A model problem with the shape of a fit: the training optimum lies beyond the held-out one."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from coconut.config import InputError, from_dict
from coconut.data import Utterance
from coconut.fit import fit
from coconut.job import Job, Nearest
from coconut.objective import Losses
from coconut.score import Metrics
from tests.voices import stock

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

    def settle(self, genome: Tensor) -> Tensor:
        return genome


class Objective:
    """Squared distance to TRAIN, shifted a little by each window; one candidate may be bad."""

    def __init__(self, bad: bool = False) -> None:
        self.space, self.syntheses, self.audio_seconds, self.bad = Line(), 0, 0.0, bad
        self.share = 1.0

    def __call__(self, population: Tensor, utterances: list[Utterance], generation: int = 0) -> Losses:
        self.syntheses += len(population) * len(utterances)
        self.audio_seconds += 2.0 * len(population) * len(utterances)
        shift = 0.05 * sum(int(utterance.id) for utterance in utterances) / len(utterances)
        total = (population - TRAIN - shift).square().sum(1)
        if self.bad:
            total[0] = float("nan")
        return Losses(total, {"distance": total.clone()})

    def gradient(self, population: Tensor, utterances: list[Utterance], generation: int = 0) -> tuple[Losses, Tensor]:
        """Its slope leads to TRAIN; that of the bad one is not finite."""
        losses = self(population, utterances)
        self.syntheses += 2 * len(population) * len(utterances)
        shift = 0.05 * sum(int(utterance.id) for utterance in utterances) / len(utterances)
        gradient = 2 * (population - TRAIN - shift)
        if self.bad:
            gradient[0] = float("inf")
        return losses, gradient


class Score:
    """100 at HELDOUT, falling off exponentially."""

    cost = 4

    def __init__(self) -> None:
        self.syntheses, self.audio_seconds = 0, 0.0

    def left_out(self, pack: Tensor) -> list[float]:
        return [50.0, 51.0, 52.0, 53.0]

    def __call__(self, genome: Tensor) -> Metrics:
        self.syntheses += 4
        return Metrics(100 * float(torch.exp(-(genome - HELDOUT).norm() / 4)), {"closeness": 0.5})


class Windows:
    """Two utterances of ten, sliding."""

    def __getitem__(self, generation: int) -> list[Utterance]:
        ids = [(2 * generation + i) % 10 for i in range(2)]
        return [Utterance(str(i), "text", "tˈɛkst", torch.zeros(2400)) for i in ids]


BASE = {
    "device": "cpu", "generations": 8, "stop.patience": 4, "stop.every": 1, "es.kind": "snes", "es.popsize": 4,
    "space.start": "mean",
}  # fmt: skip


def job(**settings) -> Job:
    """A job for the toy: short sounds with texts, in three splits."""
    noise = torch.Generator().manual_seed(0)
    sounds = [(torch.randn(2400, generator=noise) * 2**12).round() / 2**15 + 0.0 for _ in range(4)]
    spoken = [Utterance(str(i), f"text {i}", f"tˈɛkst {i}", sound, f"toy/{i}.wav") for i, sound in enumerate(sounds)]
    config = from_dict(BASE | settings)
    return Job(
        config, tuple(spoken[:2]), tuple(spoken[2:3]), tuple(spoken[3:]), Nearest("v_00", 40.0, {"closeness": 0.4})
    )


class Fitting:
    """What a trial needs of a wired fit, over the toy problem; `config.limit` 2 is refused."""

    def __init__(self, job, config=None):
        self.config = config or job.config
        if self.config.limit == 2:
            raise InputError("The toy has no data; give it some.")
        self.job, self.space, self.score, self.voices, self.synth = job, Objective().space, Score(), stock(2), Synth()

    def steps(self, state=None):
        yield from fit(self.config, Objective(), Score(), Windows(), state)

    def voicepack(self, genome):
        return self.voices["v_00"] + genome.float().mean()


class Synth:
    def prepare(self, texts):
        return SimpleNamespace(rows=torch.zeros(len(texts), dtype=torch.long))

    def __call__(self, script, styles):
        return SimpleNamespace(wav=0.1 * torch.ones(*styles.shape[:2], 2400), lens=torch.full(styles.shape[:2], 2400))
