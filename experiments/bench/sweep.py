"""What a sweep costs beside its fits: its wall time over that of the same job and fits, bare in one process.

    python experiments/bench/sweep.py --budget 500 --rounds 2 --out sweep.json

The sweep has one worker of one thread, no early stop, and is timed as a user meets it: from the command to
its last words, with imports, the start of Ray, the nearest stock voice, MLflow, the test and the page. Bare, the job is
made anew and the fits run one after another and leave their artifacts, in one process of one thread too; its
imports are not counted. Both run in turns, and the ratio is that of their medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BARE = """
import json, sys, time
from pathlib import Path
import torch
from coconut.config import from_dict
from coconut.job import Job, prepare
from coconut.trial import Trial
torch.set_num_threads(1)
folder, times = Path(sys.argv[1]), []
config = from_dict({"space.start": "nearest"}, Job.load(folder / "job").config)
began = time.perf_counter()
job = prepare(config)
making = time.perf_counter() - began
for path in sorted(folder.glob("trial_*/trial.json")):
    record = json.loads(path.read_text())
    settings = {name: value for name, value in record.items() if "." in name}
    began = time.perf_counter()
    trial = Trial(job, settings)
    while not trial.ended:
        trial.advance()
    trial.write(Path(sys.argv[2]) / path.parent.name)
    times.append(time.perf_counter() - began)
print(json.dumps({"making": making, "seconds": times}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--budget", type=int, default=500, help="syntheses of a trial")
    parser.add_argument("--rounds", type=int, default=2, help="times that both sides run, in turns")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON too")
    args = parser.parse_args()
    rounds = []
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as storage:
            rounds.append(measure(Path(storage), args.trials, args.budget))
        print(json.dumps(rounds[-1], indent=2), flush=True)
    sweep, bare = (statistics.median(found[side] for found in rounds) for side in ("sweep", "bare"))
    result = {"sweep": sweep, "bare": bare, "ratio": sweep / bare, "rounds": rounds}
    print(f"{sweep:.0f} s / {bare:.0f} s = {sweep / bare:.3f}")
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure(storage: Path, trials: int, budget: int) -> dict[str, Any]:
    """The seconds of a sweep and of its job and fits bare, and of each fit in both."""
    words = ["--trials", str(trials), "--budget", str(budget), "--concurrent", "1", "--scheduler", "none"]
    words += ["--stop.patience", "0", "--device", "cpu", "--storage", str(storage), "--name", "bench"]
    sweep = timed([sys.executable, str(ROOT / "experiments" / "sweep.py"), *words])[0]
    said = timed([sys.executable, "-c", BARE, str(storage / "bench"), str(storage / "bare")])[1]
    found = json.loads(said.splitlines()[-1])
    board = json.loads((storage / "bench" / "leaderboard.json").read_text(encoding="utf-8"))
    rows = sorted(board["leaderboard"], key=lambda row: row["trial"])
    return {
        "sweep": sweep,
        "bare": found["making"] + sum(found["seconds"]),
        "job_bare": found["making"],
        "fits_bare": found["seconds"],
        "trials_in_sweep": [row["seconds"] for row in rows],
        "syntheses": [row["syntheses"] for row in rows],
    }


def timed(command: list[str]) -> tuple[float, str]:
    """Wall seconds and output of a command of one thread, which finds nothing that another one computed."""
    with tempfile.TemporaryDirectory() as cache:
        quiet = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": cache}
        began = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet, cwd=ROOT.parent)
        return time.perf_counter() - began, done.stdout


if __name__ == "__main__":
    main()
