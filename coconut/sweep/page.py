"""The page of a sweep: one HTML file that holds its curves, leaderboard, players and settings."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import plotly
import soundfile
from jinja2 import Environment
from plotly import graph_objects

from coconut import audio
from coconut.config import flatten
from coconut.files import write_text
from coconut.sweep.board import COLUMNS, Board, Entry, markdown

TEXTS = 2  # held-out texts on the page
PLAYED = 12  # trials with players on the page
STOPS = {  # marker and meaning of each end of a curve
    "budget": ("circle", "used its budget"),
    "generations": ("circle-open", "used all its generations"),
    "patience": ("square", "no new best for a while"),
    "overcooked": ("diamond", "past its peak, rolled back to it"),
    "asha": ("triangle-down", "stopped early by ASHA"),
    "": ("x-thin-open", "cut short"),
}


def write(board: Board, folder: Path) -> list[Path]:
    """leaderboard.json, leaderboard.csv, leaderboard.md and report.html into `folder`."""
    best = board.best
    data = {
        "name": board.name,
        "trials_asked": board.asked,
        "trials_finished": board.finished,
        "nearest": asdict(board.nearest) | {"test_score": board.nearest_test},
        "tested": board.tested,
        "best": best.trial if best else None,
        "ledger": board.ledger(),
        "leaderboard": board.records(),
    }
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(board.records())
    return [
        write_text(folder / "leaderboard.json", json.dumps(data, indent=2) + "\n"),
        write_text(folder / "leaderboard.csv", table.getvalue()),
        write_text(folder / "leaderboard.md", markdown(board) + "\n"),
        write_text(folder / "report.html", page(board)),
    ]


def page(board: Board) -> str:
    """The HTML, with nothing left to load from anywhere."""
    template = resources.files("coconut").joinpath("sweep/templates/report.html").read_text(encoding="utf-8")
    voiced = [entry for entry in board.entries if entry.voice]
    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(template)
        .render(
            board=board,
            best=board.best,
            records=board.records(),
            ledger=board.ledger(),
            figure=curves(board).to_json().replace("</", "<\\/"),
            plotly=script.read_text(encoding="utf-8"),
            players=_players(voiced[:PLAYED]),
            unplayed=max(0, len(voiced) - PLAYED),
            settings=_settings(board.entries),
        )
    )


def curves(board: Board) -> graph_objects.Figure:
    """Held-out score of every trial against syntheses; a marker where it ended says why."""
    figure = graph_objects.Figure()
    for place, entry in enumerate(board.entries):
        points = [(row["syntheses"], row["score"]) for row in entry.rows if "score" in row]
        if points:
            _curve(figure, entry, points, first=place == 0)
    for symbol, label in STOPS.values():
        if any(STOPS.get(e.stop, STOPS[""]) == (symbol, label) for e in board.entries if e.rows):
            marker = {"symbol": symbol, "size": 9, "color": "#888", "line": {"width": 2, "color": "#888"}}
            figure.add_scatter(x=[None], y=[None], mode="markers", name=label, marker=marker)
    nearest = f"nearest stock voice, {board.nearest.name}: {board.nearest.score:.2f}"
    figure.add_hline(board.nearest.score, line={"dash": "dot", "color": "#888", "width": 1}, annotation_text=nearest)
    figure.update_layout(
        template="plotly_white",
        height=460,
        margin={"l": 55, "r": 20, "t": 20, "b": 45},
        xaxis={"title": "syntheses (candidates x utterances)", "tickformat": "d", "rangemode": "tozero"},
        yaxis_title="held-out score (0 to 100)",
        legend={"font": {"size": 11}},
    )
    return figure


def _curve(figure: graph_objects.Figure, entry: Entry, points: list[tuple[float, float]], first: bool) -> None:
    x, y = zip(*points, strict=True)
    name = f"{entry.trial.removeprefix('trial_')} {entry.config.es.kind} {entry.config.space.kind}"
    symbol, label = STOPS.get(entry.stop, STOPS[""])
    sizes = [0] * (len(x) - 1) + [10]
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        name=name + (f" ({entry.preset})" if entry.preset else ""),
        line={"width": 3 if first else 1.5},
        marker={"symbol": symbol, "size": sizes, "opacity": 1, "line": {"width": [0] * (len(x) - 1) + [2]}},
        hovertemplate="%{x} syntheses: %{y:.2f}<extra>" + f"{name}<br>ended: {label}</extra>",
    )


def _players(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Per held-out text: the target, the voice the best trial began with, the best of each trial."""
    texts = []
    for index in range(TEXTS):
        clips = []
        if entries:
            clips += [("target", entries[0].folder / f"target_{index}.wav")]
            clips += [(f"start of {entries[0].trial}", entries[0].folder / f"start_{index}.wav")]
        clips += [(f"{entry.trial}, {entry.best_score:.1f}", entry.folder / f"voice_{index}.wav") for entry in entries]
        made = [{"label": label, "source": clip(path)} for label, path in clips if path.is_file()]
        if made:
            texts.append({"number": index + 1, "clips": made})
    return texts


def clip(path: Path) -> str:
    """A recording as a data URI: trimmed, at the level of every other clip, Ogg Vorbis."""
    wav = audio.trim(audio.load(path)).clamp(-1, 1)
    packed = io.BytesIO()
    soundfile.write(packed, wav.numpy(), audio.SAMPLE_RATE, format="OGG", subtype="VORBIS")
    return "data:audio/ogg;base64," + base64.b64encode(packed.getvalue()).decode()


def _settings(entries: Sequence[Entry]) -> dict[str, Any]:
    """What all trials share, and per setting that differs, its value in each."""
    flat = [flatten(entry.config) for entry in entries]
    names = list(flat[0]) if flat else []
    differ = [name for name in names if any(one[name] != flat[0][name] for one in flat)]
    shared = {name: flat[0][name] for name in names if name not in differ}
    rows = [(name, [_plain(one[name]) for one in flat]) for name in differ]
    return {"trials": [entry.trial.removeprefix("trial_") for entry in entries], "rows": rows, "shared": shared}


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
