"""The duel: how near different fits come to speakers that nothing knows, at equal syntheses.

    python experiments/bench/fit.py run --targets espeak_3 stock_1 --methods default walk --seeds 0 1 2
    python experiments/bench/fit.py report
    python experiments/bench/fit.py anatomy    # which part of the score rises and falls, and when

Each run is a fit as `coconut fit` does it, from recordings to a voice. Results are JSON lines in `--folder`, one
a run; what is there already is not run again, so that it resumes. The test score is that of sentences which
neither led the search nor chose the voice; hearing it is not counted among the syntheses of a fit. A gradient
counts as three, scoring is included; what finding the start took stands beside it, as `spent`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from coconut import build  # noqa: E402
from coconut.build import Fitting  # noqa: E402
from coconut.config import FitConfig, from_dict  # noqa: E402
from coconut.files import write_text  # noqa: E402
from coconut.fit import Step  # noqa: E402
from coconut.job import Job, prepare  # noqa: E402
from coconut.sweep import space  # noqa: E402
from experiments.bench import duel, targets  # noqa: E402

BEFORE = {"space.kind": "pca", "space.slopes": 4, "space.start": "nearest", "loss.logmel": 1.0, "stop.every": 1}
# What the methods set beside the defaults; a name of the form `method,option=value,...` sets more.
METHODS: dict[str, dict[str, Any]] = {
    "default": {},
    "walk": BEFORE | {"es.kind": "walk", "es.popsize": 16, "es.sigma": 0.15, "window.size": 4, "window.stride": 4},
    "seed": space.seed(from_dict({"loss.mimi": 1.0})),  # of the script that coconut grew from: Mimi is its only loss
    "before": BEFORE | {"es.kind": "snes", "es.popsize": 16, "es.sigma": 0.2},  # the defaults of 2026-11-24, morning
    **{kind: {"es.kind": kind} for kind in ("snes", "xnes", "cmaes", "sepcmaes", "cem", "cosyne")},
    "unguarded": {"stop.patience": 0},
    "few": {"stop.patience": 0, "few": 1},  # about three seconds of speech
    "then": {"then": "snes"},
}
SETTINGS = ("budget", "schedule", "augment", "es", "space", "loss", "window", "score", "stop")  # of a fit alone
OURS = ("few", "then")  # of a method: only so many sentences to fit and to hold out; a kind for the second half
MARK, POINTS = 40, 100  # syntheses between points of a curve, and about how many there are at most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "report", "anatomy", "targets"))
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "duel")
    parser.add_argument("--targets", nargs="+", default=targets.names())
    parser.add_argument("--methods", nargs="+", default=["default"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--budget", type=int, default=800, help="syntheses of a run")
    parser.add_argument("--out", default="fit.jsonl", help="the file of results, in the folder")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.what == "report":
        return duel.report(args.folder, args.folder / args.out)
    if args.what == "anatomy":
        return duel.anatomy(args.folder, args.folder / args.out)
    if args.what == "targets":
        return print(*(f"{name}: {targets.options(name, args.folder)}" for name in args.targets), sep="\n")
    torch.set_num_threads(1)
    cells = [(t, m, s) for s in args.seeds for t in args.targets for m in args.methods]
    path = args.folder / args.out
    known = {tuple(row["key"]) for row in duel.read(path)}
    for target, method, seed in cells:
        key = (target, method, args.budget, seed)
        if key not in known:
            row = {"key": key, **run(target, settings(method), args.budget, seed, args.folder)}
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(duel.line(row), flush=True)


def settings(method: str) -> dict[str, Any]:
    """The options of a method's name."""
    name, *more = method.split(",")
    return METHODS[name] | {key: _value(value) for key, value in (part.split("=") for part in more)}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def run(target: str, asked: dict[str, Any], budget: int, seed: int, folder: Path) -> dict[str, Any]:
    """One fit: curve of [syntheses, CPU seconds, held out, test of the mean, test of the kept voice, parts of both]."""
    own = {name: value for name, value in asked.items() if name not in OURS}
    config = from_dict({"budget": budget, "seed": seed, "device": "cpu"} | targets.options(target, folder) | own)
    job, spent = made(config, folder / "jobs" / f"{target}-{config.space.start}-{seed}")
    if few := asked.get("few"):
        job = dataclasses.replace(job, fit=job.fit[:few], heldout=job.heldout[:few])
    assert job.nearest is not None
    pack = build.wire(job, _allowed(job, config)).voices[job.nearest.name]
    near = build.hear_test(job, pack, _allowed(job, config))
    assert near is not None
    curve: list[dict[str, Any]] = []
    for part in _parts(config, asked.get("then")):
        done = curve[-1]["syntheses"] if curve else 0.0
        fitting = build.wire(job, _allowed(job, part))
        points, last = climb(job, fitting, budget / POINTS)
        curve += [p | {"syntheses": p["syntheses"] + done, "cpu": round(p["cpu"] + spent, 1)} for p in points]
        spent = curve[-1]["cpu"]
        job = dataclasses.replace(job, start=fitting.voicepack(last.best.genome))
    away = _distances(target, fitting.voicepack(last.best.genome), pack)
    notes = [note for note in job.notes if note.startswith("Start")]
    told = {"nearest": near.score, "spent": job.spent, "start": notes, "stop": last.stop, "best": last.best.generation}
    return told | away | {"curve": curve}


def climb(job: Job, fitting: Fitting, apart: float) -> tuple[list[dict[str, Any]], Step]:
    """The curve of a fit, and its last step; points are at least `apart` and MARK syntheses from each other."""
    curve, heard, mark, spent, clock = [], {}, 0.0, 0.0, time.process_time()

    def test(genome: Tensor, generation: int) -> Any:
        if generation not in heard:
            heard[generation] = build.hear_test(job, fitting.voicepack(genome), fitting.config)
        return heard[generation]

    for step in fitting.steps():
        spent += time.process_time() - clock
        done = step.ledger["syntheses"]
        if step.metrics and (done >= mark or step.stop):
            mark = done + max(MARK, apart)
            kept = test(step.best.genome, step.best.generation)
            mean = test(step.mean, step.generation)
            entry = {"syntheses": done, "cpu": spent, "score": step.metrics.score, "test": mean.score}
            curve.append(entry | {"kept": kept.score, "parts": step.metrics.parts, "test_parts": mean.parts})
        clock = time.process_time()
    return curve, step


def _parts(config: FitConfig, then: str | None) -> list[FitConfig]:
    """The fits that a method is: one, or a half of its budget each for its own kind and the kind that comes then."""
    if not then:
        return [config]
    half = from_dict({"budget": (config.budget or 0) // 2}, config)
    return [half, from_dict({"es.kind": then}, half)]


def _allowed(job: Job, config: FitConfig) -> FitConfig:
    """The settings of a fit of the job, which keeps what it was made with."""
    return dataclasses.replace(job.config, **{name: getattr(config, name) for name in SETTINGS})


def made(config: FitConfig, place: Path) -> tuple[Job, float]:
    """The job of a target, and the CPU seconds that it took: it is made once for all methods that start alike."""
    if not place.exists():
        began = time.process_time()
        job = prepare(config, rank=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        job.save(place)
        write_text(place / "seconds", f"{time.process_time() - began:.1f}")
    return Job.load(place), float((place / "seconds").read_text())


def _distances(target: str, voice: Tensor, nearest: Tensor) -> dict[str, float]:
    """Of the voice from the true one, over that of the nearest stock voice; nothing where nobody knows the truth."""
    true = targets.truth(target)
    if true is None:
        return {}
    return {"distance": float((voice - true).norm() / (nearest - true).norm())}


if __name__ == "__main__":
    main()
