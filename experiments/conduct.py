"""A planned sweep from its first trial to its leaderboard."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from coconut import build, data, report, tune
from coconut.config import flatten, from_dict, to_dict
from coconut.report import Board, Entry, Nearest
from coconut.tracking import Tracker
from coconut.tune import Outcome, Plan, configure
from experiments import spaces
from experiments.live import Runs, Screen

STATUS = {"finished": "FINISHED", "failed": "FAILED", "unfinished": "KILLED"}
ARTIFACTS = ("*.pt", "*.wav", "*.png", "*.json", "*.jsonl")
console = Console()
Sweep = dict[str, Any]  # what sweep.json holds


def home(plan: Plan) -> Path:
    """Where the results lie on this machine: in the storage, or under runs/ beside a remote one."""
    return (Path("runs") if plan.remote else Path(plan.storage)) / plan.name


def describe(plan: Plan, sweep: Sweep) -> None:
    """What would run, and about how much speech it would synthesise."""
    base = plan.base
    found = data.load(base)
    seconds = sum(u.seconds for u in found.fit) / len(found.fit)
    generations = base.es.popsize * base.window.size * seconds
    scores = len(found.heldout) * seconds / base.stop.every
    total = plan.trials * base.generations * (generations + scores)
    share = f"{plan.cpus:g} CPUs" + (f" and {plan.gpus:g} GPUs" if plan.gpus else "")
    console.print(f"{plan.trials} trials, {plan.concurrent} at once, {share} each, scheduler {plan.scheduler}.")
    console.print(f"{found.source}: {len(found.fit)} utterances to fit, {len(found.heldout)} held out.")
    console.print(f"At most {total:,.0f} s of audio at popsize {base.es.popsize}; early stops make it less.")
    console.print(f"Results: {home(plan)}; storage: {plan.storage}; MLflow: {sweep['tracking_uri']}")
    console.print(f"Fixed: {sweep['fixed'] or 'nothing; all that spaces.py names is searched'}", highlight=False)
    for name, value in flatten(base).items():
        console.print(f"  {name} = {value}", highlight=False, style="dim")


def settle(plan: Plan, address: str | None) -> tuple[Plan, Nearest, list[str]]:
    """The plan with its start voice settled, once for all trials; notes that a user must see.

    On a cluster the question goes where the trials go. Raises InputError for data or a model
    that cannot be used, so before any trial starts.
    """
    if address:
        name, metrics, notes = tune.remotely(plan, partial(survey, plan.base))
    else:
        name, metrics, notes = survey(plan.base)
    found = Nearest(name, metrics.score, dict(metrics.parts))
    if plan.base.space.start == "nearest":
        space = dataclasses.replace(plan.base.space, start=name)
        plan = dataclasses.replace(plan, base=dataclasses.replace(plan.base, space=space))
    return plan, found, notes


def survey(config: Any) -> tuple[str, Any, list[str]]:
    """The nearest stock voice with its held-out score, and the notes of the wiring."""
    space = dataclasses.replace(config.space, kind="bias", start="nearest")
    fitting = build.wire(dataclasses.replace(config, space=space))
    assert fitting.baseline is not None
    return (*fitting.baseline, list(fitting.notes))


def save(folder: Path, sweep: Sweep) -> None:
    """sweep.json: all that --resume needs."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "sweep.json.tmp"
    temporary.write_text(json.dumps(sweep, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, folder / "sweep.json")


def load(folder: Path) -> tuple[Plan, Sweep]:
    """What `save` wrote."""
    sweep: Sweep = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    return Plan(**sweep["plan"] | {"base": from_dict(sweep["plan"]["base"])}), sweep


def record(plan: Plan) -> dict[str, Any]:
    return {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)} | {"base": to_dict(plan.base)}


def carry_out(plan: Plan, sweep: Sweep, again: bool, budget: float | None) -> int:
    """Run or go on with a sweep on a connected Ray; report whatever came of it. The exit code."""
    folder, began = home(plan), time.monotonic()
    tracker = Tracker(sweep["tracking_uri"], folder / "tracking", folder.parent / "mlartifacts")
    shared = {f"sweep.{name}": value for name, value in record(plan).items() if name != "base"}
    tracker.begin(sweep["id"], plan.name, shared | flatten(plan.base), {"coconut.sweep": plan.name})
    space = partial(spaces.voices, fixed=sweep["fixed"], mimi=sweep["mimi"])
    startup = min(10, max(4, plan.trials // 4))
    search = tune.Search(space, spaces.presets(sweep["fixed"], sweep["mimi"]), plan.seed, startup)
    runs = Runs(plan, tracker, sweep["id"])
    with Screen(plan, console) as screen:
        outcomes, how = tune.run(plan, search, again=again, local=folder, watchers=[screen, runs], budget=budget)
    sweep["seconds"] = sweep.get("seconds", 0.0) + time.monotonic() - began
    save(folder, sweep)
    board = rank(plan, sweep, outcomes)
    report.write(board, folder)
    keep_best(board, folder)
    log(tracker, runs, sweep, board, outcomes, folder, how)
    conclude(plan, board, folder, how, sweep["tracking_uri"], tracker.close())
    if how == "interrupted":
        return 130
    return 0 if board.finished else 1


def rank(plan: Plan, sweep: Sweep, outcomes: list[Outcome]) -> Board:
    entries = []
    for o in outcomes:
        config = configure(plan, o.ticket.settings)
        entries.append(Entry(o.ticket.name, o.ticket.preset, config, o.folder, o.status, o.stop, o.rows, o.error))
    return Board(plan.name, report.rank(entries), Nearest(**sweep["nearest"]), plan.trials, sweep["seconds"])


def keep_best(board: Board, folder: Path) -> None:
    """Copy the best trial's artifacts to best/, whole or not at all."""
    if board.best is None:
        return
    fresh = folder / ".best.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for path in _artifacts(board.best.folder):
        shutil.copy2(path, fresh / path.name)
    shutil.rmtree(folder / "best", ignore_errors=True)
    os.replace(fresh, folder / "best")


def log(
    tracker: Tracker, runs: Runs, sweep: Sweep, board: Board, outcomes: list[Outcome], folder: Path, how: str
) -> None:
    """What MLflow gets once the trials are over: artifacts, states, and the leaderboard at the parent."""
    for outcome in outcomes:
        key = runs.key(outcome.ticket)
        if tracker.closed(key):
            continue
        runs.began(outcome.ticket)
        for row in outcome.rows:
            tracker.log(key, row)
        tracker.files(key, outcome.folder, [path.name for path in _artifacts(outcome.folder)])
        tags = {"coconut.stop": outcome.stop or outcome.status} | (
            {"coconut.error": outcome.error} if outcome.error else {}
        )
        tracker.end(key, STATUS[outcome.status], tags)
    for lost in tracker.children(sweep["id"]) - {runs.key(outcome.ticket) for outcome in outcomes}:
        tracker.end(lost, "KILLED", {"coconut.stop": "lost when the driver died; tried anew as another run"})
    scores = [e.best_score for e in sorted(board.entries, key=lambda e: e.trial) if e.best_score is not None]
    for count in range(len(scores)):
        tracker.log(
            sweep["id"], {"sweep.best_score": max(scores[: count + 1]), "sweep.trial_score": scores[count]}, count
        )
    if board.best and board.best.best_score:
        gain = {"best_score": board.best.best_score, "gain": board.best.best_score - board.nearest.score}
        ledger = {f"sweep.{name}": value for name, value in board.ledger().items()}
        tracker.log(sweep["id"], gain | {"nearest_score": board.nearest.score} | ledger, 1_000_000 + len(outcomes))
        tracker.files(sweep["id"], folder / "best", under="best")
    tracker.files(sweep["id"], folder, ["leaderboard.json", "leaderboard.csv", "report.html"])
    tracker.note(sweep["id"], report.markdown(board))
    tracker.end(sweep["id"], {"complete": "FINISHED", "budget": "FINISHED"}.get(how, "KILLED"))


def _artifacts(folder: Path) -> list[Path]:
    return sorted(path for pattern in ARTIFACTS for path in folder.glob(pattern) if path.name != "params.json")


def conclude(plan: Plan, board: Board, folder: Path, how: str, uri: str, unsent: str | None) -> None:
    """The sweep's last words."""

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False, soft_wrap=True)

    console.print(report.table(board))
    for entry in board.entries:
        if entry.error:
            say(f"{entry.trial} failed: {entry.error}", "red")
    if board.finished < board.asked:
        say(f"Only {board.finished} of the {board.asked} trials asked for finished.", "yellow")
    best, near = board.best, board.nearest
    if best and best.best_score is not None:
        gain = round(best.best_score - near.score, 6) + 0.0
        say(f"Held-out score: {near.score:.2f} nearest stock voice ({near.name}), {best.best_score:.2f} best voice "
            f"({best.trial}), {gain:+.2f}.")  # fmt: skip
        say(f"Best voice: {folder / 'best' / 'voice.pt'}")
        say(f"Listen: {folder / 'best' / 'voice_0.wav'} beside {folder / 'best' / 'target_0.wav'}")
    spent = board.ledger()
    say(f"{spent['syntheses']:,.0f} syntheses, {spent['audio_seconds']:,.0f} s of audio, {spent['seconds']:,.0f} s; "
        f"early stops saved {spent['generations_saved']:,.0f} generations.")  # fmt: skip
    say(f"Page: {folder / 'report.html'}")
    if unsent:
        say(f"{unsent} This sends them: {_again(plan)}", "yellow")
    say("All runs: " + (f"mlflow ui --backend-store-uri {_near(uri)}" if uri.startswith("sqlite") else uri))
    if how != "complete":
        say(
            f"{'The time budget is used up' if how == 'budget' else 'Interrupted'}. Go on with: {_again(plan)}",
            "yellow",
        )


def _near(uri: str) -> str:
    """A sqlite address relative to here, where that is shorter to type."""
    path = Path(uri.removeprefix("sqlite:///"))
    here = Path.cwd()
    return f"sqlite:///{path.relative_to(here)}" if path.is_relative_to(here) else uri


def _again(plan: Plan) -> str:
    usual = plan.remote or Path(plan.storage) == Path("runs").resolve()
    storage = "" if usual else f" --storage {shlex.quote(plan.storage)}"
    return f"python experiments/sweep.py --name {shlex.quote(plan.name)}{storage} --resume"
