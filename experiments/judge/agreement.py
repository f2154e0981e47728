"""Do the judge and GE2E agree? Along the curves of fits, before and after their peak, and over stock voices.

    python experiments/bench/fit.py run --targets slt --methods unguarded,space.kind=bias,score.encoder=judge \\
        --out judge.jsonl
    python -m experiments.judge.agreement --folder runs/duel curves
    python -m experiments.judge.agreement --folder runs/duel voices --targets slt espeak_3

A fit scored by the judge also tells what GE2E hears, so that its test scores are known under both.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from scipy.stats import kendalltau, spearmanr

from coconut import resources
from coconut.config import JUDGE
from coconut.job import Job
from coconut.score import WEIGHTS, Score, combine
from experiments.bench import duel

Parts = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("curves", "voices"))
    parser.add_argument("--folder", type=Path, default=Path("runs/duel"))
    parser.add_argument("--out", default="judge.jsonl", help="the file of results, in the folder")
    parser.add_argument("--targets", nargs="+", default=["slt"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "curves":
        for row in duel.read(args.folder / args.out):
            curve(row)
    else:
        for target in args.targets:
            voices(target, args.folder)


def under_ge2e(parts: Parts) -> float:
    """The score of parts that the judge gave, with GE2E as the judge."""
    return combine({name: parts[name] for name in WEIGHTS} | {"speaker": parts["ge2e"]}).score


def curve(row: dict[str, Any]) -> None:
    """A run's test parts and scores under both, and how both parts go together before and after its peaks."""
    points = [(point["syntheses"], point["test"], point["test_parts"]) for point in row["curve"]]
    print(f"\n{row['key']}\n\n| syntheses | GE2E | judge | log-mel | score, GE2E | score, judge |")
    print("|---|---|---|---|---|---|")
    for syntheses, score, parts in points:
        heard = " | ".join(f"{parts[name]:.3f}" for name in ("ge2e", "speaker", "logmel"))
        print(f"| {syntheses:.0f} | {heard} | {under_ge2e(parts):.1f} | {score:.1f} |")
    old, new = [under_ge2e(parts) for *_, parts in points], [score for _, score, _ in points]
    mel = [parts["logmel"] for *_, parts in points]
    for name, values in {"score by GE2E": old, "score by the judge": new, "log-mel": mel}.items():
        at = values.index(max(values))
        print(f"{name}: peak {values[at]:.3g} at {points[at][0]:.0f}, last {values[-1]:.3g}; {split(points, at)}")


def split(points: list[Any], at: int) -> str:
    """Rank correlation of both speaker parts up to a point, and from it on."""
    said = []
    for name, part in {"before": points[: at + 1], "after": points[at:]}.items():
        if len(part) > 2:
            rho = spearmanr([p["ge2e"] for *_, p in part], [p["speaker"] for *_, p in part]).statistic
            said.append(f"rho {name} {rho:.2f} ({len(part)} points)")
    return ", ".join(said)


def voices(target: str, folder: Path) -> None:
    """The ranking of the stock voices for a target on its held-out sentences, under both."""
    job = Job.load(folder / "jobs" / f"{target}-encoder-0")
    score = Score(None, job.synthesizer(), job.heldout, *resources.ears(JUDGE, job.config.device))
    ranking = score.rank(resources.model(job.config.model, job.config.device).voices)
    judged, heard = [m.score for _, m in ranking], [under_ge2e(m.parts) for _, m in ranking]
    best = max(range(len(heard)), key=heard.__getitem__)
    alone = spearmanr([m.parts["speaker"] for _, m in ranking], [m.parts["ge2e"] for _, m in ranking]).statistic
    tau = kendalltau(judged, heard).statistic
    print(f"{target}: {len(ranking)} voices, tau of the scores {tau:.2f}, rho of the speaker parts {alone:.2f}")
    for name, k in {"judge": 0, "GE2E": best}.items():
        print(f"  nearest by {name}: {ranking[k][0]}, {judged[k]:.1f} by the judge, {heard[k]:.1f} by GE2E")


if __name__ == "__main__":
    main()
