"""Tables and plots of `fit.py` from its JSON lines."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

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
    last = row["curve"][-1]
    marks = " ".join(f"{b}:{value:.1f}" for b in BUDGETS if b <= budget and (value := kept(row, b)) is not None)
    away = f", distance {row['distance']:.2f}" if "distance" in row else ""
    return (
        f"{target:9} {method:12} seed {seed}: nearest {row['nearest']:.1f}, start {row['curve'][0]['test']:.1f}, "
        f"{marks}, kept {last['kept']:.1f} ({hindsight(row):+.1f} lost), {row['stop']} at {last['syntheses']:.0f}, "
        f"{last['cpu']:.0f} CPU-s{away}"
    )


def report(folder: Path, path: Path) -> None:
    """Print every run, and medians over targets and seeds, class by class."""
    rows = read(path)
    for row in sorted(rows, key=lambda r: r["key"]):
        print(line(row))
    groups: dict[tuple[str, int, str], list[Row]] = defaultdict(list)
    for row in rows:
        target, method, budget, _ = row["key"]
        groups[family(target), budget, method].append(row)
    print("\n| class | budget | method | runs | nearest | start | kept, median (range) | lost, worst | distance |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (kind, budget, method), found in sorted(groups.items()):
        last = [row["curve"][-1]["kept"] for row in found]
        away = [row["distance"] for row in found if "distance" in row]
        print(
            f"| {kind} | {budget} | {method} | {len(found)} | {_mid(r['nearest'] for r in found)} "
            f"| {_mid(r['curve'][0]['test'] for r in found)} | {_mid(last)} ({min(last):.1f} to {max(last):.1f}) "
            f"| {max(map(hindsight, found)):.1f} | {_mid(away) if away else ''} |"
        )

    print(f"\nPlot: {draw(rows, folder / 'duel.png')}")


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
    figure, panels = plt.subplots(1, len(families), figsize=(4.6 * len(families), 3.8), sharey=True, squeeze=False)
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
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _mid(values: Any) -> str:
    return f"{statistics.median(values):.2f}".rstrip("0").rstrip(".")
