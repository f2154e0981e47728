"""Tables and plots of `bench_strategies.py` from its JSON lines."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench_model import EVERY
from bench_peers import solvers

Row = dict[str, Any]
OURS = "coconut"
COLOURS = {OURS: "tab:red", "pycma": "tab:blue", "cmaes": "tab:orange", "evotorch": "tab:green"}
BUDGETS = (640, 1600, 3200, 14_400)  # evaluations at which the model is read


def read(path: Path) -> list[Row]:
    """Rows of a log, one a key: two benches that ran at once may both have written one."""
    lines = path.read_text().splitlines() if path.exists() else []
    return list({json.dumps(row["key"]): row for row in map(json.loads, lines)}.values())


def evaluations(rows: list[Row], targets: list[float]) -> float:
    """Median over seeds of the evaluations to the last target; inf where not reached."""
    return statistics.median(row["hits"][-1] if len(row["hits"]) == len(targets) else math.inf for row in rows)


def to_target(path: Path, targets: list[float]) -> str:
    """A markdown table: medians to 1e-8, ours over the best peer's."""
    groups: dict[tuple[Any, ...], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in read(path):
        kind, peer, name, dim, _ = row["key"]
        groups[kind, name, dim][peer].append(row)
    lines = ["| kind | function | D | coconut | peers | ours / best |", "|---|---|---|---|---|---|"]
    order = list(solvers("cmaes")) + list(solvers("snes"))
    for (kind, name, dim), peers in sorted(groups.items(), key=lambda item: (item[0][0], item[0][2], item[0][1])):
        medians = {p: evaluations(rows, targets) for p, rows in peers.items()}
        ours = medians.pop(OURS, math.nan)
        best = min(medians.values(), default=math.inf)
        ratio = f"{ours / best:.3f}" if math.isfinite(best) else "no peer solves" if medians else "no peer run"
        others = ", ".join(f"{p} {_count(medians[p])}" for p in sorted(medians, key=order.index))
        lines.append(f"| {kind} | {name} | {dim} | {_count(ours)} | {others} | {ratio} |")
    return "\n".join(lines)


def _count(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "-"


def milliseconds(path: Path) -> str:
    lines = ["| kind | popsize | median (mean) of ask + tell, ms |", "|---|---|---|"]
    for row in read(path):
        cells = [f"{p} {statistics.median(v):.2f} ({statistics.mean(v):.2f})" for p, v in row["ms"].items()]
        lines.append(f"| {row['key'][0]} | {row['key'][1]} | {', '.join(cells)} |")
    return "\n".join(lines)


def model(path: Path) -> str:
    """Mean best-so-far score of the model at equal evaluations."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in read(path):
        groups[tuple(row["key"][:5])].append(row)
    head = " | ".join(f"{b} evals" for b in BUDGETS)
    lines = [f"| D | kind | popsize | sigma | {head} | last sigma |", "|---" * (len(BUDGETS) + 5) + "|"]
    for (dim, kind, popsize, sigma, generations), rows in groups.items():
        cells = []
        for budget in BUDGETS:
            steps = budget // popsize // EVERY
            reached = steps and budget < (generations + 1) * popsize
            cells.append(f"{statistics.mean(max(r['scores'][:steps]) for r in rows):.1f}" if reached else "")
        last = statistics.mean(row["sigma"] for row in rows)
        lines.append(f"| {dim} | {kind} | {popsize} | {sigma} | {' | '.join(cells)} | {last:.3f} |")
    return "\n".join(lines)


def draw_ecdf(path: Path, out: Path, targets: list[float]) -> None:
    """Share of (function, target, seed) reached against evaluations / D, one panel a kind.

    A panel shows the functions that all of its solvers ran.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    kinds = ("cmaes", "sepcmaes", "snes", "xnes")
    figure, panels = plt.subplots(1, len(kinds), figsize=(16, 3.8), sharey=True)
    for panel, kind in zip(panels, kinds, strict=True):
        runs: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in read(path):
            if row["key"][0] == kind and row["key"][3] == 20:
                runs[row["key"][1]][row["key"][2]].append(row)
        shared = set.intersection(*(set(functions) for functions in runs.values())) if runs else set()
        for peer, functions in runs.items():
            rows = [row for name in shared for row in functions[name]]
            hits = sorted(hit / 20 for row in rows for hit in row["hits"])
            shares = [(i + 1) / (len(rows) * len(targets)) for i in range(len(hits))]
            panel.step(hits, shares, label=peer, color=COLOURS[peer], lw=2 if peer == OURS else 1)
        panel.set(xscale="log", title=f"{kind}, D = 20", xlabel="evaluations / D", xlim=(1, None), ylim=(0, 1.02))
        panel.text(0.97, 0.03, "\n".join(sorted(shared)), transform=panel.transAxes, fontsize=7, ha="right")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    panels[0].set_ylabel("share of targets 1e2 ... 1e-8 reached")
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def draw_model(path: Path, out: Path) -> None:
    """Held-out score of the mean against evaluations, at sigma 0.2."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = read(path)
    shown = [(36, 16, 200), (54, 24, 600), (310, 24, 600)]
    figure, panels = plt.subplots(1, len(shown), figsize=(14, 3.8), sharey=True)
    for panel, (dim, popsize, generations) in zip(panels, shown, strict=True):
        groups: dict[str, list[list[float]]] = defaultdict(list)
        for row in rows:
            d, kind, p, sigma, g, _ = row["key"]
            if (d, p, g) == (dim, popsize, generations) and sigma == (0.15 if kind in ("cosyne", "walk") else 0.2):
                groups[kind].append(row["scores"])
        for kind, curves in groups.items():
            mean = [statistics.mean(column) for column in zip(*curves, strict=True)]
            panel.plot([popsize * EVERY * (i + 1) for i in range(len(mean))], mean, label=kind)
        panel.set(title=f"model, D = {dim}, popsize {popsize}", xlabel="evaluations", xscale="log", ylim=(20, 100))
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    panels[0].set_ylabel("held-out score")
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def report(out: Path, targets: list[float]) -> None:
    print("Evaluations to 1e-8, medians\n\n" + to_target(out / "evals.jsonl", targets))
    print("\nBBOB, evaluations to 1e-8 above the optimum, medians\n\n" + to_target(out / "bbob.jsonl", targets))
    print("\nOverhead at D = 310\n\n" + milliseconds(out / "time.jsonl"))
    print("\nModel of a voice fit, mean best held-out score\n\n" + model(out / "model.jsonl"))
    draw_ecdf(out / "evals.jsonl", out / "ecdf.png", targets)
    draw_model(out / "model.jsonl", out / "model.png")
    print(f"\nPlots: {out / 'ecdf.png'}, {out / 'model.png'}")
