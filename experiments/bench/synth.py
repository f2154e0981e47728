"""How fast a population of voices is spoken and compared, against a loop of stock calls, and what bounds it.

    python experiments/bench/synth.py --device cuda                # everything, within ten minutes
    python experiments/bench/synth.py --parts speech --batches 16 --models mini --repeats 9
    python experiments/bench/synth.py --small                      # everything, to see that it works

Runs from a bare checkout: torch, transformers and kokoro suffice. Prints Markdown, each row as soon as it is known;
a part that fails is one line, and what `--minutes` does not allow is not begun. Models have random weights: their cost
is that of the real ones. Every repeat draws new styles around one voice, as a fit does, so that lengths never repeat.

Parts, in their order:

    speech    populations against KModel.forward, one item after another; both speak the same styles, in turn
    fit       a generation with all losses, Mimi's too, its score, a step of the gradient, memory (coconut/gauge.py)
    sharing   1, 2 and 4 processes on the device at once
    profile   by operator
    growth    populations and texts that grow

Columns of speech and growth:

    phonemes    of each text of the window
    audio s     seconds of audio that one population speaks
    loop x      seconds of audio per second: KModel.forward, as torch sets it up, over a few of a batch's items
    batch x     the same: prosody and decode of the whole population
    ratio       median over the repeats of batch / loop
    prosody %   share of prosody in the batch's time
    padding %   share of computed frames that nobody hears
    peak MiB    memory above the model while a population is spoken (CPU: resident, Linux only)
    GFLOP/s     arithmetic of the stock model per second; a CPU may do less of it for the same result
    ceiling %   that against the machine's fastest large matmul or convolution, measured in this run
    copy %      bytes that the operations read and write per second, against a large copy (read + write)
"""

from __future__ import annotations

import argparse
import itertools
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from coconut import doctor, gauge
from coconut.synthesis.precision import PRECISIONS, available
from experiments.bench import fitting, machine, random_models, speech
from experiments.bench.machine import Ceiling
from experiments.bench.sharing import Share, together
from experiments.bench.speech import Bench, Settings

PARTS = ("speech", "fit", "sharing", "profile", "growth")
MODELS = ("kokoro", "mini")
WINDOW = (30, 45, 60, 75)
SHARED = ("model", "precision", "processes", "audio s / s of all", "of the slowest", "ratio to the first")
GROWING = (1, 16, 64, 256)
TEXTS = ((10,), (30,), (90,), (270,), (40,) * 2, (40,) * 4, (40,) * 8)
SMALL = {
    "models": ["mini"], "batches": [2], "window": [6, 9], "repeats": 1, "loop": 1, "cell": 2.0,
    "processes": [1, 2], "seconds": 1.0,
}  # fmt: skip


class Run:
    """The parts, over one set of arguments."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.begun = args, time.perf_counter()
        self.device = torch.device(args.device)
        self.precisions = args.precision or available(self.device)
        self.ceiling = Ceiling.measure(self.device, args.small)
        settings = Settings(args.repeats, args.loop, args.cell, tuple(args.window))
        self.benches = [Bench(settings, name, self.device, self.precisions, self.ceiling) for name in args.models]

    def all(self) -> None:
        for name in self.args.parts:
            getattr(self, name)()
        print(f"\n{time.perf_counter() - self.begun:.0f} s in all.")

    def attempt(self, what: str, work: Callable[..., None], *args: Any) -> None:
        """work(*args), unless time is over; where it fails, a line says so, and the rest goes on."""
        if time.perf_counter() - self.begun > 60 * self.args.minutes:
            print(f"{what}: not begun, --minutes {self.args.minutes:g} are over", flush=True)
            return
        try:
            work(*args)
        except Exception as error:
            print(f"{what}: failed, {type(error).__name__}: {' '.join(str(error).splitlines()[:1])}", flush=True)

    def speech(self) -> None:
        speech.table(f"Populations that speak {len(self.args.window)} texts")
        for bench, precision, popsize in itertools.product(self.benches, self.precisions, self.args.batches):
            self.attempt(f"{bench.name} {precision} {popsize}", bench.row, precision, popsize, self.args.window)

    def fit(self) -> None:
        if self.args.small:
            self._fit("mini", gauge.NO_MIMI)
            return
        with tempfile.TemporaryDirectory() as folder:
            kokoro, mimi = (Path(folder) / name for name in ("kokoro", "mimi"))
            self._fit(random_models.kokoro(kokoro), random_models.mimi(mimi))

    def _fit(self, model: str, mimi: str) -> None:
        fitting.header("Generations of a fit with all losses")
        for precision, popsize in itertools.product(self.precisions, self.args.batches[:2]):
            what = (model, str(self.device), precision, popsize, len(self.args.window), mimi)
            self.attempt(f"fit {precision} {popsize}", fitting.row, *what)

    def sharing(self) -> None:
        print(f"\n### Processes at once\n\n| {' | '.join(SHARED)} |\n|{'---|' * len(SHARED)}")
        for bench, precision in itertools.product(self.benches[:1], self.precisions):
            alone: list[float] = []
            for processes in self.args.processes:
                self.attempt(f"{processes} processes", self._shared, bench.name, precision, processes, alone)

    def _shared(self, model: str, precision: str, processes: int, alone: list[float]) -> None:
        """One row; `alone` collects the rates, of which the first is that of the fewest processes."""
        args, window = self.args, tuple(self.args.window)
        threads = max(1, torch.get_num_threads() // processes)
        share = Share(model, str(self.device), precision, args.batches[0], window, processes, args.seconds, threads)
        rates = together(share, patience=args.seconds + 120)
        alone.append(sum(rates))
        slowest, ratio = min(rates), sum(rates) / alone[0]
        print(f"| {model} | {precision} | {processes} | {sum(rates):,.1f} | {slowest:,.1f} | {ratio:.2f} |", flush=True)

    def profile(self) -> None:
        for bench, precision in itertools.product(self.benches, self.precisions):
            self.attempt(f"profile of {bench.name} {precision}", speech.profile, bench, precision, self.args.batches[0])

    def growth(self) -> None:
        speech.table("Populations and texts that grow")
        for bench, popsize in itertools.product(self.benches, GROWING):
            self.attempt(f"popsize {popsize}", bench.row, self.precisions[-1], popsize, self.args.window)
        for bench, counts in itertools.product(self.benches, TEXTS):
            self.attempt(f"texts of {counts}", bench.row, self.precisions[-1], self.args.batches[0], counts)


def processor() -> str:
    """Its name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "CPU"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", default="cpu", help="cpu, cuda, cuda:1, mps")
    add("--parts", nargs="+", default=PARTS, choices=PARTS)
    add("--minutes", type=float, default=9.0, help="begin nothing after so many")
    add("--models", nargs="+", default=MODELS, choices=MODELS)
    add("--precision", nargs="+", choices=PRECISIONS, help="default: all that the device has")
    add("--batches", nargs="+", type=int, default=[24, 4], help="popsizes, the most telling first")
    add("--window", nargs="+", type=int, default=WINDOW, help="phonemes of each text")
    add("--processes", nargs="+", type=int, default=[1, 2, 4], help="at once")
    add("--seconds", type=float, default=8.0, help="that processes share the device")
    add("--repeats", type=int, default=3, help="populations per cell, beside one that warms up")
    add("--loop", type=int, default=6, help="stock calls per repeat")
    add("--cell", type=float, default=20.0, help="skip a cell whose population takes longer, in seconds")
    add("--threads", type=int, help="of torch, the same for both sides")
    add("--cpu-time", action="store_true", help="CPU seconds, not wall: for a machine with other work")
    add("--small", action="store_true", help="tiny sizes, to see that everything works")
    first, _ = parser.parse_known_args()
    if first.small:
        parser.set_defaults(**SMALL)
    return parser.parse_args()


def main() -> int:
    """The exit code: 2 where the device cannot be used, which is said in one sentence."""
    args = arguments()
    tried = doctor.device(args.device)
    if not tried.ok:
        print(f"{tried.finding}.", file=sys.stderr)
        return 2
    if args.cpu_time:
        machine.clock = time.process_time
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    Run(args).all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
