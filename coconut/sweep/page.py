"""The page of a sweep: one HTML file to listen through, with the leaderboard, the curves and what mattered."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import plotly
from jinja2 import Environment
from markupsafe import Markup

from coconut.config import flatten
from coconut.files import write_text
from coconut.sweep import charts
from coconut.sweep.board import COLUMNS, Board, Entry, markdown
from coconut.sweep.clips import WHO, Clips
from coconut.sweep.errors import verdicts
from coconut.sweep.matters import matters
from coconut.sweep.stops import falls, risks

COMPARED = 40  # trials whose settings stand side by side
FALLEN = 12  # trials past their peak that are drawn


def write(board: Board, folder: Path) -> list[Path]:
    """leaderboard.json, leaderboard.csv, leaderboard.md and report.html into `folder`."""
    summary = board.summary()
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(summary["leaderboard"])
    return [
        write_text(folder / "leaderboard.json", json.dumps(summary, indent=2) + "\n"),
        write_text(folder / "leaderboard.csv", table.getvalue()),
        write_text(folder / "leaderboard.md", markdown(board) + "\n"),
        write_text(folder / "report.html", page(board)),
    ]


def page(board: Board) -> str:
    """The HTML, with nothing left to load from anywhere but recordings of the later voices, which it links."""
    clips, found, fallen = Clips(board), matters(board.entries), falls(board.entries)
    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(_template("report.html"))
        .render(
            board=board,
            best=board.best,
            verdicts=verdicts(board),
            ledger=board.ledger(),
            risks=risks(board),
            rows=list(zip(board.entries, board.records(), strict=True)),
            clips=clips,
            sound=_script(_sound(board, clips)),
            colour=charts.colour,
            meanings=charts.meanings(board),
            figure=_script(json.loads(charts.curves(board).to_json())),
            found=found,
            slices=charts.slices(found),
            parallel=_script(json.loads(charts.parallel(found).to_json()) if found.shares else None),
            falls=fallen[:FALLEN],
            fallen=charts.fallen,
            more_falls=max(0, len(fallen) - FALLEN),
            settings=_settings(board.entries[:COMPARED]),
            style=Markup(_template("report.css")),
            scripts=[Markup(_template(name)) for name in ("listen.js", "table.js", "blind.js", "charts.js")],
            plotly=Markup(script.read_text(encoding="utf-8")),
        )
    )


def _template(name: str) -> str:
    return resources.files("coconut").joinpath("sweep/templates", name).read_text(encoding="utf-8")


def _script(value: Any) -> Markup:
    """A value as JSON that may stand within a <script>."""
    return Markup(json.dumps(value, ensure_ascii=False).replace("<", "\\u003c"))


def _sound(board: Board, clips: Clips) -> dict[str, Any]:
    """What the page's player knows. A browser only plays softer than recorded: the faintest clip sets the volume."""
    loudest = max([1.0, *(source["gain"] for source in clips.sources)])
    return {
        "sweep": board.name,
        "sentences": [*board.sentences[: clips.sentences], *[""] * (clips.sentences - len(board.sentences))],
        "clips": [{"src": source["src"], "volume": round(source["gain"] / loudest, 4)} for source in clips.sources],
        "who": WHO,
        "target": clips.target,
        "nearest": clips.nearest,
        "nearest_name": board.nearest.name,
        "voices": [
            {"trial": entry.trial, "words": entry.words, **clips.of[entry.trial]}
            for entry in board.entries
            if entry.trial in clips.of
        ],
    }


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
