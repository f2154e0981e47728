"""How fast a population of voices is spoken, against a loop of stock calls, and what bounds it.

    python experiments/bench/synth.py                              # both models, on this CPU
    python experiments/bench/synth.py --device cuda --precision exact fast --mimi --growth --profile
    python experiments/bench/synth.py --models mini --batches 16 --repeats 9

Runs from a bare checkout: torch, transformers and kokoro suffice. Prints Markdown. Both sides speak the
same styles in the same run, in turn; every repeat draws new styles around one voice, as a fit does, so
that lengths never repeat. The loop speaks a few of a batch's items. Kokoro-82M has random weights: its
cost is that of the real one. Columns:

    phonemes    of each text of the window
    audio s     seconds of audio that one population speaks
    loop x      seconds of audio per second: KModel.forward, one item after another
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
import platform
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from coconut.audio import SAMPLE_RATE
from coconut.synthesis import Synthesizer, workers
from coconut.synthesis.batches import padding_share, plan
from coconut.synthesis.synthesizer import WASTE
from experiments.bench import machine
from experiments.bench.machine import Ceiling, Traffic, peak_above, seconds, wait
from tests.kmodels import kokoro_config, random_model, random_phonemes, random_styles

WINDOW = (30, 45, 60)  # phonemes of the texts of a window
HEADER = (
    "model", "precision", "popsize", "phonemes", "audio s", "loop x", "batch x", "ratio", "prosody %",
    "padding %", "peak MiB", "GFLOP/s", "ceiling %", "copy %",
)  # fmt: skip


class Bench:
    def __init__(self, args: argparse.Namespace, name: str, ceiling: Ceiling) -> None:
        self.args, self.name, self.ceiling = args, name, ceiling
        self.device = torch.device(args.device)
        self.model = random_model(kokoro_config() if name == "kokoro" else None).to(self.device)
        self.synths = {p: Synthesizer(self.model, precision=p) for p in args.precision}
        self.work_per_frame = self._work_per_frame()
        self.moved_per_frame = self._moved_per_frame()
        print(
            f"{name}: {self.work_per_frame * 40 / 1e9:.2f} GFLOP (stock, recurrences not counted) and "
            f"{self.moved_per_frame * 40 / 1e9:.2f} GB (ours, exact) per second of audio"
        )
        for precision, synth in self.synths.items():
            synth.prosody(synth.prepare(["a"]), random_styles(1, 1))
            size, frames = synth.budget.bytes_per_frame / 1024, synth.budget.frames
            print(
                f"{name} {precision} (in effect: {synth.precision}): {size:.0f} KiB a frame, "
                f"{frames} frames a batch, warm-up {synth.warmup_seconds:.1f} s"
            )

    def texts(self, counts: tuple[int, ...]) -> list[str]:
        return [random_phonemes(count, 1000 + i, self.model.vocab) for i, count in enumerate(counts)]

    def styles(self, popsize: int, texts: int, seed: int) -> Tensor:
        """A population around one voice."""
        centre = random_styles(1, texts, seed=77, std=0.2)
        return (centre + 0.15 * random_styles(popsize, texts, seed=seed, std=0.2)).to(self.device)

    def _work_per_frame(self) -> float:
        phonemes = self.texts((30,))[0]
        style = self.styles(1, 1, 0)[0, 0][None]
        with FlopCounterMode(display=False) as counter:
            wave = self.model(phonemes, style)
        return counter.get_total_flops() / (len(wave) / 600)

    def _moved_per_frame(self) -> float:
        synth = Synthesizer(self.model)
        script, styles = synth.prepare(self.texts((30,))), self.styles(1, 1, 0)
        synth(script, styles)
        with Traffic() as traffic:
            audio = synth(script, styles)
        return traffic.moved / (int(audio.lens.sum()) / 600)

    def loop(self, phonemes: list[str], styles: Tensor, items: int) -> float:
        """Audio seconds of stock calls one after another."""
        samples = 0
        for p in range(items):
            u = p % len(phonemes)
            samples += len(self.model(phonemes[u], styles[(p * 7) % len(styles), u][None]))
        return samples / SAMPLE_RATE

    def row(self, precision: str, popsize: int, counts: tuple[int, ...]) -> None:
        synth, phonemes, device = self.synths[precision], self.texts(counts), self.device
        script = synth.prepare(phonemes)
        rows = []
        first = self.styles(popsize, len(counts), 1)
        took, audio = seconds(lambda: synth(script, first[: max(1, min(4, popsize))]), device)
        spoken = float(audio.lens.sum()) / SAMPLE_RATE
        expected = took / spoken * float(audio.lens.float().mean()) * popsize * len(counts) / SAMPLE_RATE
        label = f"| {self.name} | {precision} | {popsize} | {'+'.join(map(str, counts))} |"
        if expected > self.args.cell:
            print(f"{label} skipped: a population takes about {expected:.0f} s, more than --cell |", flush=True)
            return
        for repeat in range(self.args.repeats + 1):
            styles = self.styles(popsize, len(counts), 2 + repeat)
            loop_s, looped = seconds(partial(self.loop, phonemes, styles, self.args.loop), device)
            prosody_s, prosody = seconds(partial(synth.prosody, script, styles), device)
            decode_s, audio = seconds(partial(synth.decode, script, prosody, styles), device)
            spoken = float(audio.lens.sum()) / SAMPLE_RATE
            rows.append((looped / loop_s, spoken / (prosody_s + decode_s), prosody_s / (prosody_s + decode_s), spoken))
        rows = rows[1:]  # the first plans its convolutions
        loop_x, batch_x, share, spoken = (statistics.median(column) for column in zip(*rows, strict=True))
        ratio = statistics.median(batch / loop for loop, batch, *_ in rows)
        frames = prosody.frames.flatten().tolist()
        waste, room = plan(frames, len(counts), WASTE)
        padding = padding_share(frames, synth.budget.frames // workers.count(device), waste, room)
        peak = peak_above(lambda: synth(script, styles), device) if expected < self.args.cell / 2 else "-"
        rate, moved = (batch_x * 40 * per / 1e9 for per in (self.work_per_frame, self.moved_per_frame))
        print(
            f"{label} {spoken:.0f} | {loop_x:.1f} | {batch_x:.1f} | {ratio:.2f} | {100 * share:.0f} | "
            f"{100 * padding:.0f} | {peak} | {rate:,.0f} | {100 * rate / self.ceiling.gflops[synth.precision]:.0f} | "
            f"{100 * moved / self.ceiling.copy:.0f} |",
            flush=True,
        )


def with_mimi(bench: Bench, precision: str, popsize: int) -> None:
    """Candidate-seconds per second of a whole generation's heavy part: synthesis and the Mimi term.

    Mimi has random weights; the recordings are one voice of the model itself.
    """
    from transformers import MimiConfig, MimiModel

    from coconut.data import Utterance
    from coconut.losses.mimi import MimiTerm
    from coconut.losses.synthesis import Synthesis

    synth, phonemes, device = bench.synths[precision], bench.texts(WINDOW), bench.device
    script = synth.prepare(phonemes)
    audio = synth(script, bench.styles(1, len(WINDOW), 0))
    term = MimiTerm(device, MimiModel(MimiConfig()))
    spoken = [wav[:n].cpu() for wav, n in zip(audio.wav[0], audio.lens[0].tolist(), strict=True)]
    refs = [term.reference(Utterance(str(u), "", p, spoken[u])) for u, p in enumerate(phonemes)]
    rows: list[tuple[float, float, float]] = []
    for repeat in range(bench.args.repeats + 1):
        styles = bench.styles(popsize if rows else min(popsize, 4), len(WINDOW), 2 + repeat)
        if len(rows) == 1 and sum(rows[0][1:]) * popsize / min(popsize, 4) > bench.args.cell:
            print(f"| {bench.name} | {precision} | {popsize} | skipped: a population takes more than --cell |")
            return
        first, made = seconds(partial(Synthesis.of, synth, script, styles), device)
        second, _ = seconds(partial(term, refs, made), device)
        rows.append((float(made.audio.lens.sum()) / SAMPLE_RATE, first, second))
    total = statistics.median(audio / (a + b) for audio, a, b in rows[1:])
    share = statistics.median(b / (a + b) for _, a, b in rows[1:])
    print(f"| {bench.name} | {precision} | {popsize} | {total:.1f} | {100 * share:.0f} |", flush=True)


def table(title: str) -> None:
    print(f"\n### {title}\n\n| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")


def profile(bench: Bench, precision: str) -> None:
    """Where a batch of 16 x 3 spends its time; in one thread, the only one that the profiler sees."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    synth = bench.synths[precision]
    script, styles = synth.prepare(bench.texts(WINDOW)), bench.styles(16, len(WINDOW), 1)
    synth(script, styles)
    kinds = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if bench.device.type == "cuda" else [ProfilerActivity.CPU]
    with mock.patch.object(workers, "count", return_value=1), profiler(activities=kinds) as found:
        synth(script, styles)
        wait(bench.device)
    order = "self_device_time_total" if bench.device.type == "cuda" else "self_cpu_time_total"
    print(f"\n{bench.name} {precision}\n", found.key_averages().table(sort_by=order, row_limit=20))


def processor() -> str:
    """Its name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "CPU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps")
    parser.add_argument("--models", nargs="+", default=["mini", "kokoro"], choices=["mini", "kokoro"])
    parser.add_argument(
        "--precision", nargs="+", default=["exact"], choices=["exact", "fast"], help="fast: bfloat16 in the generator"
    )
    parser.add_argument("--batches", nargs="+", type=int, default=[4, 16, 64, 256], help="popsizes")
    parser.add_argument("--repeats", type=int, default=5, help="populations per cell, beside one that warms up")
    parser.add_argument("--loop", type=int, default=6, help="stock calls per repeat")
    parser.add_argument(
        "--cell", type=float, default=60.0, help="skip a cell whose population takes longer, in seconds"
    )
    parser.add_argument("--threads", type=int, default=None, help="of torch, the same for both sides")
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds, not wall: for a machine with other work")
    parser.add_argument("--growth", action="store_true", help="also: cost as length and window grow")
    parser.add_argument("--mimi", action="store_true", help="also: synthesis with the Mimi term")
    parser.add_argument("--profile", action="store_true", help="also: which operations take the time")
    args = parser.parse_args()
    if args.cpu_time:
        machine.clock = time.process_time
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    ceiling = Ceiling.measure(device)
    benches = [Bench(args, name, ceiling) for name in args.models]
    table(f"Popsize: {len(WINDOW)} texts; x is seconds of audio per second")
    for bench in benches:
        for precision in args.precision:
            for popsize in args.batches:
                bench.row(precision, popsize, WINDOW)
    if args.growth:
        table("Length and window: popsize 16")
        for bench in benches:
            for counts in ((10,), (30,), (90,), (270,), (40,) * 2, (40,) * 4, (40,) * 8):
                bench.row(args.precision[0], 16, counts)
    if args.mimi:
        print("\n### With the Mimi term\n\n| model | precision | popsize | candidate s / s | Mimi % |")
        print("|---|---|---|---|---|")
        for bench in benches:
            for precision in args.precision:
                for popsize in args.batches:
                    with_mimi(bench, precision, popsize)
    if args.profile:
        for bench in benches:
            for precision in args.precision:
                profile(bench, precision)


if __name__ == "__main__":
    main()
