"""Tables and plots of `fit.py` from its JSON lines."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from coconut.score import LEAST, WEIGHTS

Row = dict[str, Any]
BUDGETS = (100, 200, 400, 800, 1000)


def read(path: Path) -> list[Row]:
    """Rows of a log, the last of a key."""
    lines = path.read_text().splitlines() if path.exists() else []
    return list({json.dumps(row["key"]): row for row in map(json.loads, lines)}.values())


def kept(row: Row, budget: float) -> float | None:
    """Test score of the voice kept within `budget` syntheses; None where the run had no more than the start by then,
    or was cut before."""
    points = [point["kept"] for point in row["curve"] if point["syntheses"] <= budget]
    return points[-1] if points else None


def hindsight(row: Row) -> float:
    """Points of test score by which the kept voice is below the best that was heard on the way."""
    return max(point["test"] for point in row["curve"]) - row["curve"][-1]["kept"]


def line(row: Row) -> str:
    """A run in words."""
    target, method, budget, seed = row["key"]
    end = row["curve"][-1]
    marks = " ".join(f"{b}:{value:.1f}" for b in BUDGETS if b <= budget and (value := kept(row, b)) is not None)
    away = f", distance {row['distance']:.2f}" if "distance" in row else ""
    return (
        f"{target:9} {method:12} seed {seed}: nearest {row['nearest']:.1f}, start {row['curve'][0]['test']:.1f}, "
        f"{marks}, kept {end['kept']:.1f} ({hindsight(row):+.1f} lost), {row['stop']} at {end['syntheses']:.0f}, "
        f"{end['cpu']:.0f} CPU-s{away}"
    )


def report(folder: Path, path: Path) -> None:
    """Print every run, and medians over targets with their intervals, class by class."""
    rows = read(path)
    for row in sorted(rows, key=lambda r: r["key"]):
        print(line(row))
    groups: dict[tuple[str, int, str], list[Row]] = defaultdict(list)
    for row in rows:
        target, method, budget, _ = row["key"]
        groups[family(target), budget, method].append(row)
    print("\n| class | budget | method | targets | runs | nearest | kept | gain | lost, worst | distance |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (kind, budget, method), found in sorted(groups.items()):
        away = [row["distance"] for row in found if "distance" in row]
        print(
            f"| {kind} | {budget} | {method} | {len({row['key'][0] for row in found})} | {len(found)} "
            f"| {_mid(r['nearest'] for r in found)} | {middle(found, last)} | {middle(found, gain)} "
            f"| {max(map(hindsight, found)):.1f} | {_mid(away) if away else ''} |"
        )
    print(f"\nPlot: {draw(rows, folder / 'duel.png')}")


def anatomy(folder: Path, path: Path) -> None:
    """Print and plot, run by run, what each part of the score adds to it and takes from it."""
    rows = sorted(read(path), key=lambda row: row["key"])
    print(f"| target | method | peak at | fall | {' | '.join(WEIGHTS)} |\n|---|---|---|---|{'---|' * len(WEIGHTS)}")
    for row in rows:
        target, method, *_ = row["key"]
        curve = row["curve"]
        peak = max(curve, key=lambda point: point["test"])
        fell = {name: _added(curve[-1], peak, name) for name in WEIGHTS}
        first = {name: max(curve, key=lambda point: point["test_parts"][name])["syntheses"] for name in WEIGHTS}
        cells = [f"{fell[name]:+.1f} (best at {first[name]:.0f})" for name in WEIGHTS]
        fall = peak["test"] - curve[-1]["test"]
        print(f"| {target} | {method} | {peak['syntheses']:.0f} | {fall:.1f} | {' | '.join(cells)} |")
    print(f"\nPlot: {_draw_parts(rows, folder / 'anatomy.png')}")


def _added(point: Row, before: Row, name: str) -> float:
    """What a part adds from one point to another, in hundredths of the logarithm of the score, which is their sum."""
    now, then = (max(LEAST, one["test_parts"][name]) for one in (point, before))
    return 100 * WEIGHTS[name] * math.log(now / then)


def _draw_parts(rows: list[Row], path: Path) -> Path:
    """A panel a run: score and parts against syntheses, each from where the fit began."""
    from matplotlib import pyplot as plt

    wide = min(3, len(rows))
    tall = -(-len(rows) // wide)
    figure, panels = plt.subplots(tall, wide, figsize=(4.4 * wide, 3.2 * tall), squeeze=False, layout="constrained")
    for panel, row in zip(panels.flat, rows, strict=False):
        curve = row["curve"]
        x = [point["syntheses"] for point in curve]
        for name in WEIGHTS:
            panel.plot(x, [_added(point, curve[0], name) for point in curve], label=name)
        panel.plot(x, [100 * math.log(p["test"] / curve[0]["test"]) for p in curve], color="black", label="score")
        panel.axvline(max(curve, key=lambda point: point["test"])["syntheses"], color="gray", lw=0.8, ls=":")
        panel.set_title(f"{row['key'][0]}, {row['key'][1].split(',')[0].replace('unguarded', 'adam')}", fontsize=9)
    for panel in panels.flat[len(rows) :]:
        panel.set_axis_off()
    panels[0, 0].legend(fontsize=7)
    figure.supxlabel("syntheses", fontsize=9)
    figure.supylabel("gain since the start, hundredths of log score", fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def last(row: Row) -> float:
    """The test score of the voice kept in the end."""
    return float(row["curve"][-1]["kept"])


def gain(row: Row) -> float:
    """By how much it is above the nearest stock voice's."""
    return last(row) - float(row["nearest"])


def middle(rows: list[Row], of: Callable[[Row], float]) -> str:
    """The median over targets of the medians over their seeds, with its 80% interval by bootstrap over targets."""
    by_target: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        by_target[row["key"][0]].append(of(row))
    values = [statistics.median(found) for found in by_target.values()]
    if len(values) < 3:
        return _mid(values)
    low, high = bootstrap(
        (values,), np.median, confidence_level=0.8, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return f"{_mid(values)} ({low:.1f} to {high:.1f})"


def family(target: str) -> str:
    """espeak, stock or flite."""
    return target.split("_")[0] if "_" in target else "flite"


def draw(rows: list[Row], path: Path) -> Path:
    """Test score of the kept voice against syntheses: a panel a family, a line a run, dashed the nearest voice."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    families = sorted({family(row["key"][0]) for row in rows})
    methods = list(dict.fromkeys(row["key"][1] for row in rows))
    colours = dict(zip(methods, plt.get_cmap("tab10")(range(10)), strict=False))
    figure, panels = plt.subplots(
        1, len(families), figsize=(4.6 * len(families), 3.8), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, kind in zip(panels[0], families, strict=True):
        for row in (row for row in rows if family(row["key"][0]) == kind):
            target, method, *_ = row["key"]
            x, y = zip(*[(point["syntheses"], point["kept"]) for point in row["curve"]], strict=True)
            (line_,) = panel.plot(x, y, color=colours.get(method, "gray"), label=method)
            panel.axhline(row["nearest"], color=line_.get_color(), lw=0.6, ls="--", alpha=0.5)
            panel.annotate(target, (x[-1], y[-1]), fontsize=7, xytext=(2, 0), textcoords="offset points")
        unique = dict(zip(panel.get_legend_handles_labels()[1], panel.get_legend_handles_labels()[0], strict=True))
        panel.legend(unique.values(), unique.keys(), fontsize=7, loc="lower right")
        panel.set(title=kind, xlabel="syntheses", xlim=(0, None))
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("test score of the kept voice")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _mid(values: Any) -> str:
    return f"{statistics.median(values):.2f}".rstrip("0").rstrip(".")
