"""The forecast of `coconut doctor`: fits of speakers that the model does not know, and the calibration made of them.

    python experiments/bench/forecast.py run                           # fits of the speakers of blends.py, and the demo
    python experiments/bench/forecast.py report --earlier runs/duel    # how well forecasts hold
    python experiments/bench/forecast.py ship --earlier runs/duel      # writes coconut/assets/forecast.json

The first eleven speakers of the duel chose the feature; all others are new to it. Fits of the duel are taken as they
stood at the default budget. Results are JSON lines in `--folder`; what is there already is not run again. A fit with
a smaller budget is compared with what the duel had reached by then, and what is shipped adds the mean of what the duel
gained from there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import torch  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402

from coconut import build, forecast  # noqa: E402
from coconut.config import EMBEDDED, defaults, from_dict  # noqa: E402
from coconut.data.sources import DEMO  # noqa: E402
from coconut.files import write_text  # noqa: E402
from coconut.forecast import Forecast, Line  # noqa: E402
from coconut.job import prepare  # noqa: E402
from coconut.trial import Trial  # noqa: E402
from experiments.bench import blends, duel  # noqa: E402

FIRST = (
    "stock_1", "stock_2", "stock_3", "stock_4", "espeak_3", "espeak_4", "espeak_5", "espeak_8", "rms", "slt", "awb",
)  # fmt: skip
FITS = ["unguarded", 800, 0]  # of the duel: method, budget, seed
NAMES = (DEMO, *blends.BLENDS)
HEADER = ("speaker", "syntheses", "log-mel part of the start", "forecast", "interval", "reached")
BUDGET = defaults(EMBEDDED).budget or 0

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "report", "ship"))
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "forecast")
    parser.add_argument("--earlier", type=Path, default=ROOT / "runs" / "duel", help="the folder of the duel of fits")
    parser.add_argument("--targets", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--budget", type=int, default=BUDGET, help="syntheses of a fit (default: that of every fit)")
    args = parser.parse_args()
    path = args.folder / "fits.jsonl"
    if args.what == "run":
        return run_all(args.targets, args.folder, args.budget, path)
    known = [row for row in duel.read(args.earlier / "fit.jsonl") if row["key"][1:] == FITS]
    return report(known, _read(path)) if args.what == "report" else ship(known, _read(path))


def run_all(names: Sequence[str], folder: Path, budget: int, path: Path) -> None:
    """Fit what was not fitted yet."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    known = {row["target"] for row in _read(path)}
    for target in names:
        if target not in known:
            row = run(target, folder, budget)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            near, start = (row[part]["score"] for part in ("nearest", "start"))
            print(f"{target}: nearest {near:.1f}, start {start:.1f}, reached {row['reached']:.1f}", flush=True)


def run(target: str, folder: Path, budget: int) -> Row:
    """A fit: held-out metrics of the nearest voice and of the start, and the test score that was reached."""
    began = time.process_time()
    options = {"data": DEMO} if target == DEMO else blends.options(target, folder)
    job = prepare(from_dict({"device": "cpu", "budget": budget} | options), rank=True)
    trial = Trial(job)
    while not trial.ended:
        trial.advance()
    assert trial.best is not None
    assert job.nearest is not None
    found = build.hear_test(job, trial.fitting.voicepack(trial.best.genome))
    assert found is not None
    first, last = trial.rows[0], trial.rows[-1]
    start = {"score": first["score"], "parts": {name: first[f"score.{name}"] for name in job.nearest.parts}}
    return {
        "target": target,
        "budget": budget,
        "nearest": {"score": job.nearest.score, "parts": job.nearest.parts},
        "start": start,
        "seconds": sum(utterance.seconds for utterance in job.fit),
        "heldout": trial.best.score,
        "reached": found.score,
        "parts": found.parts,
        "curve": [(row["syntheses"], row["score"]) for row in trial.rows if "score" in row],
        "stop": trial.stop,
        "syntheses": last["syntheses"],
        "notes": job.notes,
        "cpu": round(time.process_time() - began, 1),
    }


def speaker(row: Row, budget: int) -> Row:
    """What the calibration keeps of a fit of the duel as it stood at a budget."""
    start = row["curve"][0]["parts"][forecast.PART]
    return {"name": row["key"][0], "start": start, "reached": _kept(row, budget)}


def new_speaker(row: Row, gained: float = 0.0) -> Row:
    """Of a fit run here, which would have gained so much more."""
    return {"name": row["target"], "start": row["start"]["parts"][forecast.PART], "reached": row["reached"] + gained}


def gain(known: Sequence[Row], budget: int) -> float:
    """The mean of what fits of the duel gained from a budget to the default one; none from a larger one."""
    return statistics.mean(_kept(row, max(budget, BUDGET)) - _kept(row, budget) for row in known)


def report(known: Sequence[Row], new: Sequence[Row]) -> None:
    """How well a line through FIRST foretells all others, and one through all but one that one."""
    first = [row for row in known if row["key"][0] in FIRST]

    def line(budget: int) -> Line:
        return forecast.line([speaker(row, budget) for row in first])

    clean, damaged = _apart(new)
    cases = [(BUDGET, speaker(row, BUDGET)) for row in known if row not in first]
    cases += [(row["budget"], new_speaker(row)) for row in clean]
    pairs = _table(line, cases)
    _summary(f"{len(pairs)} new speakers", pairs)
    everyone = speakers(known, new)
    whole = forecast.line(everyone)
    left_out = [(whole.without(k)(row["start"]), row["reached"]) for k, row in enumerate(everyone)]
    _summary(f"all {len(left_out)}, each left out in turn", left_out)
    print("\nDamaged recordings, for which there is no forecast, had there been one:\n")
    _table(line, [(row["budget"], new_speaker(row)) for row in damaged])


def _table(line: Callable[[int], Line], cases: Sequence[tuple[int, Row]]) -> list[tuple[Forecast, float]]:
    """Print speakers with the budget of their fits, and what the line of that budget foretells; (forecast, reached)."""
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    pairs = [(line(budget)(case["start"]), case["reached"]) for budget, case in cases]
    for (budget, case), (found, reached) in zip(cases, pairs, strict=True):
        interval = f"{found.low:.1f} to {found.high:.1f}"
        mark = "" if found.low <= reached <= found.high else " *"
        cells = (case["name"], budget, f"{case['start']:.2f}", f"{found.score:.1f}", interval, f"{reached:.1f}{mark}")
        print(f"| {' | '.join(map(str, cells))} |")
    return pairs


def speakers(known: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Everybody whose recordings are clean, at the default budget."""
    brought = [new_speaker(row, gain(known, row["budget"])) for row in _apart(new)[0]]
    return [*(speaker(row, BUDGET) for row in known), *brought]


def ship(known: Sequence[Row], new: Sequence[Row]) -> None:
    """Write what the package reads."""
    rounded = [s | {"start": round(s["start"], 4), "reached": round(s["reached"], 2)} for s in speakers(known, new)]
    found = {"model": EMBEDDED, "settings": forecast.settings(defaults(EMBEDDED)), "speakers": rounded}
    print(write_text(ROOT / "coconut" / forecast.ASSET, json.dumps(found, indent=1) + "\n"))


def _summary(title: str, pairs: Sequence[tuple[Forecast, float]]) -> None:
    within = sum(found.low <= reached <= found.high for found, reached in pairs)
    guesses, reached = [found.score for found, _ in pairs], [value for _, value in pairs]
    wrong = sorted(abs(a - b) for a, b in zip(guesses, reached, strict=True))
    print(
        f"{title}: rank correlation {spearmanr(guesses, reached).statistic:.2f}; {within} of {len(pairs)} within the "
        f"{forecast.SHARE:.0%} interval; error {statistics.median(wrong):.1f} in the middle, {wrong[-1]:.1f} at most"
    )


def _apart(new: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """(those whose recordings are clean, those whose are damaged)."""
    clean = [row for row in new if row["target"] not in blends.DAMAGE]
    return clean, [row for row in new if row not in clean]


def _kept(row: Row, budget: int) -> float:
    found = duel.kept(row, budget)
    assert found is not None, f"the fit of {row['key']} had not begun after {budget} syntheses"
    return found


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
