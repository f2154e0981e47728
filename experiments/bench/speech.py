"""Populations of voices against a loop of stock calls: seconds of audio per second, and what bounds them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from coconut.audio import SAMPLE_RATE
from coconut.synthesis import Synthesizer, workers
from coconut.synthesis.batches import padding_share, plan
from coconut.synthesis.synthesizer import WASTE
from experiments.bench.machine import Ceiling, Traffic, peak_above, seconds, wait
from tests.kmodels import kokoro_config, random_model, random_phonemes, random_styles

HEADER = (
    "model", "precision", "popsize", "phonemes", "audio s", "loop x", "batch x", "ratio", "prosody %",
    "padding %", "peak MiB", "GFLOP/s", "ceiling %", "copy %",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """repeats: populations per cell, beside one that warms up; loop: stock calls per repeat; cell: seconds that a
    population may take, or the cell is skipped; window: phonemes of each text."""

    repeats: int
    loop: int
    cell: float
    window: tuple[int, ...]


class Bench:
    """One model of random weights on one device, and its synthesizers by precision."""

    def __init__(
        self, settings: Settings, name: str, device: torch.device, precisions: Sequence[str], ceiling: Ceiling
    ) -> None:
        self.settings, self.name, self.device, self.ceiling = settings, name, device, ceiling
        self.model = random_model(kokoro_config() if name == "kokoro" else None).to(device)
        self.synths = {precision: Synthesizer(self.model, precision=precision) for precision in precisions}
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

    def texts(self, counts: Sequence[int]) -> list[str]:
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

    def loop(self, phonemes: list[str], styles: Tensor) -> float:
        """Audio seconds of stock calls one after another."""
        samples = 0
        for p in range(self.settings.loop):
            u = p % len(phonemes)
            samples += len(self.model(phonemes[u], styles[(p * 7) % len(styles), u][None]))
        return samples / SAMPLE_RATE

    def row(self, precision: str, popsize: int, counts: Sequence[int]) -> None:
        """One row of the table under HEADER."""
        synth, phonemes, device = self.synths[precision], self.texts(counts), self.device
        script = synth.prepare(phonemes)
        rows = []
        first = self.styles(popsize, len(counts), 1)
        took, audio = seconds(lambda: synth(script, first[: max(1, min(4, popsize))]), device)
        spoken = float(audio.lens.sum()) / SAMPLE_RATE
        expected = took / spoken * float(audio.lens.float().mean()) * popsize * len(counts) / SAMPLE_RATE
        label = f"| {self.name} | {precision} | {popsize} | {'+'.join(map(str, counts))} |"
        if expected > self.settings.cell:
            print(f"{label} skipped: a population takes about {expected:.0f} s, more than --cell |", flush=True)
            return
        for repeat in range(self.settings.repeats + 1):
            styles = self.styles(popsize, len(counts), 2 + repeat)
            loop_s, looped = seconds(partial(self.loop, phonemes, styles), device)
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
        peak = peak_above(lambda: synth(script, styles), device) if expected < self.settings.cell / 2 else "-"
        rate, moved = (batch_x * 40 * per / 1e9 for per in (self.work_per_frame, self.moved_per_frame))
        print(
            f"{label} {spoken:.0f} | {loop_x:.1f} | {batch_x:.1f} | {ratio:.2f} | {100 * share:.0f} | "
            f"{100 * padding:.0f} | {peak} | {rate:,.0f} | {100 * rate / self.ceiling.gflops[synth.precision]:.0f} | "
            f"{100 * moved / self.ceiling.copy:.0f} |",
            flush=True,
        )


def table(title: str) -> None:
    print(f"\n### {title}\n\n| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")


def profile(bench: Bench, precision: str, popsize: int = 16, rows: int = 25) -> None:
    """Where a batch spends its time, by operator; in one thread, the only one that the profiler sees."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    synth, window = bench.synths[precision], bench.settings.window
    script, styles = synth.prepare(bench.texts(window)), bench.styles(popsize, len(window), 1)
    synth(script, styles)
    cuda = bench.device.type == "cuda"
    kinds: list[Any] = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if cuda else [ProfilerActivity.CPU]
    with mock.patch.object(workers, "count", return_value=1), profiler(activities=kinds) as found:
        synth(script, styles)
        wait(bench.device)
    order = "self_device_time_total" if cuda else "self_cpu_time_total"
    shown = found.key_averages().table(
        sort_by=order, row_limit=rows, max_name_column_width=60, header=f"{bench.name} {precision}, popsize {popsize}"
    )
    print(f"\n{shown}", flush=True)
