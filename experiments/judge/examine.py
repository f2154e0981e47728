"""How well the judge and GE2E tell speakers apart whom neither was trained on: the targets of the bench.

    python -m experiments.judge.examine --folder runs/duel

Equal error rates over all pairs of utterances of different texts, of single utterances and of means over 4; and the
cosines of different speakers, which set an encoder's `stranger`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor
from torch.nn.functional import normalize

from coconut.audio import SAMPLE_RATE
from coconut.losses import Encoder, SpeakerEncoder
from coconut.losses.judge import Judge
from experiments.bench import duel, targets
from experiments.judge.data import treated

MEAN = 4  # utterances of a mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/duel"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = targets.names()
    spoken = [recordings(name, args.folder) for name in names]
    print("| encoder | speakers | EER, one utterance | EER, mean of 4 | same, mean of 4 | different (quantiles) |")
    print("|---|---|---|---|---|---|")
    encoders: dict[str, Encoder] = {"judge": Judge(), "ge2e": SpeakerEncoder()}
    for name, encoder in encoders.items():
        found = torch.stack([embedded(encoder, wavs) for wavs in spoken])  # [S, U, E]
        families = [duel.family(target) for target in names]
        for family in ("all", *sorted(set(families))):
            rows = [k for k, kind in enumerate(families) if family in (kind, "all")]
            print(f"| {name} | {family} ({len(rows)}) | {line(found[rows])} |")


def recordings(name: str, folder: Path) -> list[Tensor]:
    """Of a target, at 24 kHz; they are made where they are missing."""
    place = Path(targets.options(name, folder)["data"])
    found = []
    for path in sorted(path for path in place.iterdir() if path.suffix in (".wav", ".flac")):
        wav, rate = soundfile.read(path, dtype="float32")
        found.append(torch.from_numpy(np.asarray(soxr.resample(wav, rate, SAMPLE_RATE), np.float32)))
    return found


@torch.no_grad()
def embedded(encoder: Callable[[Tensor, Tensor], Tensor], wavs: list[Tensor]) -> Tensor:
    """[U, E]."""
    return torch.cat([encoder(*treated(wav)) for wav in wavs])


def line(found: Tensor) -> str:
    """Figures of embeddings [S, U, E] in the columns of the table."""
    same, other = cosines(found)
    means = normalize(found.unflatten(1, (-1, MEAN)).mean(2), dim=-1)
    own, others = cosines(means)
    low, middle, high = np.quantile(others, [0.1, 0.5, 0.9])
    rates = f"{eer(same, other):.1%} | {eer(own, others):.1%}"
    return f"{rates} | {own.mean():.2f} | mean {others.mean():.2f} ({low:.2f}, {middle:.2f}, {high:.2f})"


def cosines(found: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of pairs of one speaker, and of different ones, embeddings [S, U, E]; never of one text."""
    texts = found.shape[1]
    flat = found.flatten(0, 1)
    cosine = flat @ flat.T
    who, what = torch.arange(len(flat)) // texts, torch.arange(len(flat)) % texts
    upper = torch.triu(torch.ones_like(cosine), 1).bool() & (what[:, None] != what)
    same = who[:, None] == who
    return cosine[upper & same].numpy(), cosine[upper & ~same].numpy()


def eer(same: np.ndarray, other: np.ndarray) -> float:
    """The rate at which as many are falsely accepted as falsely rejected, between the two nearest thresholds."""
    thresholds = np.unique(np.concatenate([same, other]))
    rejected = np.searchsorted(np.sort(same), thresholds, "left") / len(same)
    accepted = 1 - np.searchsorted(np.sort(other), thresholds, "left") / len(other)
    at = int(np.abs(rejected - accepted).argmin())
    return float(rejected[at] + accepted[at]) / 2


if __name__ == "__main__":
    main()
