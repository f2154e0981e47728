"""The charts of a sweep's page. None has a legend inside: on a telephone that would leave the curves no room."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from plotly import graph_objects

from coconut.sweep.board import Board, Entry
from coconut.sweep.matters import Matters
from coconut.sweep.stops import Fall

DRAWN = 200  # first trials of a ranking whose curves are drawn
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # of the first ones (Okabe and Ito, 2008)
GREY, DIM = "#b8b8b8", "#888"
SLICES = 6  # settings that are drawn
STOPS = {  # plotly's marker, the same as a character, and the meaning of each end of a curve
    "budget": ("circle", "●", "used its budget"),
    "generations": ("circle-open", "○", "used all its generations"),
    "patience": ("square", "■", "no new best for a while"),
    "overcooked": ("diamond", "◆", "past its peak, rolled back to it"),
    "asha": ("triangle-down", "▼", "stopped early by ASHA"),
    "": ("x-thin-open", "×", "cut short"),
}
LAYOUT = {"template": "plotly_white", "margin": {"l": 42, "r": 10, "t": 10, "b": 42}, "showlegend": False}


def colour(place: int) -> str:
    """Of the trial at a place of the ranking, from 0."""
    return COLOURS[place] if place < len(COLOURS) else GREY


def meanings(board: Board) -> list[tuple[str, str]]:
    """(character, meaning) of the ends that occur."""
    occurring = {STOPS.get(entry.stop, STOPS[""]) for entry in board.entries[:DRAWN] if entry.scored}
    return [(sign, meaning) for symbol, sign, meaning in STOPS.values() if (symbol, sign, meaning) in occurring]


def curves(board: Board) -> graph_objects.Figure:
    """Held-out score of every trial against syntheses; a marker where it ended says why."""
    figure = graph_objects.Figure()
    for place, entry in reversed(list(enumerate(board.entries[:DRAWN]))):  # the best are drawn last, on top
        if entry.scored:
            _curve(figure, entry, place)
    figure.add_hline(board.nearest.score, line={"dash": "dot", "color": DIM, "width": 1.5})
    figure.update_layout(
        height=420,
        xaxis={"title": "syntheses", "tickformat": "d", "rangemode": "tozero"},
        yaxis_title="held-out score",
        hovermode="closest",
        **LAYOUT,
    )
    return figure


def _curve(figure: graph_objects.Figure, entry: Entry, place: int) -> None:
    rows = entry.scored
    symbol, _, label = STOPS.get(entry.stop, STOPS[""])
    last = len(rows) - 1
    figure.add_scatter(
        x=[row["syntheses"] for row in rows],
        y=[round(row["score"], 2) for row in rows],
        mode="lines+markers",
        name=entry.words,
        line={"width": 3 if place == 0 else 1.5, "color": colour(place)},
        marker={"symbol": symbol, "size": [0] * last + [9], "opacity": 1, "line": {"color": colour(place), "width": 1}},
        hovertemplate=f"{entry.words}<br>%{{x}} syntheses: %{{y:.2f}}<br>{label}<extra></extra>",
    )


def slices(found: Matters) -> list[dict[str, Any]]:
    """For each of the settings that mattered most: its name, its share, and the scores of all trials against it."""
    return [
        {"name": name, "share": share, "figure": _slice(found, name).to_json()}
        for name, share in list(found.shares.items())[:SLICES]
    ]


def _slice(found: Matters, name: str) -> graph_objects.Figure:
    values = [one[name] for one in found.settings]
    words = any(not isinstance(value, int | float) or isinstance(value, bool) for value in values)
    figure = graph_objects.Figure()
    figure.add_scatter(
        x=[str(value) for value in values] if words else values,
        y=found.scores,
        mode="markers",
        text=found.words,
        marker={"color": COLOURS[0], "size": 8, "opacity": 0.7},
        hovertemplate="%{text}<br>%{x}: %{y:.2f}<extra></extra>",
    )
    axis = {"type": "category"} if words else _axis(values)
    return figure.update_layout(height=200, xaxis=axis, **LAYOUT | {"margin": {"l": 30, "r": 10, "t": 10, "b": 28}})


def _axis(values: Sequence[float]) -> dict[str, Any]:
    """Logarithmic where values span a decade, labelled at 1, 2, 5, 10, ...; where they are few, labelled at each."""
    if min(values) <= 0 or max(values) / min(values) < 10:
        few = sorted(set(values))
        return {"type": "linear", "tickvals": few} if len(few) <= 5 else {"type": "linear", "nticks": 6}
    decades = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    return {"type": "log", "tickvals": [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]}


def parallel(found: Matters) -> graph_objects.Figure:
    """The settings that mattered most and the score, one line a trial."""
    dimensions = [_dimension(name, [one[name] for one in found.settings]) for name in list(found.shares)[:SLICES]]
    line = {"color": found.scores, "colorscale": "Viridis"}
    figure = graph_objects.Figure(
        graph_objects.Parcoords(dimensions=[*dimensions, {"label": "score", "values": found.scores}], line=line)
    )
    return figure.update_layout(height=320, margin={"l": 60, "r": 40, "t": 40, "b": 20})


def _dimension(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """An axis of the parallel ones, logarithmic where that of the slice is."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        axis = _axis(values)
        if axis["type"] == "linear":
            return {"label": name, "values": values}
        ticks = [tick for tick in axis["tickvals"] if min(values) <= tick <= max(values)]
        places = [math.log10(tick) for tick in ticks]  # plotly's parallel axes are linear
        said = [f"{tick:g}" for tick in ticks]
        return {"label": name, "values": list(map(math.log10, values)), "tickvals": places, "ticktext": said}
    ticks = list(dict.fromkeys(map(str, values)))
    numbers = [ticks.index(str(value)) for value in values]
    return {"label": name, "values": numbers, "tickvals": list(range(len(ticks))), "ticktext": ticks}


def fallen(fall: Fall, width: int = 220, height: int = 64) -> str:
    """The curve of a fall as points of an SVG polyline, and its peak: "x,y x,y ..."."""
    x0, x1 = fall.points[0][0], max(fall.points[-1][0], fall.points[0][0] + 1)
    low = min(score for _, score in fall.points)
    high = max(fall.peak, low + 1e-9)
    places = [
        (width * (x - x0) / (x1 - x0), 4 + (height - 8) * (high - score) / (high - low)) for x, score in fall.points
    ]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
