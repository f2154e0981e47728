"""The last words of a sweep, told from its leaderboard.json and its record alone: no model, no Ray, no job."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from coconut.sweep.plan import Plan

Summary = Mapping[str, Any]  # what leaderboard.json holds (board.py)
console = Console(highlight=False, soft_wrap=True)


def conclude(plan: Plan, summary: Summary, how: str, uri: str, unsent: str | None) -> None:
    """Say what came of a sweep that ended as `how` (ray.run); `unsent`: what MLflow at `uri` does not have yet."""
    console.print(table(summary))
    for record in summary["leaderboard"]:
        if record["error"]:
            console.print(f"{record['trial']} failed: {record['error']}", style="red")
    finished, asked = summary["trials_finished"], summary["trials_asked"]
    if finished < asked:
        others = f" This tries the others again: {again(plan)}" if how == "complete" else ""
        console.print(f"Only {finished} of the {asked} trials asked for finished.{others}", style="yellow")
    for line in (*summary["history"], *_best(summary, plan.home)):
        console.print(line)
    spent = summary["ledger"]
    cost = f"{spent['syntheses']:,.0f} syntheses, {spent['audio_seconds']:,.0f} s of audio, {spent['seconds']:,.0f} s"
    console.print(f"{cost}; early stops saved {spent['syntheses_saved']:,.0f} syntheses.")
    console.print(f"Page: {plan.home / 'report.html'}")
    if unsent:
        console.print(f"{unsent} This sends them: {again(plan)}", style="yellow")
    console.print("All runs: " + (f"mlflow ui --backend-store-uri {_near(uri)}" if uri.startswith("sqlite") else uri))
    if how != "complete":
        why = {"budget": "The time budget is used up.", "interrupted": "Interrupted."}.get(how, how)
        console.print(f"{why} Go on with: {again(plan)}", style="yellow")


def code(summary: Summary, how: str) -> int:
    """The exit code of a sweep: 0 all went well, 1 no trial finished or something broke, 130 interrupted."""
    if how == "interrupted":
        return 130
    return 0 if summary["trials_finished"] and how in ("complete", "budget") else 1


def again(plan: Plan) -> str:
    """The command that goes on with a sweep."""
    usual = plan.remote or Path(plan.storage) == Path("runs").resolve()
    storage = "" if usual else f" --storage {shlex.quote(plan.storage)}"
    return f"coconut sweep --name {shlex.quote(plan.name)}{storage} --resume"


def table(summary: Summary) -> Table:
    """The leaderboard for a terminal, without repeats, which no rank is given to."""
    shown = Table(
        title=f"{summary['name']}: {summary['trials_finished']} of {summary['trials_asked']} trials finished",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for name in ("#", "trial", "kind", "space", "sigma", "best", "±", "gain", "test", "±", "at", "stop"):
        text = name in ("trial", "kind", "space", "stop")
        shown.add_column(name, justify="left" if text else "right", no_wrap=True)
    for record in [one for one in summary["leaderboard"] if not one["repeat_of"]]:
        trial = record["trial"].removeprefix("trial_") + (f" {record['preset']}" if record["preset"] else "")
        shown.add_row(
            cell(record["rank"], ".0f"), trial, record["kind"], record["space"], cell(record["sigma"], ".3g"),
            cell(record["best_score"], ".2f"), cell(record["best_error"], ".1f"), cell(record["gain"], "+.2f"),
            cell(record["test_score"], ".2f"), cell(record["test_error"], ".1f"),
            cell(record["best_syntheses"], ".0f"), record["stop"],
        )  # fmt: skip
    return shown


def cell(value: float | None, form: str, error: float | None = None) -> str:
    """A number of a table, with its error where there is one; a dash where there is none."""
    said = "-" if value is None else format(round(value, 6) + 0.0, form)
    return said if value is None or error is None else f"{said} ± {error:.2f}"


def _best(summary: Summary, home: Path) -> Sequence[str]:
    """What is said of the best voice; nothing where no trial left one."""
    best, near = next((r for r in summary["leaderboard"] if r["trial"] == summary["best"]), None), summary["nearest"]
    if best is None or best["best_score"] is None:
        return []
    return [
        _compared("Held-out score", near, best, ("score", "error"), ("best_score", "best_error")),
        _test_line(summary, best),
        *(_repeated(one) for one in summary["repeated"]),
        *summary["verdicts"],
        f"Best voice: {home / 'best' / 'voice.pt'}",
        f"Listen: {home / 'best' / 'voice_0.wav'} beside {home / 'best' / 'target_0.wav'}",
    ]


def _compared(
    what: str, near: Mapping[str, Any], best: Mapping[str, Any], before: tuple[str, str], after: tuple[str, str]
) -> str:
    """A score of the nearest stock voice and one of the best voice with their errors, by their names in the summary."""
    gain = round(best[after[0]] - near[before[0]], 6) + 0.0
    one, two = (cell(of[score], ".2f", of[error]) for of, (score, error) in ((near, before), (best, after)))
    return f"{what}: {one} nearest stock voice ({near['name']}), {two} best voice ({best['trial']}), {gain:+.2f}."


def _repeated(one: Mapping[str, Any]) -> str:
    """What the repeats of a trial came to."""
    gains, mean = one["gains"], cell(one["gain"], "+.2f", one["gain_error"])
    said = f"{one['trial']} again, with {len(gains)} other seeds: gain {mean} ({', '.join(f'{g:+.2f}' for g in gains)})"
    return f"{said}, test score {cell(one['test_score'], '.2f', one['test_error'])}."


def _test_line(summary: Summary, best: Mapping[str, Any]) -> str:
    near = summary["nearest"]
    if best["test_score"] is not None and near["test_score"] is not None:
        heard = "1 sentence" if summary["tested"] == 1 else f"{summary['tested']} sentences"
        what = f"Test score, on {heard} that chose nothing"
        return _compared(what, near, best, ("test_score", "test_error"), ("test_score", "test_error"))
    if not summary["tested"]:
        return "There was no test: all recordings were needed to fit and to choose the voice."
    return "The test is not heard yet; it is when the sweep ends."


def _near(uri: str) -> str:
    """A sqlite address relative to here, where that is shorter to type."""
    path = Path(uri.removeprefix("sqlite:///"))
    here = Path.cwd()
    return f"sqlite:///{path.relative_to(here)}" if path.is_relative_to(here) else uri
