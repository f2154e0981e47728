"""One step of the gradient beside one generation of an evolution strategy: CPU seconds and peak memory.

    python experiments/bench/step.py --model kokoro --popsize 16 --repeats 3

Each runs in a process of its own, one thread, on the same two texts of about 5 s, with all losses but Mimi's. Memory
is the most that the process held until then, and in all. Kokoro-82M has random weights: its cost is the real one's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import torch  # noqa: E402

from coconut import gauge  # noqa: E402
from coconut.audio import SAMPLE_RATE  # noqa: E402
from experiments.bench import random_models  # noqa: E402

KINDS = ("step", "population")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="kokoro", help="kokoro (random weights), or a model's name")
    parser.add_argument("--popsize", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=KINDS, help="measure this one, in this process")
    args = parser.parse_args()
    if args.only:
        return print(json.dumps(measure(args.model, args.only, args.popsize, args.repeats)))
    print("| | CPU-s, median | audio, s | before, MB | peak, MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        model = random_models.kokoro(Path(folder) / "kokoro") if args.model == "kokoro" else args.model
        for kind in KINDS:
            words = ["--model", model, "--popsize", str(args.popsize), "--repeats", str(args.repeats), "--only", kind]
            done = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"| {kind} | {found['cpu']:.2f} | {found['audio']:.0f} | {found['before']:.0f} | {found['peak']:.0f} |"
            )


def measure(model: str, kind: str, popsize: int, repeats: int) -> dict[str, float]:
    """CPU seconds of a step or of a population's losses, the audio they make, and the memory of this process in MB."""
    torch.set_num_threads(1)
    fitting = gauge.prepare(model, "cpu", "exact", mimi=gauge.NO_MIMI)
    start, texts = fitting.space.init().double(), fitting.windows[0]
    draw = torch.Generator().manual_seed(0)
    population = start + gauge.SPREAD * torch.randn(popsize, len(start), generator=draw, dtype=torch.float64)
    work: Callable[[], object]
    if kind == "step":
        work, voices = (lambda: fitting.objective.gradient(start[None], texts)), 1
    else:
        work, voices = (lambda: fitting.objective(population, texts)), popsize
    for utterance in texts:
        for name in fitting.objective.terms:
            fitting.objective.reference(name, utterance)
    before, took = peak(), []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        took.append(time.process_time() - begun)
    seconds = voices * sum(len(utterance.audio) for utterance in texts) / SAMPLE_RATE
    return {"cpu": statistics.median(took), "audio": seconds, "before": before, "peak": peak()}


def peak() -> float:
    """The most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
