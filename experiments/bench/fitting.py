"""Whole generations of a fit, with all its losses: the time of each part, memory, and steps of the gradient."""

from __future__ import annotations

from coconut import build, gauge
from coconut.gauge import Reading

STAGES = ("prosody", "decode", "losses", "score", "step")
HEADER = ("precision", "popsize", *(f"{stage} s" for stage in STAGES), "candidate s / s", "apart", "held MB", "peak MB")


def header(title: str) -> None:
    print(f"\n### {title}\n\n| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")


def row(model: str, device: str, precision: str, popsize: int, window: int, mimi: str) -> None:
    """One row of the table under HEADER; what the process held is given back first."""
    build.forget()
    reading = gauge.read(gauge.prepare(model, device, precision, window, mimi), popsize)
    print(f"| {precision} | {popsize} | {_line(reading)} |", flush=True)


def _line(reading: Reading) -> str:
    stages = " | ".join(f"{reading.seconds[stage]:.3f}" for stage in STAGES)
    held, peak = (f"{size / 1e6:,.0f}" if size else "-" for size in (reading.held, reading.peak))
    return f"{stages} | {reading.rate:,.1f} | {reading.apart:.5f} | {held} | {peak}"
