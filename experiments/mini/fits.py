"""Figures that take whole fits: of withheld voices, and of one short clip until it is overcooked."""

from __future__ import annotations

import csv
import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any

import rich
import soundfile

from coconut import build
from coconut.config import EsConfig, FitConfig, LossConfig, SpaceConfig, StopConfig, WindowConfig
from coconut.data import Windows
from coconut.job import prepare
from coconut.score import Score

from . import data, texts
from .figures import Bench, Figures

UTTERANCES = [*texts.HELDOUT_SENTENCES, *texts.DEMO_SENTENCES[:4]]
CLIPS = [
    "Nine copper wires.",
    "A shallow dish of jam.",
    "Is the lamp off already?",
    "Jam and mustard on dry toast.",
    "The tall clock in the hall is slow.",
]
CLIP = 1.5  # seconds
DROP = 1.0  # points of 100 that the held-out score must lose after its peak
ENDLESS = 10**9  # syntheses: the generations alone end these fits


def withheld(bench: Bench, targets: int = 8) -> Figures:
    """Gain of the held-out log-mel distance over the nearest stock voice, mean over the withheld speakers.

    Each is fitted from 12 recordings, 4 held out: snes, popsize 12, pca, 20 generations, windows of 2.
    """
    gains, scores = {}, {}
    for name in _targets(bench, targets):
        with tempfile.TemporaryDirectory(prefix="mini-eval-") as folder:
            _record(bench, name, UTTERANCES, Path(folder))
            config = FitConfig(
                data=folder,
                budget=ENDLESS,
                generations=20,
                heldout=4,
                test=0,
                lang=_lang(bench, name),
                es=EsConfig(popsize=12),
                window=WindowConfig(size=2, stride=2),
                stop=StopConfig(patience=0),
            )
            fitting = build.wire(prepare(config))
            step = list(fitting.steps())[-1]
        nearest = fitting.job.nearest
        assert nearest is not None
        gains[name] = round(1 - _distance(step.best.parts) / _distance(nearest.parts), 4)
        scores[name] = f"{nearest.name} {nearest.score:.1f} -> {step.best.score:.1f} at {step.best.generation}"
        rich.print(f"[dim]{name}: {gains[name]:.1%}, {scores[name]}[/dim]")
    return {"fit_gain": sum(gains.values()) / len(gains), "fit_gains": gains, "fit_scores": scores}


def overcook(bench: Bench, targets: int = 8) -> Figures:
    """Share of withheld speakers of whom one clip of about 1.5 s, searched in 256 dims, is visibly overcooked.

    Visibly: a running mean of five held-out scores rises above the start, peaks before the end, and ends DROP
    points below its peak. snes, popsize 16, sigma 0.5, bias, 240 generations scored every eighth, no prior.
    """
    curves: dict[str, list[float]] = {}
    cooked = {}
    for name in _targets(bench, targets):
        with tempfile.TemporaryDirectory(prefix="mini-eval-") as folder:
            _record(bench, name, [*CLIPS, *UTTERANCES[:5]], Path(folder))
            config = FitConfig(
                data=folder,
                budget=ENDLESS,
                generations=240,
                heldout=4,
                test=0,
                lang=_lang(bench, name),
                es=EsConfig(popsize=16, sigma=0.5),
                space=SpaceConfig(kind="bias"),
                loss=LossConfig(speaker=0.0, prior=0.0),
                stop=StopConfig(patience=0, every=8),
            )
            curve = _curve(build.wire(prepare(config)))
        smooth = [sum(curve[i : i + 5]) / 5 for i in range(len(curve) - 4)]
        cooked[name] = max(smooth) > curve[0] and smooth[-1] <= max(smooth) - DROP
        curves[name] = [round(v, 2) for v in curve]
        rich.print(f"[dim]{name}: from {smooth[0]:.1f} to {max(smooth):.1f}, then {smooth[-1]:.1f}[/dim]")
    return {"overcooked": sum(cooked.values()) / len(cooked), "overcook_curves": curves}


def _curve(fitting: build.Fitting) -> list[float]:
    """Scores on the four longest recordings of a fit that sees only the one of about CLIP seconds."""
    clips = sorted([*fitting.job.fit, *fitting.job.heldout], key=lambda u: u.seconds)
    score = Score(fitting.space, fitting.synth, clips[-4:])
    seen = min(clips[:-4], key=lambda u: abs(u.seconds - CLIP))
    alone = dataclasses.replace(fitting, score=score, windows=Windows([seen], 1, 0))
    return [step.metrics.score for step in alone.steps() if step.metrics]


def _targets(bench: Bench, count: int) -> list[str]:
    return [name for name in bench.cast if name.startswith("target_")][:count]


def _lang(bench: Bench, name: str) -> str:
    return {"us": "en-us", "gb": "en-gb"}[bench.cast[name].accent]


def _distance(parts: dict[str, float]) -> float:
    """The log-mel distance behind the score's part, exp(-distance)."""
    return -math.log(parts["logmel"])


def _record(bench: Bench, name: str, spoken: list[str], folder: Path) -> None:
    """Write espeak's recordings of a speaker with metadata.csv."""
    rows: list[Any] = [("file_name", "transcription")]
    for k, u in enumerate(data.speak(bench.espeak, bench.cast[name], spoken)):
        soundfile.write(folder / f"{k:02d}.flac", u.pcm, data.SAMPLE_RATE)
        rows.append((f"{k:02d}.flac", u.text))
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
