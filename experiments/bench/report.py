"""Tables and plots of `strategies.py` from its JSON lines."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from coconut.config import EsConfig
from coconut.strategy import KINDS
from experiments.bench.model import EVERY
from experiments.bench.peers import solvers

Row = dict[str, Any]
OURS = "coconut"
COLOURS = {OURS: "tab:red", "pycma": "tab:blue", "cmaes": "tab:orange", "evotorch": "tab:green"}
PALETTE = ("tab:red", "tab:purple", "tab:blue", "tab:orange", "tab:green", "tab:brown", "gray")
HUES = dict(zip(KINDS, PALETTE, strict=True))
BUDGETS = (640, 1600, 3200, 14_400)  # evaluations at which the model is read


def read(path: Path) -> list[Row]:
    """Rows of a log, one a key: two benches that ran at once may both have written one."""
    lines = path.read_text().splitlines() if path.exists() else []
    return list({json.dumps(row["key"]): row for row in map(json.loads, lines)}.values())


def evaluations(rows: list[Row], targets: list[float]) -> float:
    """Median over seeds of the evaluations to the last target; inf where not reached."""
    return statistics.median(row["hits"][-1] if len(row["hits"]) == len(targets) else math.inf for row in rows)


def to_target(path: Path, targets: list[float]) -> str:
    """A markdown table: medians to 1e-8 (solved / runs where not all nine), ours over the best peer's."""
    groups: dict[tuple[Any, ...], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in read(path):
        kind, peer, name, dim, _ = row["key"]
        groups[kind, name, dim][peer].append(row)
    lines = ["| kind | function | D | coconut | peers | ours / best |", "|---|---|---|---|---|---|"]
    order = [*solvers("cmaes"), *solvers("snes")]
    for (kind, name, dim), peers in sorted(groups.items(), key=lambda item: (item[0][0], item[0][2], item[0][1])):
        shown = {peer: _runs(rows, targets) for peer, rows in peers.items()}
        medians = {peer: evaluations(rows, targets) for peer, rows in peers.items()}
        ours = medians.pop(OURS, math.nan)
        best = min(medians.values(), default=math.inf)
        ratio = f"{ours / best:.3f}" if math.isfinite(best) else "no peer solves" if medians else "no peer run"
        others = ", ".join(f"{p} {shown[p]}" for p in sorted(medians, key=order.index))
        lines.append(f"| {kind} | {name} | {dim} | {shown.get(OURS, '')} | {others} | {ratio} |")
    return "\n".join(lines)


def _runs(rows: list[Row], targets: list[float]) -> str:
    """The median, and how many of how many runs reached the last target where that is not 9 of 9."""
    solved, median = sum(len(row["hits"]) == len(targets) for row in rows), evaluations(rows, targets)
    count = f"{median:.0f}" if math.isfinite(median) else "-"
    return count if solved == len(rows) == 9 else f"{count} ({solved}/{len(rows)})"


def milliseconds(path: Path) -> str:
    lines = ["| kind | popsize | median (mean) of ask + tell, ms |", "|---|---|---|"]
    for row in read(path):
        cells = [f"{p} {statistics.median(v):.2f} ({statistics.mean(v):.2f})" for p, v in row["ms"].items()]
        lines.append(f"| {row['key'][0]} | {row['key'][1]} | {', '.join(cells)} |")
    return "\n".join(lines)


def best_so_far(row: Row, budget: int) -> float | None:
    """Best held-out score of the mean within `budget` evaluations, None where the run was shorter."""
    popsize, generations = row["key"][2], row["key"][4]
    steps = budget // popsize // EVERY
    return max(row["scores"][:steps]) if steps and budget < (generations + 1) * popsize else None


def _mean(values: list[float]) -> str:
    """Mean and its standard error over voices."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.1f} ± {error:.1f}"


def model(path: Path) -> str:
    """Best score so far at equal evaluations, mean ± standard error over voices."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in read(path):
        groups[tuple(row["key"][:5])].append(row)
    head = " | ".join(f"{b} evals" for b in BUDGETS)
    lines = [f"| D | kind | popsize | sigma | voices | {head} | last sigma |", "|---" * (len(BUDGETS) + 6) + "|"]
    for (dim, kind, popsize, sigma, _), rows in sorted(groups.items(), key=lambda item: item[0]):
        scores = [[score for row in rows if (score := best_so_far(row, b)) is not None] for b in BUDGETS]
        cells = " | ".join(_mean(values) if values else "" for values in scores)
        last = statistics.mean(row["sigma"] for row in rows)
        lines.append(f"| {dim} | {kind} | {popsize} | {sigma} | {len(rows)} | {cells} | {last:.3f} |")
    return "\n".join(lines)


def against_default(path: Path) -> str:
    """Differences to the default, voice by voice: mean ± standard error; above 0 is better than it."""
    es = EsConfig()
    runs: dict[tuple[Any, ...], dict[int, Row]] = defaultdict(dict)
    for row in read(path):
        dim, kind, popsize, sigma, _, voice = row["key"]
        if dim == 36:
            runs[kind, popsize, sigma][voice] = row
    default = runs.pop((es.kind, es.popsize, es.sigma), {})
    head = " | ".join(f"{b} evals" for b in BUDGETS[:3])
    lines = [f"| kind | popsize | sigma | voices | {head} |", "|---" * 7 + "|"]
    for (kind, popsize, sigma), rows in sorted(runs.items()):
        shared = sorted(set(rows) & set(default))
        pairs = [[(best_so_far(rows[v], b), best_so_far(default[v], b)) for v in shared] for b in BUDGETS[:3]]
        cells = [_mean([x - y for x, y in column if x is not None and y is not None]) for column in pairs]
        lines.append(f"| {kind} | {popsize} | {sigma} | {len(shared)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_ecdf(path: Path, out: Path, targets: list[float]) -> None:
    """Share of (function, target) reached against evaluations / D, mean of the seeds, one panel a kind.

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
        for peer in sorted(runs, key=list(COLOURS).index):
            # every function weighs alike, however many runs it had
            weighted = sorted(
                (hit / 20, 1 / (len(rows) * len(shared) * len(targets)))
                for rows in (runs[peer][name] for name in shared)
                for row in rows
                for hit in row["hits"]
            )
            shares = list(itertools.accumulate(weight for _, weight in weighted))
            thick = {"lw": 3.0, "alpha": 0.6} if peer == OURS else {"lw": 1.1}
            panel.step([hit for hit, _ in weighted], shares, where="post", label=peer, color=COLOURS[peer], **thick)
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
        for kind, curves in sorted(groups.items(), key=lambda item: list(HUES).index(item[0])):
            mean = [statistics.mean(column) for column in zip(*curves, strict=True)]
            panel.plot([popsize * EVERY * (i + 1) for i in range(len(mean))], mean, label=kind, color=HUES[kind])
        panel.set(title=f"model, D = {dim}, popsize {popsize}", xlabel="evaluations", xscale="log", ylim=(20, 100))
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    panels[0].set_ylabel("held-out score (0 = start, 100 = optimum)")
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def report(out: Path, targets: list[float]) -> None:
    print("Evaluations to 1e-8, medians\n\n" + to_target(out / "evals.jsonl", targets))
    print("\nBBOB, evaluations to 1e-8 above the optimum, medians\n\n" + to_target(out / "bbob.jsonl", targets))
    print("\nOverhead at D = 310\n\n" + milliseconds(out / "time.jsonl"))
    print("\nModel of a voice fit, best held-out score, mean ± standard error\n\n" + model(out / "model.jsonl"))
    es = EsConfig()
    print(f"\nModel at D = 36, less the default ({es.kind}, popsize {es.popsize}, sigma {es.sigma}), voice by voice\n")
    print(against_default(out / "model.jsonl"))
    draw_ecdf(out / "evals.jsonl", out / "ecdf.png", targets)
    draw_model(out / "model.jsonl", out / "model.png")
    print(f"\nPlots: {out / 'ecdf.png'}, {out / 'model.png'}")
