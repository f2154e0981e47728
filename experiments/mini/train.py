"""The training loop that both halves share: AdamW, cosine schedule, checkpoints that survive a kill."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from . import data

Losses = dict[str, Tensor]
STYLE_NOISE = 0.15
RESTART = 0.4  # of the peak rate


class Styles(nn.Module):
    """One half (128 dims) of every speaker's style: base + profile[phonemes - 1] * reach * slope, both learned.

    `reach` is how fast the slope learns against the base: the length of a text means much to prosody and little
    to timbre. STYLE_NOISE is drawn from the speakers' own spread (1 would be a stranger): it keeps what lies between
    voices meaningful. Directions that no voice takes stay untrained (`coordinates` gives them their reach).
    """

    def __init__(self, speakers: int, generator: torch.Generator, reach: float) -> None:
        super().__init__()
        self.reach = reach
        self.base = nn.Parameter(torch.randn(speakers, 128, generator=generator) * 0.1)
        self.slope = nn.Parameter(torch.zeros(speakers, 128))
        self.generator = generator

    def forward(self, speaker: Tensor, phonemes: Tensor) -> Tensor:
        """speaker, phonemes [B] -> styles [B, 128], with noise."""
        at = torch.from_numpy(data.profile(phonemes.cpu().numpy() - 1.0)).to(self.base)
        style = self.base[speaker] + at[:, None] * self.reach * self.slope[speaker]
        spread = (self.base - self.base.mean(0)).detach() / len(self.base) ** 0.5
        draws = torch.randn(len(style), len(self.base), generator=self.generator)
        return style + STYLE_NOISE * draws.to(spread) @ spread


def expand(features: Tensor, durations: Tensor, frames: int) -> Tensor:
    """features [B, N, C], durations [B, N] -> [B, frames, C]; the last token fills what remains."""
    edges = durations.cumsum(1)
    at = torch.arange(frames, device=edges.device).expand(len(edges), -1).contiguous()
    token = torch.searchsorted(edges, at, right=True)
    last = (durations > 0).sum(1, keepdim=True) - 1
    token = torch.minimum(token, last)
    return features.gather(1, token[..., None].expand(-1, -1, features.shape[2]))


def loop(
    name: str,
    modules: nn.ModuleDict,
    loss: Callable[[int], Losses],
    weights: dict[str, float],
    steps: int,
    folder: Path,
    generators: dict[str, torch.Generator],
    rng: np.random.Generator,
    rate: float = 1.5e-3,
    every: float = 150.0,
    polish: int = 0,
) -> None:
    """Train `modules` for so many steps in all, from the last checkpoint of `name` if there is one.

    loss(step) gives the terms, weights their sum. The entry "styles" learns at 5e-3, the rest at `rate`; both
    fall along a cosine to a hundredth, and before the last `polish` steps rise to RESTART of that and fall again
    (SGDR, arXiv 1608.03983). A checkpoint comes every so many seconds, at the end, on Ctrl-C and SIGTERM.
    """
    path = folder / f"{name}.pt"
    groups = [
        {"params": [p for k, m in modules.items() if k != "styles" for p in m.parameters()], "peak": rate},
        {"params": list(modules["styles"].parameters()), "peak": 5e-3, "weight_decay": 1e-3},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.8, 0.99), weight_decay=1e-2)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    start = _restore(path, modules, optimizer, generators, rng)
    log = (folder / f"{name}.jsonl").open("a")
    average: dict[str, float] = {}
    saved, began = time.time(), time.time()
    step = start

    def checkpoint() -> None:
        _save(path, step, modules, optimizer, generators, rng)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, refresh_per_second=0.1) as bar:
        task = bar.add_task(name, total=steps, completed=start)
        try:
            while step < steps:
                schedule(optimizer, step, steps, polish)
                terms = loss(step)
                total = torch.stack([weights[k] * v for k, v in terms.items()]).sum()
                optimizer.zero_grad(set_to_none=True)
                total.backward()
                norm = nn.utils.clip_grad_norm_(modules.parameters(), 5.0)
                if torch.isfinite(norm):
                    optimizer.step()
                step += 1
                for key, value in {**terms, "norm": norm}.items():
                    average[key] = 0.98 * average.get(key, float(value)) + 0.02 * float(value)
                if step % 50 == 0:
                    row = {"step": step, "seconds": round(time.time() - began, 1)}
                    log.write(json.dumps({**row, **{k: round(v, 5) for k, v in average.items()}}) + "\n")
                    log.flush()
                    bar.update(task, completed=step, description=f"{name} {float(total):.3f}")
                if time.time() - saved > every:
                    checkpoint()
                    saved = time.time()
        except KeyboardInterrupt:
            checkpoint()
            raise SystemExit(f"{name}: stopped at step {step}; the same command goes on from there.") from None
    checkpoint()


def schedule(optimizer: torch.optim.Optimizer, step: int, steps: int, polish: int) -> None:
    """Set the rates of a step: two cosines, the second over the last `polish` steps; the first rises for 100."""
    first = steps - polish
    peak, at = (1.0, step / first) if step < first else (RESTART, (step - first) / polish)
    warm = min(1.0, (step + 1) / 100)
    fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * at))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * peak * warm * fall


def _save(
    path: Path,
    step: int,
    modules: nn.ModuleDict,
    optimizer: torch.optim.Optimizer,
    generators: dict[str, torch.Generator],
    rng: np.random.Generator,
) -> None:
    state: dict[str, Any] = {
        "step": step,
        "modules": modules.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generators": {k: g.get_state() for k, g in generators.items()},
        "rng": json.dumps(rng.bit_generator.state),
    }
    partial = path.with_suffix(".tmp")
    torch.save(state, partial)
    os.replace(partial, path)


def _restore(
    path: Path,
    modules: nn.ModuleDict,
    optimizer: torch.optim.Optimizer,
    generators: dict[str, torch.Generator],
    rng: np.random.Generator,
) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    modules.load_state_dict(state["modules"])
    optimizer.load_state_dict(state["optimizer"])
    for key, generator in generators.items():
        generator.set_state(state["generators"][key])
    rng.bit_generator.state = json.loads(state["rng"])
    return int(state["step"])
